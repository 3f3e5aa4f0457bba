"""Splits of an import: the data set's own folders, and recordings that stay together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsat_data.cli import run
from rsat_data.dialects.own_splits import Placed, decide, split_of_folder
from rsat_data.dialects.track import Unit
from rsat_data.errors import UsageError
from rsat_data.reader import load
from tests.rsat_data.dialects.test_dualtalk import conversation


def placed(name: str, own: str = "", *, source: str = "", people: Sequence[str] = (), frames: int = 100) -> Placed:
    subjects = tuple(people) or (f"{name}-a", f"{name}-b")
    return Placed(name, subjects, "+".join(sorted(subjects)), source or name, "unknown", frames, own)


def command(folder: Path, out: Path, *more: str) -> list[str]:
    return ["import", "--format", "dualtalk", "--head", "flame2020", str(folder), "--out", str(out), *more]


def test_folders_of_dualtalk_become_its_splits(
    tmp_path: Path, no_heads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, count in (("train", 3), ("test", 2), ("ood", 1)):
        for number in range(count):
            (tmp_path / "in").mkdir(exist_ok=True)
            conversation(tmp_path / "in" / split, f"{split}x{number}_sub_video_1")
    assert run(command(tmp_path / "in", tmp_path / "out", "--own-splits", "--json", "--quiet")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["splits"] == {"train": 6, "validation": 0, "test": 4}
    assert any("1 units in folders `ood`" in note for note in told["notes"])
    assert any("0 of 3 training clips" in note for note in told["notes"])
    # Every clip's files are the same but for their name, and so are those of the sources.
    names = {row["source_id"] for row in load(tmp_path / "out", "test")}
    assert len(names) == 2 and not names & {row["source_id"] for row in load(tmp_path / "out", "train")}
    assert run(command(tmp_path / "in" / "ood", tmp_path / "ood", "--quiet")) == 0
    assert run(command(tmp_path / "in" / "ood", tmp_path / "o2", "--own-splits", "--quiet")) == 2
    assert "Import it by itself" in capsys.readouterr().err


def test_the_name_of_the_folder_given_counts_and_the_innermost_wins(tmp_path: Path) -> None:
    def of(root: str, unit: str) -> str:
        return split_of_folder(Unit(unit, tmp_path / unit, ()), tmp_path / root)

    assert of("train", "train/a") == "train" and of("data/Test", "data/Test/deep/a") == "test"
    assert of("train", "train/val/a") == "validation" and of("data", "data/ood/a") == "ood"
    with pytest.raises(UsageError, match="no folder that is called like a split"):
        of("data", "data/elsewhere/a")


def test_validation_is_a_tenth_of_the_training_clips_and_whole_recordings() -> None:
    clips = [placed(f"c{n}", "train", source=f"video{n // 4}") for n in range(80)]
    clips += [placed(f"t{n}", "test") for n in range(5)]
    split_of, notes = decide(clips, seed=3)
    counts = [sum(split_of[c.subjects[0]] == name for c in clips) for name in ("train", "validation", "test")]
    assert counts[2] == 5 and 4 <= counts[1] <= 12
    for number in range(20):
        members = {split_of[c.subjects[0]] for c in clips if c.source == f"video{number}"}
        assert len(members) == 1
    assert f"{counts[1]} of 80 training clips" in notes[0]
    assert decide(clips[::-1], seed=3)[0] == split_of
    assert all(decide([placed("c", "train"), placed("t", "test")], seed)[0]["c-a"] == "train" for seed in range(20))


def test_a_person_in_two_splits_and_a_recording_in_two_are_told() -> None:
    clips = [placed("one", "train", people=("anna", "ben"), source="film"), placed("v", "validation")]
    clips += [placed("two", "test", people=("anna", "cleo")), placed("three", "test", source="film")]
    split_of, notes = decide(clips, seed=0)
    assert split_of["anna"] == "train" and split_of["three-a"] == "test"
    assert notes[0].startswith("two: a person in it is in train too") and "1 recordings" in notes[1]


@given(sources=st.lists(st.integers(0, 6), min_size=2, max_size=30), seed=st.integers(0, 5))
@settings(deadline=None)
def test_where_splits_are_drawn_no_recording_is_cut(sources: list[int], seed: int) -> None:
    clips = [placed(f"c{n}", source=f"video{s}") for n, s in enumerate(sources)]
    split_of, notes = decide(clips, seed)
    assert notes == []
    if len(set(sources)) == len(sources):
        assert split_of == {}  # the publisher's own
    else:
        for source in set(sources):
            assert len({split_of[c.subjects[0]] for c in clips if c.source == f"video{source}"}) == 1
