"""metrical-tracker's frames: cameras become head poses, files that carry code are refused."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from rsat_data.cli import run
from rsat_data.reader import Row
from tests.flame_factory import MadeFlame, make_codes
from tests.rsat_data.dialects.conftest import difference
from tests.rsat_data.dialects.test_vhap import pixels_of

FRAMES, SIDE = 6, 512


def tracked(actor: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Frames as the tracker saves them: 6D rotations, a moving pytorch3d camera, numpy arrays."""
    codes = make_codes(FRAMES, seed, neck=False)
    rng = np.random.default_rng(seed)
    (actor / "checkpoint").mkdir(parents=True)
    frames = []
    for step in range(FRAMES):

        def six(turn: np.ndarray) -> np.ndarray:
            return np.float32(Rotation.from_rotvec(turn).as_matrix()[:2].reshape(1, 6))

        turn = Rotation.from_rotvec(rng.normal(0, 0.3, 3)) * Rotation.from_matrix(np.diag([-1.0, 1.0, -1.0]))
        frames.append({
            "flame": {
                "exp": codes["expression"][step][None], "shape": codes["shape"][None],
                "tex": np.ones((1, 140), np.float32), "sh": np.full((1, 9, 3), step, np.float32),
                "eyes": np.concatenate([six(codes["eyes"][step, :3]), six(codes["eyes"][step, 3:])], axis=1),
                "eyelids": np.float32([[0.1 * step, 0.2]]), "jaw": six(codes["jaw"][step]),
            },
            "camera": {
                "R": np.float32(turn.as_matrix()[:2].reshape(1, 6)), "t": np.float32([[0.02, 0.01 * step, 1.1]]),
                "fl": np.float32([[4.5]]), "pp": np.float32([[0.05, -0.02]]),
            },
            "img_size": np.array([SIDE, SIDE]), "frame_id": f"{step:05d}", "global_step": step,
        })  # fmt: skip
        torch.save(frames[-1], actor / f"checkpoint/{step:05d}.frame")
    return frames


def pixels_of_frames(frames: list[dict[str, Any]], made: MadeFlame) -> np.ndarray:
    """As pytorch3d would draw them: row vectors, x left and y up, half the side as unit."""
    result = []
    for frame in frames:

        def turns(six: np.ndarray) -> np.ndarray:
            a, b = np.float64(six[:3]), np.float64(six[3:])
            return Rotation.from_matrix(np.stack([a, b, np.cross(a, b)])).as_rotvec()

        flame, camera = frame["flame"], frame["camera"]
        eyes = np.concatenate([turns(flame["eyes"][0, :6]), turns(flame["eyes"][0, 6:])])
        zero = np.zeros(3)
        posed = made.pose_y_up(flame["shape"][0], flame["exp"][0], turns(flame["jaw"][0]), zero, eyes, zero, zero)
        a, b = np.float64(camera["R"][0, :3]), np.float64(camera["R"][0, 3:])
        seen = posed @ np.stack([a, b, np.cross(a, b)]) + camera["t"][0]
        ndc = camera["fl"][0, 0] * seen[:, :2] / seen[:, 2:] + camera["pp"][0]
        result.append(SIDE / 2 - ndc * SIDE / 2)
    return np.stack(result)


def test_import_shows_the_same_pixels_and_keeps_eyelids(
    tmp_path: Path, heads: dict[str, MadeFlame], importing: Callable[..., list[Row]]
) -> None:
    frames = tracked(tmp_path / "actor")
    (row,) = importing("--format", "metrical", tmp_path / "actor", "--silence")
    assert row["head_model"].startswith("flame2020-")
    assert np.abs(pixels_of(row, "flame2020") - pixels_of_frames(frames, heads["flame2020"])).max() < 2e-2
    assert not row["neck"].any()
    kept = np.load(tmp_path / f"out/meta/imported/{row['row_id']}.npz")
    np.testing.assert_allclose(kept["eyelids"][:, 0], 0.1 * np.arange(FRAMES), atol=1e-6)


