from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipelines.faces.blendshapes import BLENDSHAPES
from pipelines.flame.appearance import hidden_share, surface
from pipelines.flame.continuity import find_drift, runs, unexplained_steps
from pipelines.flame.judging import judge_person, judged_arrays, reprojection_of, require_enough
from pipelines.flame.sampling import sample_colours
from pipelines.flame.validity import Judgement, Reason
from pipelines.flame.validity_config import FlameValidity
from pipelines.ingest.encode import write_video
from rsat_data.errors import SkippedClip
from tests.pipelines.flame.faces_factory import track


def verdict(reason: list[int]) -> Judgement:
    codes = np.array(reason, np.int8)
    return Judgement(codes == 0, codes, np.where(codes == 0, 0.9, 0.0).astype(np.float32), {})


def test_a_clip_with_three_valid_frames_is_skipped_by_name() -> None:
    with pytest.raises(SkippedClip, match=r"3 of 50 frames can be trusted; the others: occluded 54%, turned 40%"):
        require_enough(verdict([0] * 3 + [4] * 27 + [3] * 20), FlameValidity())
    require_enough(verdict([0] * 20 + [4] * 30), FlameValidity())
    with pytest.raises(SkippedClip, match="4 of 5"):
        require_enough(verdict([0, 0, 0, 0, 1]), FlameValidity())


def codes_of(frames: int) -> dict[str, np.ndarray]:
    t = np.arange(frames, dtype=np.float32)[:, None]
    return {
        "shape": np.zeros(4, np.float32),
        "expression": np.tile(t / frames, (1, 5)),
        "jaw": np.tile(t / 100, (1, 3)),
        "neck": np.zeros((frames, 3), np.float32),
        "eyes": np.tile(t / 100, (1, 6)),
        "rotation": np.concatenate([0 * t, t / 50, 0 * t], axis=1),
        "translation": np.concatenate([0 * t, 0 * t, 1 + t / 100], axis=1),
        "reprojection_px": np.full(frames, 2.0, np.float32),
        "eye_distance_px": np.full(frames, 100.0, np.float32),
    }


def test_codes_of_lost_frames_are_filled_and_guesses_are_kept() -> None:
    codes = codes_of(12)
    codes["expression"][3] = 9.0
    codes["rotation"][4] = np.nan
    codes["jaw"][8] = 0.5
    judgement = verdict([0, 0, 0, Reason.SWAP, Reason.MISFIT, 0, 0, 0, Reason.OCCLUDED, 0, 0, Reason.LOST])
    out = judged_arrays(codes, judgement)
    np.testing.assert_allclose(out["expression"][3], 3 / 12, atol=1e-6)
    np.testing.assert_allclose(out["rotation"][4], [0, 4 / 50, 0], atol=1e-6)
    np.testing.assert_allclose(out["translation"][11], out["translation"][10])
    assert (out["jaw"][8] == 0.5).all()
    assert all(np.isfinite(values).all() for values in out.values())
    np.testing.assert_array_equal(out["reason"], judgement.reason)
    assert reprojection_of(codes, judgement) == pytest.approx(0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Faces of one person: blobs of a landmark's colour, some of them grey for ten frames."""
    folder = tmp_path_factory.mktemp("faces")
    seen, _, colours = track(40)
    pictures = np.full((40, 512, 512, 3), 90, np.uint8)
    for t in range(40):
        for (x, y), (value, _, _) in zip(seen.landmarks[t, :, :2], colours[t], strict=True):
            grey = 20 <= t < 30 and y > 270
            cv2.circle(pictures[t], (round(float(x)), round(float(y))), 5, (60,) * 3 if grey else (int(value),) * 3, -1)
    write_video(folder / "A.mp4", iter(pictures), crf=12)
    np.savez(
        folder / "A.npz",
        landmarks=seen.landmarks,
        valid=seen.valid,
        matrix=seen.matrix,
        confidence=seen.score,
        blur=seen.sharpness,
        yaw_deg=seen.yaw_deg,
        blendshapes=np.zeros((40, len(BLENDSHAPES)), np.float32),
    )
    person = {"person": "A", "crop": {"x0": 0, "y0": 0, "side": 512, "size": 512}}
    (folder / "faces.json").write_text(json.dumps({"width": 512, "height": 512, "persons": [person]}))
    return folder


def test_files_of_a_clip_are_judged(folder: Path) -> None:
    _, fitted, _ = track(40)
    faces = json.loads((folder / "faces.json").read_text())
    judgement = judge_person(folder, "A", faces, vars(fitted), FlameValidity())
    assert (judgement.reason[21:29] == Reason.OCCLUDED).all()
    assert judgement.valid[:19].all() and judgement.valid[31:].all()


def test_colours_are_those_of_the_picture(folder: Path) -> None:
    seen, _, _ = track(40)
    colours = sample_colours(folder / "A.mp4", seen.landmarks)
    capture = cv2.VideoCapture(str(folder / "A.mp4"))
    frame = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2YUV)
    slow = []
    for x, y in (np.nan_to_num(seen.landmarks[0, :, :2]) / 2).astype(int) * 2:
        slow.append(frame[y - 2 : y + 4, x - 2 : x + 4, 0].mean())
    # Video range: 16 to 235.
    np.testing.assert_allclose((colours[0, :, 0] - 16.0) * 255 / 219, slow, atol=4)
    beyond = sample_colours(folder / "A.mp4", np.full((60, 478, 2), np.nan))
    assert (beyond[40:] == 0).all() and beyond[:40].any()


def test_steps_against_the_slow_way() -> None:
    rng = np.random.default_rng(4)
    points, seen = rng.normal(0, 5, (15, 6, 2)), rng.random(15) < 0.8
    scale = rng.uniform(50, 60, 15)
    fast = unexplained_steps(points, seen, scale)
    for t in range(15):
        if t == 0 or not (seen[t] and seen[t - 1]):
            assert fast[t] == 0
            continue
        around = [
            points[k] - points[k - 1] for k in (t - 2, t - 1, t + 1, t + 2) if 1 <= k < 15 and seen[k] and seen[k - 1]
        ]
        usual = np.median(around, axis=0) if around else np.zeros((6, 2))
        size = np.linalg.norm(points[t] - points[t - 1] - usual, axis=1).mean() / min(scale[t], scale[t - 1])
        assert fast[t] == pytest.approx(size)


def test_runs() -> None:
    assert runs(np.array([True, False, True, True])) == [(0, 1), (2, 4)]
    assert runs(np.zeros(3, bool)) == [] and runs(np.ones(2, bool)) == [(0, 2)]


def test_short_clips_do_not_drift() -> None:
    assert not find_drift(np.linspace(0, 1, 30), np.ones(30, bool), 2.5, 0.02).any()


def test_what_is_hidden_most_of_the_time_is_the_usual_look() -> None:
    seen, _, colours = track(60)
    good = np.ones(60, bool)
    covered = colours.copy()
    low = seen.landmarks[..., 1] > 260
    low[40:] = False
    covered[low] = 60
    share = hidden_share(covered, surface(seen.landmarks, seen.matrix, good), good)
    assert share[:40].max() < 0.05 < share[40:].min()
