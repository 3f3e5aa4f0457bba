from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rsat_data
import schemas
from rsat_data.cli import run
from rsat_data.errors import DatasetError
from rsat_data.manifest import MANIFEST
from rsat_data.publish import ROWS_FILE, publish
from rsat_data.validate import Report, validate
from rsat_data.writer import DatasetWriter
from schemas.arrow import table_from_rows
from tests.dataset_factory import default_specs, flac, make_dataset, mp4, write_part


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("validate"), seed=1)[0]


@pytest.fixture
def copy(out: Path, tmp_path: Path) -> Path:
    subprocess.run(["cp", "-r", str(out), str(tmp_path / "copy")], check=True)
    return tmp_path / "copy"


def rewrite(root: Path, change: Callable[[list[dict[str, Any]]], None], table: str = "triplets") -> str:
    """Change rows of the train shard as a faulty program would: through the writer, so that the hashes fit."""
    file = f"data/{table}/train-00000-of-00001.parquet"
    spec = schemas.TABLES[table]
    rows = pq.read_table(root / file).to_pylist()
    for row in rows:
        for column in spec:
            if column.is_frames or column.name in ("shape", "speaking", "valid", "reprojection_px", "confidence"):
                row[column.name] = np.asarray(
                    row[column.name], bool if column.type == pa.list_(pa.bool_()) else np.float32
                )
    change(rows)
    with DatasetWriter(root, owned=(file,)) as writer:
        writer.write_table(file, spec.schema, [table_from_rows(spec, rows)])
        writer.commit()
    return file


def found(report: Report) -> set[tuple[str, str, int | None]]:
    return {(finding.check, finding.file, finding.row) for finding in report.findings}


def test_a_sound_dataset(out: Path) -> None:
    shares: list[float] = []
    report = validate(out, progress=shares.append)
    assert report.ok and report.findings == []
    assert report.checked["clocks"] == 11 * 4 + 6 * 2 and report.checked["references"] == 11 + 6
    assert all(count > 0 for count in report.checked.values())
    assert shares == sorted(shares) and shares[-1] == 1.0


