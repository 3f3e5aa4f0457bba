from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import rsat_data
from rsat_data.amend import amend
from rsat_data.avatars.carry import columns_of
from rsat_data.avatars.content import CODES, cells, row_hash
from rsat_data.publish import ROWS_FILE, publish
from rsat_data.validate import validate
from tests import dataset_factory
from tests.dataset_factory import ClipSpec, make_dataset, write_part

SPECS = [
    ClipSpec("src0", "ann", "bob", frames=6, seed=1),
    ClipSpec("src1", "ann", "cem", frames=5, seed=2),
    ClipSpec("src2", "eve", frames=5, video=False, seed=3),
]


def with_avatars(out: Path, *subjects: str) -> dict[str, dict[str, Any]]:
    """Put records of avatars into a dataset, as a fit would leave them; returns the columns."""
    rows = list(rsat_data.load(out, None))
    values: dict[str, dict[str, Any]] = {}
    files: dict[str, Path | bytes] = {}
    for subject in subjects:
        own = {r["row_id"]: {"content": row_hash(r), "psnr": 30.0} for r in rows if r["subject_id"] == subject}
        record = {"avatar_id": f"avatar_{subject}", "rows": own}
        files |= {
            f"avatars/{subject}/avatar.json": json.dumps(record).encode(),
            f"avatars/{subject}/avatar.ply": b"ply",
        }
        values |= columns_of(record)
    amend(out, {"triplets": values}, files=files)
    return values


def avatars_of(out: Path) -> dict[str, str]:
    rows = rsat_data.load(out, None, ["row_id", "avatar_id", "avatar_psnr"])
    return {row["row_id"]: row["avatar_id"] for row in rows if row["avatar_id"] is not None}


def test_a_hash_is_the_same_from_a_row_of_the_reader_and_of_a_part(tmp_path: Path) -> None:
    out, _ = make_dataset(tmp_path, SPECS)
    read = {row["row_id"]: row_hash(row) for row in rsat_data.load(out, None)}
    assert len(set(read.values())) == len(read) == 5
    for part in (tmp_path / "parts").iterdir():
        table = pq.read_table(part / ROWS_FILE)
        for index in range(len(table)):
            row = table.slice(index, 1)
            assert row_hash(cells(row)) == read[row["row_id"][0].as_py()]


@pytest.mark.parametrize("column", ["shape", *CODES, "valid", "camera", "video", "matte", "head_model"])
def test_whatever_an_avatar_sees_changes_the_hash(column: str, tmp_path: Path) -> None:
    row = dataset_factory.make_row(SPECS[0], "A")
    before = row_hash(row)
    if column in ("video", "matte"):
        row[column] = {"bytes": row[column]["bytes"] + b"x", "path": "other.mp4"}
    elif column == "camera":
        row[column] = row[column] | {"fx": 101.0}
    elif column == "head_model":
        row[column] = "other-head-1.0@000000000000"
    elif column == "valid":
        row[column] = ~row[column]
    else:
        row[column] = np.nextafter(row[column], np.float32(9))
    assert row_hash(row) != before


def test_words_relation_and_split_do_not(tmp_path: Path) -> None:
    row = dataset_factory.make_row(SPECS[0], "A")
    changed = row | {"text": "other", "kinship": "blood", "split": "test", "avatar_id": "x", "q_blur": 1.0}
    assert row_hash(row) == row_hash(changed)


def test_a_rebuilt_dataset_keeps_avatars_whose_rows_are_the_same(tmp_path: Path) -> None:
    out, _ = make_dataset(tmp_path, SPECS)
    values = with_avatars(out, "ann", "eve")
    before = {entry: path.read_bytes() for path in out.rglob("*") if path.is_file() and (entry := str(path))}
    again = publish(sorted((tmp_path / "parts").iterdir()), out)
    assert (again.avatars, again.stale_avatars) == (("ann", "eve"), ())
    assert before == {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert avatars_of(out) == {row: new["avatar_id"] for row, new in values.items()}
    subjects = pq.read_table(out / "meta/subjects.parquet").to_pylist()
    assert {s["subject_id"]: s["avatar_id"] for s in subjects if s["avatar_id"]} == {
        "ann": "avatar_ann",
        "eve": "avatar_eve",
    }
    # Another seed may move a subject to another split: its avatar moves with it.
    publish(sorted((tmp_path / "parts").iterdir()), out, seed=5, ratios={"train": 0.5, "test": 0.5})
    assert avatars_of(out) == {row: new["avatar_id"] for row, new in values.items()}
    assert validate(out).ok


def _other_codes(parts: Path, monkeypatch: pytest.MonkeyPatch) -> list[ClipSpec]:
    plain = dataset_factory.make_row

    def changed(spec: ClipSpec, person: str) -> dict[str, Any]:
        row = plain(spec, person)
        return row | {"jaw": row["jaw"] + np.float32(0.01)} if row["subject_id"] == "ann" else row

    monkeypatch.setattr(dataset_factory, "make_row", changed)
    return SPECS


def _a_row_more(parts: Path, monkeypatch: pytest.MonkeyPatch) -> list[ClipSpec]:
    return [*SPECS, ClipSpec("src3", "ann", frames=5, seed=9)]


def _a_row_less(parts: Path, monkeypatch: pytest.MonkeyPatch) -> list[ClipSpec]:
    return [SPECS[0], SPECS[2]]


def _withdrawn(parts: Path, monkeypatch: pytest.MonkeyPatch) -> list[ClipSpec]:
    return [SPECS[2]]


@pytest.mark.parametrize("change", [_other_codes, _a_row_more, _a_row_less, _withdrawn])
def test_an_avatar_of_rows_that_changed_goes_and_the_others_stay(
    change: Callable[..., list[ClipSpec]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = make_dataset(tmp_path, SPECS)
    with_avatars(out, "ann", "eve")
    shutil.rmtree(tmp_path / "parts")
    specs = change(tmp_path, monkeypatch)
    again = publish([write_part(tmp_path / "parts" / spec.clip_id, [spec]) for spec in specs], out)
    assert (again.avatars, again.stale_avatars) == (("eve",), ("ann",))
    assert set(avatars_of(out).values()) == {"avatar_eve"}
    assert not (out / "avatars/ann/avatar.ply").exists() and (out / "avatars/eve/avatar.ply").exists()
    assert validate(out).ok


@pytest.mark.parametrize("content", [b"", b"[]", b'{"avatar_id": 1}', b'{"avatar_id": "a", "rows": {"x": 3}}'])
def test_a_damaged_record_counts_as_stale(content: bytes, tmp_path: Path) -> None:
    out, _ = make_dataset(tmp_path, SPECS)
    amend(out, {}, files={"avatars/ann/avatar.json": content, "avatars/bob/avatar.ply": b"ply"})
    again = publish(sorted((tmp_path / "parts").iterdir()), out)
    assert again.stale_avatars == ("ann", "bob") and not list((out / "avatars").rglob("*.*"))
