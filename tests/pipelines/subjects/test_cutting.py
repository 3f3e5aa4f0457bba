"""Sources that cut between people: who is A, who is the partner, and when nothing is said of one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.assemble.ids import named_subject_id
from pipelines.stage import Member, StageContext
from pipelines.subjects.config import SubjectsConfig
from pipelines.subjects.run import run
from tests.pipelines.subjects.conftest import member

NAMES = {"A": "anna", "B": "ben"}


def shots(
    root: Path, *cast: tuple[int, ...], names: dict[str, str] | None = None, source: str = "src_1"
) -> list[Member]:
    """One source whose clips follow each other."""
    made = [member(root, number, *people, names=names) for number, people in enumerate(cast)]
    return [
        replace(one, unit={**one.unit, "source_id": source, "start_s": 5.0 * at, "end_s": 5.0 * at + 4})
        for at, one in enumerate(made)
    ]


def find(root: Path, members: list[Member], **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts, and the record of the source."""
    out = root / f"out{len(list(root.iterdir()))}"
    out.mkdir()
    run(StageContext(Path(), {}, {}, out, model=Path, members=members), SubjectsConfig(**options))
    record = json.loads((out / "cutting.json").read_text())["sources"]
    return json.loads((out / "parts.json").read_text()), record.get("src_1")


def test_each_shot_of_a_conversation_names_the_other_person(tmp_path: Path) -> None:
    parts, record = find(tmp_path, shots(tmp_path, (0,), (1,), (0,), (1,)))
    first, second = (parts[f"clip_{n:02d}"]["identity"]["A"]["subject_id"] for n in (0, 1))
    for number in range(4):
        part = parts[f"clip_{number:02d}"]
        partner = part["partner"]
        assert partner["letter"] == "BA"[number % 2]  # A is the one seen first
        assert partner["subject_id"] == (second, first)[number % 2] != part["identity"]["A"]["subject_id"]
        assert partner["shape"] == parts[f"clip_{1 - number % 2:02d}"]["fit"]["shapes"]["A"]
    assert record == {"clips_of_one": 4, "subject_a": first, "subject_b": second, "why_no_partner": None}


def test_a_two_shot_decides_who_is_a(tmp_path: Path) -> None:
    parts, _ = find(tmp_path, shots(tmp_path, (0,), (1, 0), (1,)))
    assert [parts[f"clip_{n:02d}"]["partner"] and parts[f"clip_{n:02d}"]["partner"]["letter"] for n in range(3)] == [
        "A",
        None,
        "B",
    ]


def test_one_person_or_three_have_no_partner_and_the_reason_is_kept(tmp_path: Path) -> None:
    for number, (cast, word) in enumerate(
        {((0,), (0,)): "one person", ((0,), (1,), (2,)): "3 people", ((0,), (1, 2)): "3 people"}.items()
    ):
        root = tmp_path / str(number)
        root.mkdir()
        parts, record = find(root, shots(root, *cast))
        assert all(part["partner"] is None for part in parts.values())
        assert record["why_no_partner"].startswith(word)


def test_names_are_of_the_letters_of_the_recording(tmp_path: Path) -> None:
    parts, _ = find(tmp_path, shots(tmp_path, (0,), (1,), (0,), names=NAMES))
    anna, ben = (named_subject_id(name) for name in NAMES.values())
    assert [parts[f"clip_{n:02d}"]["identity"]["A"]["subject_id"] for n in range(3)] == [anna, ben, anna]
    assert parts["clip_00"]["partner"]["subject_id"] == ben and parts["clip_00"]["partner"]["source"] == "given"


def test_nothing_is_said_where_identities_are_open(tmp_path: Path) -> None:
    members = shots(tmp_path, (0,), (1,))
    parts, record = find(tmp_path, members, match=False)
    assert parts["clip_00"]["partner"] is None and "subjects.match" in record["why_no_partner"]
    parts, record = find(tmp_path, members, review_from=1e-6)  # now every two may be one
    assert parts["clip_00"]["partner"] is None and "review list" in record["why_no_partner"]
