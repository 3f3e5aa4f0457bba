from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.votes import (
    VOTES_FILE,
    annotator_id,
    append_votes,
    current_votes,
    read_votes,
    vote_id,
    votes_table,
)
from rsat_data.errors import DatasetError
from rsat_data.manifest import read_manifest
from rsat_data.validate import validate
from rsat_data.writer import DatasetWriter
from schemas.version import FORMAT_VERSION
from tests.annotation.votes_factory import make_vote
from tests.dataset_factory import ClipSpec, make_dataset
from tests.rsat_data.test_writer import tree

SPECS = [ClipSpec(f"src{n}", f"s{n}", f"t{n}", video=False, frames=4, seed=n) for n in range(2)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return make_dataset(tmp_path, SPECS)[0]


def test_votes_are_added_once_and_in_order(out: Path) -> None:
    first = [make_vote("clip_src0", "ann-a"), make_vote("clip_src1", "ann-a", kinship="blood")]
    assert append_votes(out, votes_table(first)) == 2
    again = votes_table([*first, make_vote("clip_src0", "ann-b", status="unequal", senior="A")])
    assert append_votes(out, again) == 1
    table = read_votes(out)
    assert table["annotator"].to_pylist() == ["ann-a", "ann-a", "ann-b"]
    assert table.slice(0, 2).equals(votes_table(first))
    before = tree(out)
    assert append_votes(out, again) == 0
    assert tree(out) == before
    assert validate(out).ok
    assert {e.file: e.rows for e in read_manifest(out)}[VOTES_FILE] == 3


def test_a_vote_twice_in_one_call_is_added_once(out: Path) -> None:
    row = make_vote("clip_src0", "ann-a")
    assert append_votes(out, votes_table([row, row])) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"senior": "A"}, "senior is 'A' though status is 'equal'"),
        ({"status": "unequal"}, "senior is null though status is unequal"),
        ({"kinship": "cousins"}, "kinship is 'cousins'"),
        ({"confidence": 6}, "confidence is 6"),
        ({"issues": ["bored"]}, "issues is 'bored'"),
        ({"round": "gold"}, "goes with round gold alone"),
        ({"annotator": "gold"}, "goes with round gold alone"),
        ({"evidence": [{"label": "PII", "start": 2.0, "end": 1.0, "text": "x"}]}, "is not a span"),
    ],
)
def test_a_vote_that_breaks_a_rule_is_refused_and_nothing_changes(out: Path, change: Any, words: str) -> None:
    before = tree(out)
    rows = [make_vote("clip_src0", "ann-a"), make_vote("clip_src1", "ann-a") | change]
    with pytest.raises(DatasetError, match=words):
        append_votes(out, votes_table(rows))
    assert tree(out) == before


def test_a_table_of_format_1_1_is_read_and_added_to(out: Path) -> None:
    rows = [make_vote("clip_src0", "ann-a", at=1), make_vote("clip_src0", "ann-b", at=2)]
    old = votes_table(rows[:1]).drop_columns(["round", "prediction_version", "withdrawn"])
    old = old.replace_schema_metadata({**old.schema.metadata, b"rsat_data.format_version": b"1.1"})
    with DatasetWriter(out, owned=(VOTES_FILE,)) as writer:
        writer.write_table(VOTES_FILE, old.schema, [old])
        writer.commit()
    assert validate(out).ok
    assert read_votes(out).equals(votes_table(rows[:1]))
    assert append_votes(out, votes_table(rows)) == 1
    assert read_votes(out).equals(votes_table(rows))
    assert pq.read_schema(out / VOTES_FILE).metadata[b"rsat_data.format_version"] == FORMAT_VERSION.encode()


def test_a_table_that_is_no_table_of_votes_is_named(out: Path) -> None:
    pq.write_table(pa.table({"clip_id": ["x"]}), out / VOTES_FILE)
    with pytest.raises(DatasetError, match="votes lack the column"):
        read_votes(out)
    (out / VOTES_FILE).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_votes(out)


def test_of_a_persons_votes_on_a_clip_the_last_counts() -> None:
    rows = [
        make_vote("c", "ann-a", at=5, kinship="blood"),
        make_vote("c", "ann-a", at=3, kinship="unsure"),
        make_vote("c", "ann-b", at=1),
        make_vote("c", "ann-b", at=2, withdrawn=True),
        make_vote("c", "ann-a", at=9, round="adjudication"),
        make_vote("d", "ann-b", at=1),
    ]
    kept = current_votes(votes_table(rows)).to_pylist()
    assert [(r["clip_id"], r["annotator"], r["round"], r["kinship"]) for r in kept] == [
        ("c", "ann-a", "labelling", "blood"),
        ("c", "ann-a", "adjudication", "non_blood"),
        ("d", "ann-b", "labelling", "non_blood"),
    ]


@given(st.lists(st.tuples(st.sampled_from("cd"), st.sampled_from("xy"), st.integers(0, 4), st.booleans()), max_size=12))
def test_current_votes_are_those_of_the_plain_rule(draws: list[tuple[str, str, int, bool]]) -> None:
    rows = [make_vote(c, f"ann-{a}", at=at, withdrawn=gone, salt=n) for n, (c, a, at, gone) in enumerate(draws)]
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["clip_id"], row["annotator"])
        if key not in latest or row["updated_at"] >= latest[key]["updated_at"]:
            latest[key] = row
    wanted = {row["vote_id"] for row in latest.values() if not row["withdrawn"]}
    found = current_votes(votes_table(rows))["vote_id"].to_pylist()
    assert set(found) == wanted and len(found) == len(wanted)
    order = [row["vote_id"] for row in rows]
    assert found == sorted(found, key=order.index)


def test_names_depend_on_all_they_are_made_from_and_not_on_how_a_moment_is_written() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
    name = vote_id("http://h:1", 1, 2, at)
    assert len(name) == 16
    assert name == vote_id("http://h:1/", 1, 2, at.astimezone(None))
    others = [
        vote_id("http://h:2", 1, 2, at),
        vote_id("http://h:1", 12, 2, at),
        vote_id("http://h:1", 1, 3, at),
        vote_id("http://h:1", 1, 2, at + timedelta(microseconds=1)),
    ]
    assert len({name, *others}) == 5
    assert annotator_id("http://h:1", 4) != annotator_id("http://h:1", 5)
    assert annotator_id("http://h:1/", 4) == annotator_id("http://h:1", 4)
