from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from model.camera import project
from model.head.load import HeadModel, load_head
from pipelines.faces.blendshapes import INDEX
from pipelines.faces.crop import crop_camera
from pipelines.flame.overlay import overlay
from pipelines.flame.stage import STAGE, FlameConfig
from pipelines.ingest.encode import write_video
from pipelines.stage import StageContext
from rsat_data.errors import ConfigError, SkippedClip, StageError

FRAMES, CROP = 40, {"x0": 300.5, "y0": 80.25, "side": 430.0, "size": 512}


@dataclass(frozen=True)
class Scene:
    """A faces folder made from known codes."""

    folder: Path
    shape: np.ndarray
    codes: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def scene(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Two persons with the same codes; B is lost in three frames."""
    folder = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(5)
    t = np.arange(FRAMES) / 25
    shape = rng.normal(size=head.num_shape) * 0.7
    expression = np.zeros((FRAMES, head.num_expression))
    expression[:, head.expression_index("mouthSmileLeft")] = 0.3 + 0.3 * np.sin(4 * t)
    expression[:, head.expression_index("browInnerUp")] = 0.3 + 0.3 * np.cos(3 * t)
    blink = np.exp(-np.square((t - 0.8) / 0.07))
    for side in ("Left", "Right"):
        expression[:, head.expression_index(f"eyeBlink{side}")] = blink
    jaw = np.stack([0.1 + 0.1 * np.sin(9 * t), 0 * t, 0 * t], 1)
    eyes = np.tile(np.stack([0.05 * np.sin(t), 0.15 * np.sin(2 * t), 0 * t], 1), 2)
    rotation = np.stack([0.1 * np.sin(t), 0.3 * np.sin(2 * t), 0.05 * t], 1)
    translation = np.stack([0.02 * np.sin(t), 0.02 + 0 * t, 1.6 + 0 * t], 1)
    codes = {"expression": expression, "jaw": jaw, "eyes": eyes, "rotation": rotation, "translation": translation}
    tensors = {name: torch.as_tensor(code, dtype=torch.float32) for name, code in codes.items()}
    vertices, _ = head.pose(torch.as_tensor(shape, dtype=torch.float32), **tensors)
    points = project(head.landmark_points(vertices), crop_camera(1280, 720, CROP, FlameConfig().focal)).numpy()
    points = points + rng.normal(size=points.shape) * 0.4
    scores = np.zeros((FRAMES, 52), np.float32)
    scores[:, INDEX["jawOpen"]] = jaw[:, 0] / 0.3
    scores[:, INDEX["eyeBlinkLeft"]] = scores[:, INDEX["eyeBlinkRight"]] = blink
    landmarks = np.concatenate([points, np.zeros_like(points[..., :1])], axis=2).astype(np.float32)
    for person in "AB":
        valid = np.ones(FRAMES, dtype=bool)
        if person == "B":
            valid[[0, 20, 21]] = False
            landmarks[~valid] = 0
        flip = np.diag([1.0, -1.0, -1.0])
        matrix = np.tile(np.eye(4, dtype=np.float32), (FRAMES, 1, 1))
        matrix[:, :3, :3] = flip @ Rotation.from_rotvec(rotation).as_matrix() @ flip
        quality: dict[str, Any] = {
            "confidence": valid * 0.9,
            "blur": np.full(FRAMES, 90.0),
            "yaw_deg": np.degrees(rotation[:, 1]),
        }
        np.savez(
            folder / f"{person}.npz", landmarks=landmarks, blendshapes=scores, valid=valid, matrix=matrix, **quality
        )
        write_video(folder / f"{person}.mp4", iter(np.full((FRAMES, 512, 512, 3), 128, np.uint8)))
    persons = [{"person": person, "crop": CROP, "face_px": 200.0} for person in "AB"]
    record = {"width": 1280, "height": 720, "fps": 25, "num_frames": FRAMES, "persons": persons}
    (folder / "faces.json").write_text(json.dumps(record), encoding="utf-8")
    return Scene(folder, shape, codes)


def context(folder: Path, out: Path) -> StageContext:
    out.mkdir()
    unit = {"clip_id": "c", "start_s": 3.0, "end_s": 4.6, "num_frames": FRAMES, "num_faces": 2}
    return StageContext(Path("talk.mp4"), unit, {"faces": folder}, out, model=Path, threads=2)


def test_stage_writes_codes_that_follow_the_truth(scene: Scene, head: HeadModel, tmp_path: Path) -> None:
    ctx = context(scene.folder, tmp_path / "out")
    summary = STAGE.run(ctx, FlameConfig())
    record = json.loads((ctx.out / "flame.json").read_text(encoding="utf-8"))
    assert record["head_model"] == head.id
    assert record["persons"]["A"]["camera"]["width"] == 512
    assert record["persons"]["A"]["reprojection"] < 0.02
    assert record["persons"]["B"]["valid_fraction"] == pytest.approx(37 / 40)
    assert summary["persons"]["B"]["valid"] == pytest.approx(37 / 40)
    shapes = {"shape": (head.num_shape,), "expression": (FRAMES, head.num_expression), "jaw": (FRAMES, 3)}
    shapes |= {"neck": (FRAMES, 3), "eyes": (FRAMES, 6), "rotation": (FRAMES, 3), "translation": (FRAMES, 3)}
    shapes |= {name: (FRAMES,) for name in ("valid", "reprojection_px", "eye_distance_px", "reason", "confidence")}
    for person in "AB":
        with np.load(ctx.out / f"{person}.npz") as stored:
            assert {name: stored[name].shape for name in stored.files} == shapes
            assert all(np.isfinite(stored[name]).all() for name in stored.files)
            assert stored["valid"].dtype == bool and stored["jaw"].dtype == np.float32
            jaw, expression, eyes, rotation = (stored[n] for n in ("jaw", "expression", "eyes", "rotation"))
        assert np.corrcoef(jaw[:, 0], scene.codes["jaw"][:, 0])[0, 1] > 0.95
        blink = head.expression_index("eyeBlinkLeft")
        assert np.corrcoef(expression[:, blink], scene.codes["expression"][:, blink])[0, 1] > 0.9
        assert np.corrcoef(eyes[:, 1], scene.codes["eyes"][:, 1])[0, 1] > 0.95
        assert np.abs(rotation - scene.codes["rotation"]).max() < 0.06


def test_stage_gives_the_same_bytes_again(scene: Scene, tmp_path: Path) -> None:
    folders = [context(scene.folder, tmp_path / name).out for name in ("first", "second")]
    for folder in folders:
        STAGE.run(StageContext(Path("a"), {"start_s": 0.0}, {"faces": scene.folder}, folder, model=Path), FlameConfig())
    for person in "AB":
        with np.load(folders[0] / f"{person}.npz") as a, np.load(folders[1] / f"{person}.npz") as b:
            assert all(a[name].tobytes() == b[name].tobytes() for name in a.files)


def test_person_never_seen_skips_the_clip_by_name(scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    record = json.loads((scene.folder / "faces.json").read_text(encoding="utf-8"))
    record["persons"] = record["persons"][:1]
    (folder / "faces.json").write_text(json.dumps(record), encoding="utf-8")
    with np.load(scene.folder / "A.npz") as stored:
        arrays = {name: stored[name] for name in stored.files} | {"valid": np.zeros(FRAMES, dtype=bool)}
    np.savez(folder / "A.npz", **arrays)
    with pytest.raises(SkippedClip, match=r"'talk.mp4' from 3.00 s: person A: no face could be used") as caught:
        STAGE.run(context(folder, tmp_path / "out"), FlameConfig())
    assert caught.value.path == Path("talk.mp4")
    del arrays["blendshapes"]
    np.savez(folder / "A.npz", **arrays)
    with pytest.raises(StageError, match=r"A\.npz .*blendshapes"):
        STAGE.run(context(folder, tmp_path / "out2"), FlameConfig())


def test_a_gpu_that_is_not_there_is_a_config_error(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="flame.device is 'cuda'"):
        STAGE.run(context(scene.folder, tmp_path / "out"), FlameConfig(device="cuda"))


def test_three_frames_or_numbers_that_are_none_end_with_a_reason(scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    record = json.loads((scene.folder / "faces.json").read_text(encoding="utf-8"))
    record["persons"] = record["persons"][:1]
    (folder / "faces.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "A.mp4").write_bytes((scene.folder / "A.mp4").read_bytes())
    with np.load(scene.folder / "A.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(folder / "A.npz", **(arrays | {"valid": np.arange(FRAMES) % 20 == 7}))
    with pytest.raises(SkippedClip, match=r"person A: 2 of 40 frames can be trusted; the others: lost 95%"):
        STAGE.run(context(folder, tmp_path / "few"), FlameConfig())
    landmarks = arrays["landmarks"].copy()
    landmarks[10:15, 100] = np.nan
    np.savez(folder / "A.npz", **(arrays | {"landmarks": landmarks}))
    ctx = context(folder, tmp_path / "nan")
    STAGE.run(ctx, FlameConfig())
    with np.load(ctx.out / "A.npz") as stored:
        assert (stored["reason"][10:15] == 1).all() and stored["valid"].sum() == FRAMES - 5
        assert all(np.isfinite(stored[name]).all() for name in stored.files)


def test_key_names_the_head_and_import_is_cheap(head: HeadModel) -> None:
    assert STAGE.key_material(FlameConfig()) == {"head": head.id}
    code = "import sys, pipelines.flame.stage; print(sorted({'torch', 'numba', 'cv2', 'mediapipe'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_crop_camera_sees_what_the_source_camera_sees() -> None:
    camera = crop_camera(1280, 720, CROP, 1.6)
    point = np.array([0.13, -0.05, 1.7])
    source = np.array([1.6 * 1280 * point[0] / point[2] + 640, 1.6 * 1280 * point[1] / point[2] + 360])
    expected = (source - [CROP["x0"], CROP["y0"]]) * 512 / CROP["side"]
    np.testing.assert_allclose(project(point, camera), expected)


def test_overlay_draws_the_head_where_it_is(head: HeadModel) -> None:
    camera = crop_camera(512, 512, {"x0": 0, "y0": 0, "side": 512, "size": 512}, 1.6)
    vertices, _ = head.pose(torch.zeros(head.num_shape), translation=torch.tensor([[0.0, 0.0, 0.8]]))
    frame = np.full((512, 512, 3), 90, np.uint8)
    drawn = overlay(frame, vertices[0], head.faces, camera)
    assert drawn.dtype == np.uint8 and drawn.shape == frame.shape
    changed = (drawn != frame).any(axis=2)
    points = project(head.landmark_points(vertices)[0], camera).numpy()
    middle = points.mean(axis=0).astype(int)
    assert changed[middle[1], middle[0]] and not changed[:, :40].any()
    with pytest.raises(ValueError, match="100x100"):
        overlay(frame[:100, :100], vertices[0], head.faces, camera)