def test_round_trip(tmp_path: Path, heads: dict[str, MadeFlame], importing: Callable[..., list[Row]]) -> None:
    tracked(tmp_path / "actor")
    (row,) = importing("--format", "metrical", tmp_path / "actor", "--silence")
    assert run(["export", "--format", "metrical", str(tmp_path / "out"), str(tmp_path / "x"), "--quiet"]) == 0
    folder = tmp_path / "x" / row["row_id"]
    files = sorted((folder / "checkpoint").iterdir())
    assert [file.name for file in files] == [f"{step:05d}.frame" for step in range(FRAMES)]
    frames = [torch.load(file, weights_only=False) for file in files]  # our own files, as the consumers read them
    assert np.abs(pixels_of(row, "flame2020") - pixels_of_frames(frames, heads["flame2020"])).max() < 2e-2
    assert frames[3]["flame"]["sh"][0, 0, 0] == 3 and frames[3]["flame"]["eyelids"][0, 0] == pytest.approx(0.3)
    (again,) = importing("--format", "metrical", folder, "--silence", name="again")
    assert max(difference(row, again).values()) < 2e-6
    for file in files:  # without opencv, the pytorch3d camera says the same
        frame = torch.load(file, weights_only=False)
        del frame["opencv"]
        torch.save(frame, file)
    (again,) = importing("--format", "metrical", folder, "--silence", name="third")
    assert max(difference(row, again).values()) < 2e-6
    assert again["camera"] == pytest.approx(row["camera"], rel=1e-5)


class Payload:
    """What a bad file would carry."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch payload-ran",))


@pytest.mark.parametrize("kind", ["reduce", "pickle", "object array", "twice", "nan", "flame", "size"])
def test_a_bad_actor_is_refused_and_the_rest_goes_on(
    kind: str,
    tmp_path: Path,
    heads: dict[str, MadeFlame],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    frames = tracked(tmp_path / "all/bad")
    tracked(tmp_path / "all/good", seed=1)
    file, frame = tmp_path / "all/bad/checkpoint/00002.frame", frames[2]
    words = {
        "reduce": "system",
        "pickle": "a pickle that torch did not write",
        "object array": "more than numbers",
        "twice": "is there 2 times",
    }
    words |= {"nan": "'exp' holds values that are not finite", "flame": "'flame'", "size": "is (1, 5), expected (1, 6)"}
    if kind == "reduce":
        torch.save({**frame, "evil": Payload()}, file)
    elif kind == "pickle":
        file.write_bytes(pickle.dumps({**frame, "evil": Payload()}))
    elif kind == "object array":
        torch.save({**frame, "evil": np.array([Payload()], dtype=object)}, file)
    elif kind == "twice":
        torch.save(frame, file.with_name("2.frame"))
    elif kind == "nan":
        torch.save({**frame, "flame": {**frame["flame"], "exp": np.full((1, 10), np.nan)}}, file)
    elif kind == "flame":
        torch.save({"camera": frame["camera"]}, file)
    else:
        torch.save({**frame, "flame": {**frame["flame"], "jaw": np.zeros((1, 5), np.float32)}}, file)
        words["size"] = "has shape (1, 5), expected (1, 6)"
    command = ["import", "--format", "metrical", str(tmp_path / "all"), "--silence", "--json", "--quiet"]
    assert run([*command, "--out", str(tmp_path / "out")]) == 3
    facts = json.loads(capsys.readouterr().out)
    (refused,) = facts["quarantined"]
    assert refused["source_name"] == "bad" and words[kind] in refused["message"]
    assert facts["rows"] == 1 and not (tmp_path / "payload-ran").exists()


def test_without_the_head_nothing_can_be_folded(
    tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    tracked(tmp_path / "actor")
    command = ["import", "--format", "metrical", str(tmp_path / "actor"), "--silence", "--out", str(tmp_path / "out")]
    assert run(command) == 1
    text = capsys.readouterr().err
    assert "root joint of the head flame2020" in text and "import-flame FILE --name flame2020" in text
