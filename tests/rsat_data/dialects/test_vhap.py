"""VHAP's folder: layout and rules of the published exporter, pixels, round trips, bad folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from model.camera import Camera, project
from model.fitting.rotations import exp
from model.head import load_head
from rsat_data.cli import run
from rsat_data.reader import Row
from tests.flame_factory import MadeFlame
from tests.model.test_axes import opengl_pixels
from tests.rsat_data.dialects.conftest import CODES, FRAMES, HEIGHT, WIDTH, difference, vhap_folder, wav

Importing = Callable[..., list[Row]]


def pixels_of(row: Row, head: str) -> np.ndarray:
    """Pixels (T, V, 2) of a row's posed head in its own camera."""
    codes = {name: torch.from_numpy(row[name].copy()) for name in CODES}
    vertices, _ = load_head(head).pose(torch.from_numpy(row["shape"].copy()), **codes)
    return project(vertices.numpy(), Camera(**row["camera"]))


def pixels_of_folder(folder: Path, made: MadeFlame, *, angles: bool = False) -> np.ndarray:
    """Pixels (T, V, 2) as a consumer computes them from the files: FLAME's axes, OpenGL camera.

    With ``angles``, from the fields of view alone, as GaussianAvatars does.
    """
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    result = []
    for frame in frames:
        p = np.load(folder / frame["flame_param_path"])
        order = ("expr", "jaw_pose", "neck_pose", "eyes_pose", "rotation", "translation")
        posed = made.pose_y_up(p["shape"], *(p[name][0] for name in order))
        w, h = frame["w"], frame["h"]
        camera = Camera(frame["fl_x"], frame["fl_y"], frame["cx"], frame["cy"], w, h)
        if angles:
            focal = [w / 2 / np.tan(frame["camera_angle_x"] / 2), h / 2 / np.tan(frame["camera_angle_y"] / 2)]
            camera = Camera(*focal, w / 2, h / 2, w, h)
        result.append(opengl_pixels(posed, np.array(frame["transform_matrix"]), camera))
    return np.stack(result)


def test_import_shows_the_same_pixels(tmp_path: Path, heads: dict[str, MadeFlame], importing: Importing) -> None:
    vhap_folder(tmp_path / "seq")
    (row,) = importing("--format", "vhap", tmp_path / "seq", "--silence")
    assert row["head_model"] == load_head("flame2023").id
    assert np.abs(pixels_of(row, "flame2023") - pixels_of_folder(tmp_path / "seq", heads["flame2023"])).max() < 1e-3
    picture = row.frames([3])[0].astype(int)
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(picture[20, 25] - [200, 120, 60]).max() < 12 and np.abs(picture[40, 50] - 40).max() < 12
    matte = row.matte([3])[0]
    assert matte[20, 25] > 240 and matte[40, 50] < 15
    assert row["valid"].all() and row["num_frames"] == FRAMES


def test_import_of_a_turned_camera_folds_it_into_the_pose(
    tmp_path: Path, heads: dict[str, MadeFlame], importing: Importing
) -> None:
    c2w = np.eye(4)
    c2w[:3, :3] = exp(np.array([0.1, 0.5, 0.05]))
    c2w[:3, 3] = c2w[:3, :3] @ [0, 0, 1]
    vhap_folder(tmp_path / "seq", c2w=c2w)
    (row,) = importing("--format", "vhap", tmp_path / "seq", "--silence")
    assert np.abs(pixels_of(row, "flame2023") - pixels_of_folder(tmp_path / "seq", heads["flame2023"])).max() < 1e-3


