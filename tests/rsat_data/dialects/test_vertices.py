"""Vertices alone: written in our axes, solved back to codes, in the axes and layouts of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model.head import load_head
from rsat_data.cli import run
from rsat_data.reader import Row
from tests.flame_factory import MadeFlame, make_codes
from tests.rsat_data.dialects.conftest import CODES, difference
from tests.rsat_data.dialects.test_vhap import pixels_of
from tests.rsat_data.dialects.test_vhap_npz import tracked

FRAMES = 3
# torch.func, which the solver uses, warns of something inside torch itself.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


def posed(made: MadeFlame, frames: int = FRAMES) -> np.ndarray:
    """(T, V, 3) in FLAME's axes, model space; neck at rest, for it cannot be told from the head's turn."""
    codes = make_codes(frames, 4, neck=False)
    return np.stack([made.pose_y_up(codes["shape"], *(codes[name][step] for name in CODES)) for step in range(frames)])


def vertices_of(row: Row, head: str) -> np.ndarray:
    codes = {name: torch.from_numpy(row[name].copy()) for name in CODES}
    return load_head(head).pose(torch.from_numpy(row["shape"].copy()), **codes)[0].numpy()


@pytest.mark.parametrize("layout", ["npy", "flat npy", "npz"])
def test_vertices_in_the_axes_of_flame(
    layout: str, tmp_path: Path, heads: dict[str, MadeFlame], importing: Callable[..., list[Row]]
) -> None:
    points = posed(heads["flame2020"])
    path = tmp_path / ("mesh.npz" if layout == "npz" else "mesh.npy")
    if layout == "npz":
        np.savez(path, verts=points)
    else:
        np.save(path, points if layout == "npy" else points.reshape(FRAMES, -1))
    (row,) = importing("--format", "vertices", "--head", "flame2020", path, "--silence", "--own-audio")
    found = vertices_of(row, "flame2020") - [0, 0, 1]  # it was put a metre before the camera
    assert np.linalg.norm(found - points * [1, -1, -1], axis=-1).mean() < 5e-4
    assert row["head_model"] == load_head("flame2020").id and (row["translation"][:, 2] > 0.5).all()


def test_round_trip_through_vertices(
    tmp_path: Path, heads: dict[str, MadeFlame], importing: Callable[..., list[Row]]
) -> None:
    codes = make_codes(20, 2)
    small = {"expr": codes["expression"], "shape": codes["shape"], "neck_pose": np.zeros((20, 3))}
    (row,) = importing("--format", "vhap-npz", tracked(tmp_path / "in", **small), "--silence")
    assert run(["export", "--vertices", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    folder = tmp_path / "x" / row["row_id"]
    written = np.load(folder / "vertices.npy")
    np.testing.assert_allclose(written, vertices_of(row, "flame2023"), atol=1e-6)
    about = json.loads((folder / "vertices.json").read_text())
    assert about["head_model"] == row["head_model"] and about["axes"] == "opencv" and about["num_frames"] == 20
    assert np.load(folder / "faces.npy").shape == heads["flame2023"].faces.shape
    (again,) = importing("--format", "vertices", tmp_path / "x", "--silence", name="again")  # the head is in the json
    assert np.linalg.norm(vertices_of(again, "flame2023") - written, axis=-1).mean() < 5e-4
    assert np.abs(pixels_of(again, "flame2023") - pixels_of(row, "flame2023")).mean() < 0.5
    assert difference(row, again)["rotation"] < 0.02 and again["camera"] == pytest.approx(row["camera"])
    residual = np.load(tmp_path / f"again/meta/imported/{again['row_id']}.npz")["vertex_residual_mm"]
    assert residual.shape == (20,) and residual.max() < 1.0


def test_real_vertices_of_flame(
    tmp_path: Path, real_data: Path, monkeypatch: pytest.MonkeyPatch, importing: Callable[..., list[Row]]
) -> None:
    """FLAME 2023's own mesh and identity modes, laid out as VOCASET does: (T, 5023 * 3), y up, model space."""
    part = np.load(real_data / "heads/flame2023open_partial/flame_basis.npz")
    frames, rng = 5, np.random.default_rng(0)
    size = len(part["v_template"])
    ball = np.zeros((size, 5))
    ball[:, 1] = 1.0  # the part has neither joints nor weights: it moves as one
    joints = np.array([[0, -0.12, -0.02], [0, -0.08, -0.02], [0, -0.03, 0], [0.03, 0.03, 0.03], [-0.03, 0.03, 0.03]])
    modes = part["shapedirs"].shape[-1]
    made = MadeFlame(
        part["v_template"],
        part["faces"],
        part["shapedirs"],
        np.zeros((size, 3, 1)),
        np.zeros((size, 3, 27)),
        joints,
        np.zeros((5, 3, modes)),
        ball,
    )
    made.write(tmp_path / "home/heads/flame2023.safetensors", "flame2023", expressions=1)
    monkeypatch.setenv("RSAT_DATA_HOME", str(tmp_path / "home"))
    shape, zero = rng.normal(size=modes), np.zeros(3)
    moving = [
        made.pose_y_up(shape, np.zeros(1), zero, zero, np.zeros(6), 0.1 * step * np.array([0.2, 1, 0]), zero)
        for step in range(frames)
    ]
    np.save(tmp_path / "FaceTalk_sentence01.npy", np.float32(moving).reshape(frames, -1))
    (row,) = importing("--format", "vertices", "--head", "flame2023", tmp_path / "FaceTalk_sentence01.npy", "--silence")
    found = vertices_of(row, "flame2023") - [0, 0, 1]
    away = np.linalg.norm(found - np.array(moving) * [1, -1, -1], axis=-1)
    assert away.mean() < 5e-4
    np.testing.assert_allclose(row["rotation"][:, 1], -0.1 * np.arange(frames), atol=5e-3)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.zeros((4, 99, 3)), "has shape (4, 99, 3)"),
        (np.zeros((4, 400, 3), int), "expected real numbers"),
        (np.array([{}], dtype=object), "Python objects"),
        (np.full((4, 400, 3), np.nan), "frame 0 holds vertices that are not finite"),
    ],
)
def test_bad_files(
    points: np.ndarray, words: str, tmp_path: Path, heads: object, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "mesh.npy", points, allow_pickle=True)
    command = ["import", "--format", "vertices", "--head", "flame2020", str(tmp_path / "mesh.npy"), "--silence"]
    assert run([*command, "--out", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err


def test_the_head_must_be_named(tmp_path: Path, heads: object, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "mesh.npy", np.zeros((2, 400, 3)))
    command = ["import", "--format", "vertices", str(tmp_path / "mesh.npy"), "--silence", "--out", str(tmp_path / "o")]
    assert run(command) == 2
    assert "not known which head" in capsys.readouterr().err
