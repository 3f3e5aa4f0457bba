"""``rsat-data render`` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import rsat_data
from rsat_data.cli import run
from rsat_data.errors import OfflineError

SIZE = 64


def frames_of(path: Path) -> tuple[np.ndarray, str | None]:
    """(T, H, W, 3) and the layout of the sound."""
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        sound = container.streams.audio
        return frames, sound[0].codec_context.layout.name if sound else None


def render(capsys: pytest.CaptureFixture[str], target: Path, *arguments: str | Path) -> dict[str, Any]:
    words = [*map(str, arguments), "--out", str(target), "--size", str(SIZE), "--device", "cpu", "--json", "--quiet"]
    assert run(["render", *words]) == 0
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name]
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


@pytest.fixture(autouse=True)
def loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The voices here are noise, which the segmentation network takes for what it is."""

    def absent(*_: object, **__: object) -> Path:
        raise OfflineError("not here")

    monkeypatch.setattr("rsat_data.registry.model_path", absent)


def test_a_row_as_avatar_or_mesh(talks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(rsat_data.load(talks, None))
    has = [(talks / "avatars" / row["subject_id"]).is_dir() for row in rows]
    for name, row in (("avatar", rows[has.index(True)]), ("mesh", rows[has.index(False)])):
        (tmp_path / name).mkdir()
        target = tmp_path / name / "x.mp4"
        facts = render(capsys, target, talks, "--row", row["row_id"])
        assert [who["drawn_as"] for who in facts["people"].values()] == [name]
        assert any("rsat-data avatar fit" in note for note in facts["notes"]) == (name == "mesh")
        frames, sound = frames_of(target)
        assert len(frames) == row["num_frames"] == facts["frames"] and sound == "mono"
        assert frames.shape[2] == SIZE and frames[0, :, :SIZE].std() > 20


def test_both_of_a_clip_and_the_prediction_beside_the_truth(
    talks: Path, causal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = rsat_data.load(talks, None)[0]
    facts = render(capsys, tmp_path / "x.mp4", talks, "--clip", row["clip_id"])
    assert set(facts["people"]) == {"A", "B"} and facts["turns"]
    frames, sound = frames_of(tmp_path / "x.mp4")
    assert frames.shape[2] == 2 * SIZE and sound == "stereo"
    facts = render(capsys, tmp_path / "x.mp4", talks, "--clip", row["clip_id"], "--run", causal)
    assert facts["versions"][0] == "tracked" and facts["versions"][1].startswith("predicted")
    both, _ = frames_of(tmp_path / "x.mp4")
    assert both.shape[1] > 2 * SIZE and both.shape[2] == 2 * SIZE
    head = both.shape[1] - 2 * frames.shape[1]  # the titles
    difference = np.abs(both[:, head : head + SIZE, :SIZE].astype(int) - both[:, head : head + SIZE, SIZE:])
    assert difference.mean() > 1


def test_sound_drives_two_people(
    talks: Path, causal: Path, voices: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    avatars = sorted((talks / "avatars").iterdir())
    common = ["--run", causal, "--audio", *voices, "--relation", "unequal,senior=A"]
    facts = render(capsys, tmp_path / "x.mp4", *common, "--avatars", *avatars)
    assert facts["frames"] == 38 and facts["caption"] == "unequal, A senior"
    assert any("0.50 s shorter" in note and "b.flac" in note for note in facts["notes"])
    assert [who["drawn_as"] for who in facts["people"].values()] == ["avatar", "avatar"]
    assert {turn["person"] for turn in facts["turns"]} == {"A", "B"}
    first, sound = frames_of(tmp_path / "x.mp4")
    assert sound == "stereo" and first.shape[0] == 38
    # The same seed gives the same bytes, another one another motion, the mean a third; subjects are drawn the same way.
    same = (tmp_path / "x.mp4").read_bytes()
    names = [folder.name for folder in avatars]
    again = render(capsys, tmp_path / "x.mp4", talks, "--subjects", *names, *common, "--seed", "0")
    assert [who["name"] for who in again["people"].values()] == names
    # The labels are the folders' names, which are the subjects'.
    assert (tmp_path / "x.mp4").read_bytes() == same
    seen = []
    for more in (["--seed", "7"], ["--mean"], ["--see-partner"], ["--sound", "mixed"]):
        render(capsys, tmp_path / "x.mp4", *common, "--avatars", *avatars, *more)
        seen.append((tmp_path / "x.mp4").read_bytes())
    assert len({same, *seen}) == 5
    assert frames_of(tmp_path / "x.mp4")[1] == "mono"


def test_two_relations_side_by_side(
    causal: Path, ahead: Path, voices: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = render(capsys, tmp_path / "x.mp4", "--run", causal, "--audio", *voices, "--relation", "unequal,senior=A",
                   "--compare")  # fmt: skip
    assert facts["versions"] == ["unequal, A senior", "unequal, B senior"]
    apart = facts["apart"]
    assert not apart["identical"] and all(value > 0 for value in apart["mean_vertex_mm"].values())
    assert all(who["drawn_as"] == "mesh" for who in facts["people"].values())
    assert any("--avatars" in note for note in facts["notes"])
    frames, _ = frames_of(tmp_path / "x.mp4")
    assert frames.shape[1] > 2 * SIZE and frames.shape[2] == 2 * SIZE
    facts = render(capsys, tmp_path / "x.mp4", "--run", ahead, "--audio", *voices, "--relation", "blood", "--relation",
                   "non_blood,equal", "--compare")  # fmt: skip
    assert facts["apart"]["identical"] and "no social module" in facts["apart"]["says"]
    assert set(facts["apart"]["mean_vertex_mm"].values()) == {0.0}


def test_a_stream_is_drawn_while_it_is_heard(
    talks: Path, causal: Path, voices: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = render(capsys, tmp_path / "x.mp4", "--run", causal, "--audio", *voices, "--stream")
    assert facts["frames"] == 38 and 0 < facts["drawn"] <= 38 and facts["kept_up"] == (facts["drawn"] == 38)
    for part in ("network_ms", "drawing_ms", "total_ms"):
        assert 0 < facts[part]["median"] <= facts[part]["p95"]
    frames, sound = frames_of(tmp_path / "x.mp4")
    assert len(frames) == 38 and sound == "stereo"


def test_the_help_is_instant_and_shows_examples() -> None:
    import subprocess
    import sys

    code = "import sys; from rsat_data.cli import run; run(['render', '--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False" and "--relation unequal,senior=A" in done.stdout
