"""DECA's family: its dictionaries in every wrapping, its weak-perspective camera, round trips, bad files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.camera import Camera, project
from rsat_data.cli import run
from rsat_data.dialects import deca
from rsat_data.dialects.track import ReadOptions
from rsat_data.errors import SourceError
from rsat_data.reader import Row
from tests.flame_factory import make_flame
from tests.rsat_data.dialects.conftest import difference

FRAMES = 8
OPTIONS = ReadOptions(head="flame2020")


def codes(seed: int = 0, frames: int = FRAMES) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = np.float32([9, 0.02, -0.03]) + rng.normal(0, 0.01, (frames, 3)).astype(np.float32)
    return {
        "shape": np.tile(rng.normal(size=100).astype(np.float32), (frames, 1)),
        "exp": rng.normal(size=(frames, 50)).astype(np.float32),
        "pose": rng.normal(0, 0.1, (frames, 6)).astype(np.float32),
        "cam": scale,
        "tex": rng.normal(size=(frames, 50)).astype(np.float32),
    }


def save(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write by the ending: npz, mat, pt; a folder of npy files, or of one npz a frame, without one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
    elif path.suffix == ".mat":
        scipy.io.savemat(path, arrays)
    elif path.suffix == ".pt":
        torch.save(
            {f"{name}code" if name == "shape" else name: torch.from_numpy(a) for name, a in arrays.items()}, path
        )
    elif path.name == "emoca":
        for step in range(FRAMES):
            (path / f"{step:06d}_000").mkdir(parents=True)
            for name in ("shape", "exp", "pose", "cam"):
                np.save(path / f"{step:06d}_000/{name}.npy", arrays[name][step])
    else:
        path.mkdir()
        for step in range(FRAMES):
            one = {name: torch.from_numpy(value[step : step + 1]) for name, value in arrays.items()}
            torch.save(one, path / f"frame_{step}.pt")
    return path


@pytest.mark.parametrize("name", ["codes.npz", "codes.mat", "codes.pt", "emoca", "frames"])
def test_every_wrapping_gives_the_same_codes(name: str, tmp_path: Path) -> None:
    given = codes()
    if name == "emoca":  # numbers of frames end in _000 there: the time step is what stands before
        pytest.importorskip("numpy")
    path = save(tmp_path / "in" / name, given)
    if name == "emoca":
        for folder in sorted(path.iterdir()):
            folder.rename(folder.with_name(folder.name.removesuffix("_000")))
    (unit,) = deca.find(tmp_path / "in")
    track = deca.read(unit, OPTIONS).tracks["A"]
    np.testing.assert_array_equal(track.expression[:, :50], given["exp"])
    np.testing.assert_allclose(track.shape[:100], given["shape"][0], atol=1e-6)
    np.testing.assert_allclose(track.jaw, given["pose"][:, 3:] * [1, -1, -1])
    assert track.expression.shape == (FRAMES, 100) and track.shape.shape == (300,)


def test_weak_perspective_becomes_a_far_camera() -> None:
    """At the depth of the head's origin exactly the network's own picture; elsewhere as far as the depth goes."""
    made = make_flame(0)
    cam = np.float64([8.0, 0.03, -0.02])
    translation = deca.translation_of_cam(cam[None])[0]
    points = made.v_template
    pixels = project(points * [1, -1, -1] + translation, deca.crop_camera())
    network = 112 + 112 * cam[0] * (points[:, :2] + cam[1:]) * [1, -1]  # DECA's own projection, y flipped
    off = np.abs(pixels - network)
    size = 112 * cam[0] * np.abs(points[:, :2] + cam[1:])
    assert np.all(off <= size * (np.abs(points[:, 2:]) * cam[0] / deca.FOCAL * 1.2) + 1e-6)
    middle = np.abs(points[:, 2]) < 0.01
    assert middle.any() and off[middle].max() < 1.0


@settings(max_examples=30, deadline=None)
@given(st.floats(2, 15), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_camera_and_back(scale: float, x: float, y: float) -> None:
    cam = np.float32([[scale, x, y]])
    np.testing.assert_allclose(
        deca.cam_of_translation(deca.translation_of_cam(cam), deca.crop_camera()), cam, rtol=1e-5, atol=1e-6
    )


def test_camera_of_any_picture_keeps_the_origin_in_place() -> None:
    """Export from a crop with its principal point off the middle: the origin lies where it lay, to the same scale."""
    camera = Camera(1600.0, 1600.0, -40.0, 300.0, 512, 512)
    translation = np.float32([[0.25, -0.02, 1.4]])
    scale, right, up = deca.cam_of_translation(translation, camera)[0]
    seen = np.array([256 + 256 * scale * right, 256 - 256 * scale * up])
    np.testing.assert_allclose(seen, project(translation.astype(np.float64), camera)[0], atol=1e-3)
    assert 256 * scale == pytest.approx(camera.fx / 1.4, rel=1e-6)


def test_round_trip(tmp_path: Path, no_heads: None, importing: Callable[..., list[Row]]) -> None:
    given = codes()
    path = save(tmp_path / "codes.npz", given)
    (row,) = importing("--format", "deca", path, "--silence")
    assert row["head_model"] == "flame2020"
    assert run(["export", "--format", "deca", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    written = np.load(tmp_path / "x" / row["row_id"] / "codes.npz")
    for name, value in given.items():
        np.testing.assert_array_equal(written[name], value)
    (again,) = importing("--format", "deca", tmp_path / "x", "--silence", name="again")
    assert max(difference(row, again).values()) < 1e-6 and row["camera"] == again["camera"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pose": np.zeros((FRAMES, 3))}, "has shape (8, 3)"),
        ({"pose": None}, "lacks the array 'pose'"),
        ({"exp": np.zeros((FRAMES - 2, 50))}, "differ in their number of frames"),
        ({"tex": np.zeros((FRAMES - 2, 50))}, "differ in their number of frames"),
        ({"cam": -np.ones((FRAMES, 3))}, "not positive"),
        ({"exp": np.full((FRAMES, 50), np.nan)}, "not finite"),
        ({"exp": np.zeros((0, 50)), "shape": np.zeros((0, 100))}, "frames"),
    ],
)
def test_bad_files(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    arrays = {name: value for name, value in (codes() | changes).items() if value is not None}
    (unit,) = deca.find(save(tmp_path / "codes.npz", arrays))
    with pytest.raises(SourceError) as caught:
        deca.read(unit, OPTIONS)
    assert words in caught.value.message and "codes.npz" in caught.value.message


def test_frames_of_a_folder_that_differ_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "frames", codes())
    torch.save({"exp": torch.zeros(1, 50)}, folder / "frame_3.pt")
    (unit,) = deca.find(folder)
    with pytest.raises(SourceError, match="do not hold the same arrays"):
        deca.read(unit, OPTIONS)
    np.savez(folder / "frame_03.npz", exp=np.zeros((1, 50)))
    (unit,) = deca.find(folder)
    with pytest.raises(SourceError):
        deca.read(unit, OPTIONS)
