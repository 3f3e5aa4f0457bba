"""Codes of one head written as codes of another, through vertices; and refused where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model.head import load_head
from model.head.file import read_head_file, write_head_file
from model.head.store import OPEN_HEAD
from rsat_data.cli import run
from rsat_data.reader import load
from tests.rsat_data.dialects.conftest import CODES, vhap_arrays
from tests.rsat_data.dialects.test_vhap_npz import tracked

FRAMES = 4
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


@pytest.fixture
def renamed_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The open head under FLAME's name, its shape code's sign turned: the same faces, other codes."""
    tensors, metadata, _ = read_head_file(OPEN_HEAD)
    other = {**tensors, "shapedirs": -tensors["shapedirs"], "J_shapedirs": -tensors["J_shapedirs"]}
    (tmp_path / "home/heads").mkdir(parents=True)
    write_head_file(tmp_path / "home/heads/flame2023.safetensors", other, {**metadata, "name": "flame2023"})
    monkeypatch.setenv("RSAT_DATA_HOME", str(tmp_path / "home"))


def open_dataset(tmp_path: Path) -> Path:
    """A dataset of the open head's codes: a head that opens its mouth, blinks and turns."""
    head = load_head()
    codes = {
        name: np.zeros((FRAMES, size), np.float32)
        for name, size in zip(CODES, (head.num_expression, 3, 3, 6, 3, 3), strict=True)
    }
    codes["jaw"][:, 0] = np.linspace(0, 0.2, FRAMES)
    codes["expression"][:, head.expression_index("eyeBlinkLeft")] = np.linspace(0, 1, FRAMES)
    codes["rotation"][:, 1] = np.linspace(-0.3, 0.3, FRAMES)
    shape = np.zeros(head.num_shape, np.float32)
    shape[:3] = [1.0, -1.0, 0.5]
    arrays = vhap_arrays(codes, slice(None)) | {"shape": shape, "head_model": np.array(head.id), "timestep_id": None}
    path = tracked(tmp_path / "in", **arrays)
    out = tmp_path / "open"
    assert run(["import", "--format", "vhap-npz", str(path), "--silence", "--out", str(out), "--quiet"]) == 0
    return out


def test_conversion_through_vertices_reports_its_residual(
    tmp_path: Path, renamed_head: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = open_dataset(tmp_path)
    (row,) = load(out, None)
    capsys.readouterr()
    command = ["export", "--format", "vhap-npz", "--head", "flame2023", str(out), str(tmp_path / "x")]
    assert run([*command, "--json", "--quiet"]) == 0
    facts = json.loads(capsys.readouterr().out)
    target = load_head("flame2023")
    assert facts["head"] == target.id
    (note,) = facts["rows"][0]["notes"]
    assert "vertices differ by" in note and f"codes of {target.id}" in note
    written = tmp_path / "x" / row["row_id"]
    assert "head_model" not in np.load(written / "tracked_flame_params_0.npz")
    again = ["import", "--format", "vhap-npz", str(written), "--silence", "--out", str(tmp_path / "again"), "--quiet"]
    assert run(again) == 0
    (found,) = load(tmp_path / "again", None)
    assert found["head_model"] == target.id
    np.testing.assert_allclose(found["shape"][:3], [-1, 1, -0.5], atol=0.4)  # the sign that tells the heads apart
    posed = {}
    for name, head, codes in (("before", load_head(), row), ("after", target, found)):
        arguments = {code: torch.from_numpy(codes[code].copy()) for code in CODES}
        posed[name] = head.pose(torch.from_numpy(codes["shape"].copy()), **arguments)[0][:, head.groups["face"]]
    assert torch.linalg.norm(posed["before"] - posed["after"], dim=-1).mean() < 1e-3


def test_an_export_to_flame_without_the_head_is_refused(
    tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = open_dataset(tmp_path)
    for more, words in (([], "--own-codes"), (["--head", "flame2023"], "both heads have to be on this machine")):
        assert run(["export", "--format", "vhap-npz", *more, str(out), str(tmp_path / "x")]) == 1
        assert words in capsys.readouterr().err
        assert not (tmp_path / "x").exists()
    command = ["export", "--format", "metrical", "--own-codes", str(out), str(tmp_path / "y"), "--quiet"]
    assert run(command) == 0  # the open head is here: its root joint is known
    back = ["import", "--format", "metrical", str(tmp_path / "y"), "--silence", "--out", str(tmp_path / "z"), "--quiet"]
    assert run(back) == 0
    (row,), (again,) = load(out, None), load(tmp_path / "z", None)
    assert again["head_model"] == row["head_model"] == load_head().id
    for name in ("shape", *CODES):
        np.testing.assert_allclose(again[name], row[name], atol=3e-6)
