"""The profile `full` through the stage: pictures in, refined codes, residual, texture and light out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model.camera import project
from model.head.load import load_head
from model.photometric import view
from model.photometric.config import PhotometricConfig
from model.photometric.surface import make_surface
from pipelines.faces.crop import crop_camera
from pipelines.flame.stage import STAGE, FlameConfig
from pipelines.ingest.media import write_video
from pipelines.stage import StageContext
from rsat_data.errors import StageError

FRAMES, CROP = 24, {"x0": 400.0, "y0": 100.0, "side": 256.0, "size": 128}
SMALL = PhotometricConfig(
    size=128, samples=1000, texel_m=0.004, keyframes=8, rounds=1, window=16, overlap=4, texture_size=256
)
CONFIG = FlameConfig(profile="full", photometric=SMALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A faces folder of one person whose face has waves for a texture."""
    place = tmp_path_factory.mktemp("faces")
    head = load_head()
    surface = make_surface(head, 500, 0.004)
    camera = crop_camera(1280, 720, CROP, CONFIG.focal)
    rng = np.random.default_rng(2)
    t = np.arange(FRAMES) / 25
    e = head.num_expression
    codes = np.zeros((FRAMES, e + 15))
    codes[:, head.expression_index("browInnerUp")] = 0.3 + 0.3 * np.cos(6 * t)
    codes[:, e] = 0.1 + 0.1 * np.sin(9 * t)
    codes[:, e + 10] = 0.25 * np.sin(4 * t)
    codes[:, -3:] = -0.27, 0.08, 2.6
    shape = torch.as_tensor(0.7 * rng.normal(size=head.num_shape), dtype=torch.float32)
    _, joints = head.shaped(shape)
    at = torch.as_tensor(codes, dtype=torch.float32)
    vertices, _ = head.pose(
        shape, at[:, :e], at[:, e : e + 3], None, at[:, e + 3 : e + 9], at[:, e + 9 : e + 12],
        at[:, e + 12 :] - joints[0, 0],
    )  # fmt: skip
    points = project(head.landmark_points(vertices), camera).numpy()
    template = surface.head.v_template.numpy()
    places = np.einsum("nk,nkx->nx", surface.texel_bary, template[surface.texel_corners])
    colour = 0.5 + 0.2 * np.sin(places @ rng.normal(size=(3, 3)) * 300)
    light = np.zeros((9, 3), np.float32)
    light[0], light[2] = 2.5, -0.8
    skin = view.Skin(colour.astype(np.float32), np.ones(len(places), bool), light)
    root = joints[0, 0].numpy().astype(np.float64)
    posed = view.pose(surface, surface.pose(shape.numpy(), codes, root), camera)
    image, covered = view.render(surface, posed, skin, np.ones((FRAMES, 3)), camera)
    frames = np.round(255 * np.where(covered[..., None], image, 0.2)).clip(0, 255).astype(np.uint8)
    assert 0.05 < covered.mean() < 0.6
    write_video(place / "A.mp4", iter(frames), 25.0, 12)
    write_video(place / "A_matte.mp4", iter(np.full_like(frames, 255)), 25.0, 12)
    landmarks = np.concatenate([points + 0.4 * rng.normal(size=points.shape), np.zeros_like(points[..., :1])], axis=2)
    zero = np.zeros(FRAMES, np.float32)
    np.savez(
        place / "A.npz", landmarks=landmarks.astype(np.float32), blendshapes=np.zeros((FRAMES, 52), np.float32),
        matrix=np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1)), valid=np.ones(FRAMES, bool), confidence=zero + 0.9,
        blur=zero + 100, yaw_deg=np.degrees(codes[:, e + 10]).astype(np.float32),
        box=np.tile(np.array([420, 120, 200, 200], np.float32), (FRAMES, 1)),
    )  # fmt: skip
    record = {"width": 1280, "height": 720, "fps": 25, "num_frames": FRAMES,
              "persons": [{"person": "A", "crop": CROP, "face_px": 90.0}]}  # fmt: skip
    (place / "faces.json").write_text(json.dumps(record), encoding="utf-8")
    return place


def context(folder: Path, out: Path, shares: list[float]) -> StageContext:
    out.mkdir()
    unit = {"clip_id": "c", "start_s": 0.0, "end_s": FRAMES / 25, "num_frames": FRAMES, "num_faces": 1}
    return StageContext(Path("talk.mp4"), unit, {"faces": folder}, out, model=Path, threads=2, progress=shares.append)


def test_full_writes_residual_texture_and_light(folder: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    given = context(folder, tmp_path / "full", shares)
    summary = STAGE.run(given, CONFIG)
    record = json.loads((given.out / "flame.json").read_text(encoding="utf-8"))
    assert record["profile"] == summary["profile"] == "full"
    assert 0 < record["persons"]["A"]["photometric"] == summary["persons"]["A"]["photometric"] < 0.05
    assert all(np.diff(shares) >= 0) and shares[-1] == 1.0
    with np.load(given.out / "A.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    assert arrays["photometric"].shape == (FRAMES,) and arrays["photometric"].dtype == np.float32
    assert arrays["texture"].shape == (256, 256, 3) and arrays["texture"].dtype == np.uint8 and arrays["texture"].any()
    assert arrays["light"].shape == (9, 3) and arrays["gain"].shape == (FRAMES, 3)
    assert arrays["expression"].shape[0] == FRAMES and np.isfinite(arrays["expression"]).all()
    assert (given.out / "A.npz").stat().st_size < 200_000

    fast = context(folder, tmp_path / "fast", [])
    STAGE.run(fast, FlameConfig())
    record = json.loads((fast.out / "flame.json").read_text(encoding="utf-8"))
    assert record["profile"] == "fast" and record["persons"]["A"]["photometric"] is None
    with np.load(fast.out / "A.npz") as stored:
        assert not {"photometric", "texture", "light"} & set(stored.files)
        assert not np.array_equal(stored["rotation"], arrays["rotation"])
        assert np.abs(stored["rotation"] - arrays["rotation"]).max() < 0.1


def test_missing_pictures_are_named(folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "faces"
    bare.mkdir()
    for name in ("faces.json", "A.npz", "A_matte.mp4"):
        (bare / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(StageError, match=r"A\.mp4"):
        STAGE.run(context(bare, tmp_path / "out", []), CONFIG)
