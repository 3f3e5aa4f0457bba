"""ARKit's blendshapes: a real track, csv and json, jaw and gaze as joints and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.head import load_head
from rsat_data.cli import run
from rsat_data.dialects import arkit
from rsat_data.dialects.track import ReadOptions
from rsat_data.errors import RsatError
from rsat_data.reader import Row
from tests.rsat_data.dialects.conftest import CODES

NAMES = ["jawOpen", "jawLeft", "eyeLookOutLeft", "eyeLookDownRight", "mouthSmileLeft", "eyeBlinkLeft", "cheekPuff",
         "browInnerUp", "mouthPucker", "noseSneerLeft", "mouthFunnel"]  # fmt: skip
FRAMES = 25


def weights() -> np.ndarray:
    return np.abs(np.sin(np.arange(FRAMES)[:, None] * 0.2 + np.arange(len(NAMES))))


def options(**more: Any) -> ReadOptions:
    head = load_head()
    return ReadOptions(head=head.id, model=head, **more)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_jaw_and_gaze_become_joints(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"take.{kind}"
    if kind == "json":
        path.write_text(json.dumps({"names": NAMES, "frames": [{"weights": row} for row in weights().tolist()]}))
    else:
        header = ["Timecode", "BlendshapeCount", *(name[:1].upper() + name[1:] for name in NAMES), "HeadYaw"]
        lines = [["00:00:01:02", "52", *map(str, row), "0.1"] for row in weights().tolist()]
        path.write_text("\n".join(",".join(line) for line in [header, *lines]) + "\n")
    (unit,) = arkit.find(tmp_path)
    track = arkit.read(unit, options(fps=30.0)).tracks["A"]
    head, given = load_head(), weights()
    angles = head.full_strength_rad
    assert angles is not None and track.fps == 30
    np.testing.assert_allclose(track.jaw[:, 0], angles["jawOpen"] * given[:, 0], atol=1e-6)
    assert (track.jaw[1:, 1] <= 0).all()  # the chin to the subject's left: a negative turn about y
    np.testing.assert_allclose(track.eyes[:, 1], angles["eyeLookOutLeft"] * given[:, 2], atol=1e-6)
    assert (track.eyes[:, 3] >= 0).all() and not track.eyes[:, 0].any()  # down is positive, on the right eye only
    smile = track.expression[:, head.expression_index("mouthSmileLeft")]
    np.testing.assert_allclose(smile, given[:, 4], atol=1e-6)


def test_a_real_track_and_back(tmp_path: Path, real_data: Path, importing: Callable[..., list[Row]]) -> None:
    source = real_data / "lam_avatar/test_expression_1s.json"
    content = json.loads(source.read_text())
    (row,) = importing("--format", "arkit", source, "--fps", "25", "--silence")
    assert row["num_frames"] == len(content["frames"]) and row["head_model"] == load_head().id
    assert run(["export", "--format", "arkit", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    written = json.loads((tmp_path / "x" / row["row_id"] / "arkit.json").read_text())
    before = np.array([frame["weights"] for frame in content["frames"]])
    after = np.array([frame["weights"] for frame in written["frames"]])
    for number, name in enumerate(content["names"]):
        if name.startswith("eyeLook") or name in ("jawLeft", "jawRight"):
            continue  # of opposite ones, only the difference survives
        np.testing.assert_allclose(after[:, written["names"].index(name)], before[:, number], atol=1e-5)
    (again,) = importing("--format", "arkit", tmp_path / "x", "--silence", name="again")
    for name in CODES:
        np.testing.assert_allclose(again[name], row[name], atol=1e-6)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"names": NAMES}, "lacks the lists"),
        ({"names": NAMES, "frames": []}, "do not all have"),
        ({"names": NAMES, "frames": [{"weights": [0.0]}]}, "do not all have 11 weights"),
        ({"names": NAMES, "frames": [{"weights": ["x"] * 11}]}, "not a number"),
        ({"names": NAMES, "frames": [{"weights": [9.0] * 11}]}, "far outside 0 to 1"),
        ({"names": ["a", "b"], "frames": [{"weights": [0.0, 0.0]}]}, "0 of 2 names"),
        ({"names": ["jawOpen"] * 2, "frames": [{"weights": [0.0, 0.0]}]}, "named twice"),
        ([1, 2], "does not hold a JSON object"),
    ],
)
def test_bad_files(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "take.json"
    path.write_text(json.dumps(content))
    (unit,) = arkit.find(path)
    with pytest.raises(RsatError, match=words):
        arkit.read(unit, options(fps=25.0))


def test_the_rate_must_be_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "take.json"
    path.write_text(json.dumps({"names": NAMES, "frames": [{"weights": [0.0] * len(NAMES)}]}))
    assert run(["import", "--format", "arkit", str(path), "--silence", "--out", str(tmp_path / "out")]) == 2
    assert "--fps" in capsys.readouterr().err
