"""VHAP's tracked npz: round trip, cameras, rates, bad files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rsat_data.cli import run
from rsat_data.dialects import vhap_npz
from rsat_data.dialects.track import BadDialectFile, ReadOptions
from rsat_data.errors import SourceError, UnsafeSource
from rsat_data.reader import Row
from tests.flame_factory import make_codes
from tests.rsat_data.dialects.conftest import difference, vhap_arrays

FRAMES = 20


def tracked(folder: Path, **changes: object) -> Path:
    """A file as VHAP writes it, of FLAME's own sizes."""
    codes = make_codes(FRAMES, 2)
    arrays: dict[str, object] = dict(vhap_arrays(codes, slice(None)))
    arrays["expr"] = np.pad(codes["expression"], ((0, 0), (0, 90)))
    arrays |= {
        "shape": np.pad(codes["shape"], (0, 288)),
        "timestep_id": np.array([f"{step:05d}" for step in range(FRAMES)]),
        "n_processed_frames": np.array(FRAMES),
        "focal_length": np.array([1.7], np.float32),
        "image_size": np.array([480, 640]),
        "static_offset": np.zeros((1, 5143, 3), np.float32),
        "lights": np.ones((9, 3), np.float32),
        **changes,
    }
    folder.mkdir(exist_ok=True)
    path = folder / "tracked_flame_params_30.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})  # type: ignore[arg-type]
    return path


def test_round_trip_needs_no_head(tmp_path: Path, no_heads: None, importing: Callable[..., list[Row]]) -> None:
    path = tracked(tmp_path / "in")
    (row,) = importing("--format", "vhap-npz", path, "--silence")
    assert row["head_model"] == "flame2023" and row["num_frames"] == FRAMES
    focal = 1.7 * 640
    assert row["camera"] == pytest.approx({"fx": focal, "fy": focal, "cx": 320, "cy": 240, "width": 640, "height": 480})
    assert row["video"] is None and row["image"] is None
    # The head stands a metre before the camera, upright: OpenCV's axes.
    given = np.load(path)
    np.testing.assert_allclose(row["translation"][:, 2], 1.0 - given["translation"][:, 2], atol=1e-6)
    np.testing.assert_allclose(row["jaw"], given["jaw_pose"] * [1, -1, -1], atol=1e-7)
    assert run(["export", "--format", "vhap-npz", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    written = np.load(tmp_path / "x" / row["row_id"] / "tracked_flame_params_0.npz")
    for name in ("rotation", "translation", "neck_pose", "jaw_pose", "eyes_pose", "expr", "shape", "lights"):
        np.testing.assert_allclose(written[name], given[name], atol=1e-6)
    (again,) = importing("--format", "vhap-npz", tmp_path / "x", "--silence", name="again")
    assert max(difference(row, again).values()) < 1e-6 and again["camera"] == row["camera"]


def test_thirty_frames_a_second(tmp_path: Path, no_heads: None, importing: Callable[..., list[Row]]) -> None:
    (row,) = importing("--format", "vhap-npz", tracked(tmp_path / "in"), "--silence", "--fps", "30")
    assert row["num_frames"] == int(FRAMES / 30 * 25)
    codes = make_codes(FRAMES, 2)
    np.testing.assert_allclose(row["expression"][5, :10], codes["expression"][6], atol=1e-6)  # 0.2 s in both
    assert row["valid"].all()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"rotation": np.zeros((FRAMES - 1, 3))}, BadDialectFile, "differ in their number of frames"),
        ({"expr": None}, BadDialectFile, "lacks the array 'expr'"),
        ({"expr": np.full((FRAMES, 100), np.inf)}, BadDialectFile, "not finite"),
        ({"timestep_id": np.array(["1"] * FRAMES)}, BadDialectFile, "is there 20 times"),
        ({"timestep_id": np.array([str(9 - n) for n in range(FRAMES)])}, BadDialectFile, "time step"),
        ({"focal_length": np.array([-1.0])}, BadDialectFile, "make no camera"),
        ({"jaw_pose": np.zeros((FRAMES, 3), dtype="U3")}, BadDialectFile, "expected numbers"),
        ({"jaw_pose": np.array([[None] * 3] * FRAMES)}, UnsafeSource, "Python objects"),
    ],
)
def test_bad_files(tmp_path: Path, changes: dict[str, object], error: type[SourceError], words: str) -> None:
    path = tracked(tmp_path / "in", **changes)
    (unit,) = vhap_npz.find(path.parent)
    with pytest.raises(error, match=words) as caught:
        vhap_npz.read(unit, ReadOptions(head="flame2023"))
    assert path.name in caught.value.message


def test_more_codes_than_the_head_has(tmp_path: Path) -> None:
    path = tracked(tmp_path / "in", shape=np.ones(400, np.float32))
    (unit,) = vhap_npz.find(path)
    with pytest.raises(SourceError, match="shape has 400 codes, the head has 300"):
        vhap_npz.read(unit, ReadOptions(head="flame2023"))