def media(data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": "x"}


ROW_FAULTS: list[tuple[str, Callable[[list[dict[str, Any]]], None], str, str]] = [
    ("audio", lambda rows: rows[2].update(audio=media(flac(10_000, 0))), "clocks", "audio lasts"),
    ("no sound", lambda rows: rows[2].update(audio=media(b"fLaC")), "clocks", "not a readable sound file"),
    ("video", lambda rows: rows[2].update(video=media(mp4(3))), "clocks", "video holds 3 frames"),
    ("matte", lambda rows: rows[2].update(matte=media(b"junk")), "clocks", "matte is not a readable video"),
    ("jpeg", lambda rows: rows[2].update(image=media(b"junk")), "clocks", "not a whole JPEG"),
    ("finite", lambda rows: rows[2]["jaw"].__setitem__((1, 1), np.nan), "values", "not finite"),
    ("angle", lambda rows: rows[2]["rotation"].__setitem__(1, 4.0), "values", "believable"),
    ("head", lambda rows: rows[2].update(head_model="other@1"), "head model", "is other@1"),
    ("split", lambda rows: rows[2].update(split="test"), "values", "'test' in a file of 'train'"),
    ("clip", lambda rows: rows[2].update(clip_id="clip_none"), "references", "no row of clips is clip_none"),
    ("partner", lambda rows: rows[2].update(partner_row_id="row_none"), "references", "there is no row row_none"),
    ("twice", lambda rows: rows[2].update(row_id=rows[3]["row_id"]), "references", "is there twice"),
    ("subject", lambda rows: rows[2].update(partner_subject_id="x"), "references", "the partner's subject_id"),
    ("kinship", lambda rows: rows[2].update(kinship="cousins"), "values", "allowed are blood"),
]


@pytest.mark.parametrize(
    ("change", "check", "message"), [fault[1:] for fault in ROW_FAULTS], ids=[f[0] for f in ROW_FAULTS]
)
def test_a_fault_of_a_row_is_found_in_its_row(
    copy: Path, change: Callable[[list[dict[str, Any]]], None], check: str, message: str
) -> None:
    file = rewrite(copy, change)
    report = validate(copy)
    fitting = [finding for finding in report.findings if finding.check == check and message in finding.message]
    assert fitting, report.findings
    assert fitting[0].file == file and fitting[0].row in (2, 3)
    assert report.count("manifest") == report.count("schema") == 0


def test_every_fault_is_listed(copy: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["video"] = media(mp4(2))
        rows[1]["jaw"][0] = np.inf
        rows[4]["head_model"] = "other@1"

    file = rewrite(copy, change)
    assert found(validate(copy)) == {("clocks", file, 0), ("values", file, 1), ("head model", file, 4)}


def test_a_leak_is_found(tmp_path: Path) -> None:
    out, _ = make_dataset(tmp_path, default_specs(3), keep_splits={"subj0a": "test"})
    rewrite(out, lambda rows: [row.update(source_id="src0") for row in rows])
    messages = [finding.message for finding in validate(out).findings if finding.check == "splits"]
    assert messages == ["source src0 is in test and train"]


def test_faults_of_files(copy: Path) -> None:
    train, test = "data/triplets/train-00000-of-00001.parquet", "meta/subjects.parquet"
    data = bytearray((copy / train).read_bytes())
    data[1000] ^= 1
    (copy / train).write_bytes(data)
    (copy / test).unlink()
    (copy / "meta" / "stats.json").write_text("{}")
    (copy / "data" / "clips" / "train-00000-of-00001.parquet.tmp").write_bytes(b"")
    (copy / "meta" / "stranger.txt").write_text("hello")
    report = validate(copy)
    manifest = {finding.file: finding.message for finding in report.findings if finding.check == "manifest"}
    assert manifest.keys() == {
        train,
        test,
        "meta/stats.json",
        "data/clips/train-00000-of-00001.parquet.tmp",
        "meta/stranger.txt",
    }
    assert "sha256" in manifest[train] and "not on disk" in manifest[test]
    assert "not in the manifest" in manifest["meta/stranger.txt"]


def test_a_table_of_another_shape(tmp_path: Path) -> None:
    out, _ = make_dataset(tmp_path)
    file = "data/clips/train-00000-of-00001.parquet"
    table = pq.read_table(out / file).drop_columns(["turns"])
    with DatasetWriter(out, owned=(file,)) as writer:
        writer.write_table(file, table.schema, [table])
        writer.commit()
    report = validate(out)
    assert ("schema", file, None) in found(report)
    assert any("turns: column is missing" in finding.message for finding in report.findings)


def test_command(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", str(copy)]) == 0
    assert "sound" in capsys.readouterr().out
    rewrite(copy, lambda rows: rows[1].update(video=media(mp4(2))))
    assert run(["validate", str(copy)]) == 1
    text = capsys.readouterr().out
    assert "data/triplets/train-00000-of-00001.parquet row 1: video holds 2 frames" in text
    assert run(["validate", str(copy), "--json"]) == 1
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["ok"] is False and report["findings"][0]["row"] == 1
    assert [entry["problems"] for entry in report["checks"] if entry["check"] == "clocks"] == [1]


def test_command_where_there_is_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", str(tmp_path)]) == 1
    assert MANIFEST in capsys.readouterr().err
    with pytest.raises(DatasetError):
        validate(tmp_path)


def test_published_parts_with_wrong_clocks_do_not_pass(tmp_path: Path) -> None:
    part = write_part(tmp_path / "part", default_specs(2))
    table = pq.read_table(part / ROWS_FILE)
    position = table.schema.get_field_index("fps")
    pq.write_table(
        table.set_column(position, table.schema.field(position), pa.array([30.0] * 3, pa.float32())), part / ROWS_FILE
    )
    publish([part], tmp_path / "out")
    checks = {finding.check for finding in validate(tmp_path / "out").findings}
    assert checks == {"values", "clocks"}


def as_before(root: Path) -> None:
    """Rewrite the triplets as format 1.0 had them: without the columns that came later, and with its number."""
    for path in sorted((root / "data").rglob("*.parquet")):
        spec = schemas.TABLES[path.parent.name]
        table = pq.read_table(path).select([column.name for column in spec if column.since == "1.0"])
        metadata = {**(table.schema.metadata or {}), b"rsat_data.format_version": b"1.0"}
        old = table.replace_schema_metadata(metadata)
        with DatasetWriter(root, owned=(path.relative_to(root).as_posix(),)) as writer:
            writer.write_table(path.relative_to(root).as_posix(), old.schema, [old])
            writer.commit()


def test_datasets_of_format_1_0_still_read_and_validate(copy: Path) -> None:
    as_before(copy)
    report = validate(copy)
    assert report.ok, report.findings
    rows = rsat_data.load(copy, split=None)
    assert "confidence" not in rows.columns and "invalid_reason" not in rows[0]
    assert rows[0]["valid"].dtype == bool and rows[0]["jaw"].shape[1] == 3
    with pytest.raises(DatasetError, match="no column 'confidence'"):
        rsat_data.load(copy, split=None, columns=["confidence"])


def test_reasons_must_agree_with_valid(copy: Path) -> None:
    def wrong(rows: list[dict[str, Any]]) -> None:
        rows[0]["invalid_reason"] = [""] * len(rows[0]["invalid_reason"])
        rows[1]["invalid_reason"] = ["lost"] * len(rows[1]["invalid_reason"])
        rows[2]["confidence"] = rows[2]["confidence"] + np.float32(1)
        rows[3]["invalid_reason"] = ["fog", *rows[3]["invalid_reason"][1:]]

    file = rewrite(copy, wrong)
    findings = [(f.row, f.message) for f in validate(copy).findings if f.check == "values" and f.file == file]
    assert {row for row, _ in findings} == {0, 1, 2, 3}
    assert any("no reason for a frame" in text for row, text in findings if row == 0)
    assert any("for a frame that is valid" in text for row, text in findings if row == 1)
    assert any("'fog'" in text for row, text in findings if row == 3)