def test_a_turned_camera_without_the_head_is_refused(
    tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    c2w = np.eye(4)
    c2w[:3, :3] = exp(np.array([0.0, 0.5, 0.0]))
    vhap_folder(tmp_path / "seq", c2w=c2w)
    assert run(["import", "--format", "vhap", str(tmp_path / "seq"), "--silence", "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err
    assert "root joint" in text and "import-flame" in text
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_round_trip_and_layout(tmp_path: Path, heads: dict[str, MadeFlame], importing: Importing) -> None:
    """Dataset -> folder -> dataset: codes within float32, pixels alike; the folder keeps the exporter's rules."""
    vhap_folder(tmp_path / "seq")
    (row,) = importing("--format", "vhap", tmp_path / "seq", "--silence")
    before = sorted(path for path in (tmp_path / "out").rglob("*"))
    assert run(["export", "--format", "vhap", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    assert sorted(path for path in (tmp_path / "out").rglob("*")) == before
    folder = tmp_path / "x" / row["row_id"]
    index = json.loads((folder / "transforms.json").read_text())
    parts = {name: json.loads((folder / f"transforms_{name}.json").read_text()) for name in ("train", "val", "test")}
    train = int(FRAMES * 0.7)
    assert parts["train"]["timestep_indices"] == list(range(train))
    assert parts["test"]["timestep_indices"] == list(range(train, FRAMES)) and parts["val"]["frames"] == []
    assert index["frames"] == parts["train"]["frames"] + parts["test"]["frames"]
    params = [np.load(folder / f"flame_param/{step:05d}.npz") for step in range(FRAMES)]
    translation = np.concatenate([p["translation"] for p in params])
    np.testing.assert_allclose(translation.mean(0), 0, atol=1e-6)
    matrix = np.array(index["frames"][0]["transform_matrix"])
    np.testing.assert_allclose(matrix[:3, :3], np.eye(3), atol=1e-12)
    for name, width in (("rotation", 3), ("neck_pose", 3), ("jaw_pose", 3), ("eyes_pose", 6), ("expr", 10)):
        assert params[0][name].shape == (1, width) and params[0][name].dtype == np.float32
    assert params[0]["shape"].shape == (12,) and params[0]["static_offset"].shape == (1, 5143, 3)
    canonical = np.load(folder / "canonical_flame_param.npz")
    np.testing.assert_allclose(canonical["jaw_pose"], [[0.3, 0, 0]])
    assert not canonical["expr"].any() and not canonical["rotation"].any()
    picture, mask = cv2.imread(str(folder / "images/00003_00.png")), cv2.imread(str(folder / "fg_masks/00003_00.png"))
    assert picture[40, 50].min() > 225 and mask[40, 50].max() < 15  # white where nobody is
    pixels = pixels_of_folder(folder, heads["flame2023"])
    assert np.abs(pixels - pixels_of(row, "flame2023")).max() < 1e-3
    (again,) = importing("--format", "vhap", folder, "--silence", name="again")
    assert max(difference(row, again).values()) < 1e-6
    assert again["camera"] == row["camera"]


def test_a_principal_point_off_the_middle_is_turned_there(
    tmp_path: Path, heads: dict[str, MadeFlame], importing: Importing
) -> None:
    """Fields of view alone then say where the head is: mesh and warped picture move alike."""
    made = vhap_folder(tmp_path / "seq")
    for frame in made["index"]["frames"]:
        frame["cx"] += 40.0
    (tmp_path / "seq/transforms.json").write_text(json.dumps(made["index"]))
    (row,) = importing("--format", "vhap", tmp_path / "seq", "--silence")
    assert run(["export", "--format", "vhap", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    folder = tmp_path / "x" / row["row_id"]
    from model.axes import turn_to_middle

    *_, homography = turn_to_middle(Camera(**row["camera"]))
    old = pixels_of(row, "flame2023")
    moved = np.concatenate([old, np.ones((*old.shape[:2], 1))], axis=-1) @ homography.T
    seen = pixels_of_folder(folder, heads["flame2023"], angles=True)
    assert np.abs(moved[..., :2] / moved[..., 2:] - seen).max() < 1e-3
    # The square of frame 3 lies where the homography takes its middle.
    middle = homography @ [23.0, 20.0, 1.0]
    x, y = (middle[:2] / middle[2]).astype(int)
    picture = cv2.imread(str(folder / "images/00003_00.png"))[..., ::-1].astype(int)
    assert np.abs(picture[y, x] - [200, 120, 60]).max() < 15
    (again,) = importing("--format", "vhap", folder, "--silence", name="again")
    assert np.abs(pixels_of(again, "flame2023") - seen).max() < 1e-3
    options = ["--keep-crop", "--quiet"]
    assert run(["export", "--format", "vhap", str(tmp_path / "out"), str(tmp_path / "y"), *options]) == 0
    kept = tmp_path / "y" / row["row_id"]
    assert np.abs(pixels_of_folder(kept, heads["flame2023"]) - old).max() < 1e-3


def test_own_codes_of_the_open_head(tmp_path: Path, heads: dict[str, MadeFlame], importing: Importing) -> None:
    """The files name the head; read back, the codes are the open head's again."""
    folder = tmp_path / "seq"
    vhap_folder(folder)
    rng = np.random.default_rng(0)
    head = load_head()
    for path in (folder / "flame_param").glob("*.npz"):
        arrays = dict(np.load(path)) | {"shape": np.ones(head.num_shape, np.float32), "head_model": np.array(head.id)}
        arrays["expr"] = rng.random((1, head.num_expression), dtype=np.float32)
        np.savez(path, **arrays)
    (row,) = importing("--format", "vhap", folder, "--silence")
    assert row["head_model"] == head.id
    assert run(["export", "--format", "vhap", str(tmp_path / "out"), str(tmp_path / "x")]) == 1
    assert run(["export", "--format", "vhap", "--own-codes", str(tmp_path / "out"), str(tmp_path / "x")]) == 0
    (again,) = importing("--format", "vhap", tmp_path / "x", "--silence", name="again")
    assert again["head_model"] == head.id and max(difference(row, again).values()) < 1e-6


def test_sound_beside_the_folder_and_gaps_in_time(tmp_path: Path, no_heads: None, importing: Importing) -> None:
    made = vhap_folder(tmp_path / "seq")
    made["index"]["frames"] = [frame for frame in made["index"]["frames"] if frame["timestep_index"] not in (4, 5)]
    (tmp_path / "seq/transforms.json").write_text(json.dumps(made["index"]))
    wav(tmp_path / "seq.wav", FRAMES)
    (row,) = importing("--format", "vhap", tmp_path / "seq", "--own-audio", "--subject", "anna")
    assert (
        row["head_model"] == "flame2023" and row["shape"].shape == (300,) and row["expression"].shape == (FRAMES, 100)
    )
    assert row["valid"].tolist() == [step not in (4, 5) for step in range(FRAMES)]
    assert row["speaking"].any() and not row["speaking"].all() and row["audio_isolation"] == "channel"


def spoil(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    index = json.loads((folder / "transforms.json").read_text())
    change(index)
    (folder / "transforms.json").write_text(json.dumps(index))


def params(folder: Path, **changes: np.ndarray | None) -> None:
    path = folder / "flame_param/00002.npz"
    arrays = {**dict(np.load(path)), **changes}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


BAD: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "dots": (
        lambda f: spoil(f, lambda i: i["frames"][2].update(flame_param_path="../../secret.npz")),
        "UnsafeSource",
        "outside its folder",
    ),
    "absolute": (
        lambda f: spoil(f, lambda i: i["frames"][2].update(file_path="/etc/passwd")),
        "UnsafeSource",
        "outside its folder",
    ),
    "link": (
        lambda f: ((f / "images/00002_00.png").unlink(), (f / "images/00002_00.png").symlink_to("/etc/hostname")),
        "UnsafeSource",
        "outside its folder",
    ),
    "object": (
        lambda f: params(f, expr=np.array([[{"a": 1}]], dtype=object)),
        "UnsafeSource",
        "Python objects",
    ),
    "nan": (
        lambda f: params(f, jaw_pose=np.full((1, 3), np.nan)),
        "BadDialectFile",
        "not finite",
    ),
    "shape": (
        lambda f: params(f, eyes_pose=np.zeros((1, 4))),
        "BadDialectFile",
        "has shape (1, 4), expected (1, 6)",
    ),
    "key": (
        lambda f: params(f, neck_pose=None),
        "BadDialectFile",
        "lacks the array 'neck_pose'",
    ),
    "twice": (
        lambda f: spoil(f, lambda i: i["frames"][2].update(timestep_index=1)),
        "BadDialectFile",
        "time step 1 is there 2 times",
    ),
    "cameras": (
        lambda f: spoil(f, lambda i: i["frames"][2].update(camera_id="7")),
        "BadDialectFile",
        "2 cameras: 0, 7",
    ),
    "matrix": (
        lambda f: spoil(f, lambda i: i["frames"][2].update(transform_matrix=[[1, 2], [3, 4]])),
        "BadDialectFile",
        "not a rigid",
    ),
    "json": (
        lambda f: (f / "transforms.json").write_text("{"),
        "BadDialectFile",
        "not valid JSON",
    ),
    "no frames": (
        lambda f: spoil(f, lambda i: i.update(frames=[])),
        "BadDialectFile",
        "lists no frame",
    ),
    "picture": (
        lambda f: cv2.imwrite(str(f / "images/00002_00.png"), np.zeros((9, 9, 3), np.uint8)),
        "BadDialectFile",
        "9 x 9 px",
    ),
    "gone": (
        lambda f: (f / "images/00002_00.png").unlink(),
        "BadDialectFile",
        "1 of 12 files under file_path are missing",
    ),
    "jaw": (
        lambda f: params(f, jaw_pose=np.float32([[2.0, 0, 0]])),
        "BadDialectFile",
        "jaw reaches 2 rad",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_sequence_is_named_and_the_rest_goes_on(
    case: str, tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    change, error, words = BAD[case]
    vhap_folder(tmp_path / "all/bad")
    vhap_folder(tmp_path / "all/good", seed=1)
    change(tmp_path / "all/bad")
    command = ["import", "--format", "vhap", str(tmp_path / "all"), "--silence", "--json", "--quiet"]
    assert run([*command, "--out", str(tmp_path / "out")]) == 3
    facts = json.loads(capsys.readouterr().out)
    (refused,) = facts["quarantined"]
    assert facts["rows"] == 1 and refused["source_name"] == "bad"
    assert refused["error"] == error and words in refused["message"]
    assert str(tmp_path) not in refused["message"]  # no folder of this machine in the dataset
    assert run(["validate", str(tmp_path / "out")]) == 0
