from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import rsat_data
import rsat_data.writer
import schemas
from rsat_data.card import DatasetInfo
from rsat_data.errors import DatasetError
from rsat_data.manifest import read_manifest
from rsat_data.publish import ROWS_FILE, publish
from rsat_data.stats import Moments
from rsat_data.validate import validate
from schemas.sources import from_ingest
from tests.dataset_factory import ClipSpec, default_specs, make_clip, make_dataset, make_row, write_part

MANY = [ClipSpec(f"src{n}", f"s{n}", f"t{n}", video=False, frames=4 + n % 3, seed=n) for n in range(30)]


def test_order_and_grouping_of_parts_do_not_matter(tmp_path: Path) -> None:
    specs = MANY[:8]
    single = [write_part(tmp_path / "a" / f"z{n}", [spec]) for n, spec in enumerate(specs)]
    together = [write_part(tmp_path / "b", list(reversed(specs)))]
    first = publish(reversed(single), tmp_path / "out1", seed=4)
    second = publish(together, tmp_path / "out2", seed=4)
    assert first.entries == second.entries


def test_publishing_again_changes_nothing(tmp_path: Path) -> None:
    out, first = make_dataset(tmp_path)
    assert publish(sorted((tmp_path / "parts").iterdir()), out).entries == first.entries
    assert validate(out).ok


def test_rows_lie_by_split_and_subject(tmp_path: Path) -> None:
    publish([write_part(tmp_path / "part", MANY)], tmp_path / "out")
    for split in ("train", "validation", "test"):
        rows = rsat_data.load(tmp_path / "out", split)
        subjects = [row["subject_id"] for row in rows]
        assert subjects == sorted(subjects) and len(subjects) > 0
        assert {row["split"] for row in rows} == {split}


def test_meta_tables_tell_what_is_there(tmp_path: Path) -> None:
    specs = [
        ClipSpec("src0", "ann", "bob", kinship="blood", video=False),
        ClipSpec("src1", "bob", "cem", video=False, start_s=2.0),
        ClipSpec("src2", "dan", video=False),
    ]
    probe = {
        "sha256": "ab",
        "bytes": 12,
        "container": "mov",
        "duration_s": 4.5,
        "video": {"codec": "h264", "width": 640, "height": 360, "rotation": 90.0, "fps": 29.97, "num_frames": 134},
        "audio": None,
    }
    failure = {"key": "k1", "source_name": "bad.mp4", "stage": "ingest", "error": "NoAudioTrack", "message": "no sound"}
    out, published = make_dataset(
        tmp_path,
        specs,
        sources=[from_ingest("src0", "a.mp4", probe, {"licence": "MIT"}), from_ingest("src9", "b.mp4", probe, {})],
        quarantine=[failure],
        extra_files={"config.yaml": b"a: 1\n"},
        info=DatasetInfo(name="Kin", description="Small."),
    )
    meta = {path.stem: pq.read_table(path) for path in (out / "meta").glob("*.parquet")}
    for name, table in meta.items():
        assert table.schema == schemas.TABLES[name].schema
        assert table.schema.metadata == schemas.TABLES[name].schema.metadata
    subjects = {row["subject_id"]: row for row in meta["subjects"].to_pylist()}
    assert subjects["bob"]["partners"] == ["ann", "cem"] and subjects["bob"]["num_rows"] == 2
    assert subjects["ann"]["family_id"] == subjects["bob"]["family_id"] != subjects["cem"]["family_id"]
    assert subjects["ann"]["component_id"] == subjects["cem"]["component_id"] != subjects["dan"]["component_id"]
    sources = {row["source_id"]: row for row in meta["sources"].to_pylist()}
    assert {name: row["num_clips"] for name, row in sources.items()} == {"src0": 1, "src1": 1, "src2": 1, "src9": 0}
    assert sources["src0"]["rotation"] == 90 and sources["src0"]["licence"] == "MIT"
    assert sources["src2"]["name"] == "" and sources["src0"]["audio_codec"] is None
    assert meta["quarantine"].to_pylist()[0]["error"] == "NoAudioTrack"
    assert meta["votes"].num_rows == 0
    assert (out / "meta" / "config.yaml").read_bytes() == b"a: 1\n"
    info = json.loads((out / "meta" / "info.json").read_text())
    assert info["totals"]["rows"] == sum(published.rows.values()) == 5 and info["totals"]["clips"] == 3
    assert info["widths"]["expression"] == 52 and info["name"] == "Kin" and info["quarantined"] == 1
    splits = json.loads((out / "meta" / "splits.json").read_text())
    assert sorted(subject for part in splits["components"] for subject in part["subjects"]) == sorted(subjects)
    assert validate(out).ok


def test_statistics_are_those_of_the_valid_frames(tmp_path: Path) -> None:
    out, _ = make_dataset(tmp_path, MANY[:5], ratios={"train": 1.0})
    stats = json.loads((out / "meta" / "stats.json").read_text())
    rows = list(rsat_data.load(out))
    jaw = np.concatenate([row["jaw"][row["valid"]] for row in rows]).astype(np.float64)
    for found in (stats["train"]["jaw"], stats["all"]["jaw"]):
        assert found["count"] == len(jaw)
        np.testing.assert_allclose(found["mean"], jaw.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(found["std"], jaw.std(axis=0), atol=1e-12)
        np.testing.assert_array_equal(found["max"], jaw.max(axis=0))
    assert "q_snr_db" not in stats["all"]  # null everywhere


def test_moments_in_blocks_are_those_of_the_whole() -> None:
    samples = np.random.default_rng(0).normal(1e6, 1e-2, (1000, 2))
    moments = Moments()
    for block in np.split(samples, [10, 500, 501]):
        moments.add(block)
    np.testing.assert_allclose(moments.result()["std"], samples.std(axis=0), rtol=1e-6)


def test_a_clip_given_twice_is_there_once(tmp_path: Path) -> None:
    parts = [write_part(tmp_path / name, MANY[:2]) for name in "ab"]
    published = publish(parts, tmp_path / "out")
    assert published.repeated_clips == tuple(sorted(spec.clip_id for spec in MANY[:2]))
    assert published.clips == 2 and sum(published.rows.values()) == 4
    assert validate(tmp_path / "out").ok


def test_kept_splits(tmp_path: Path) -> None:
    keep = {spec.subject_a: "test" for spec in MANY[:3]}
    publish([write_part(tmp_path / "part", MANY[:6])], tmp_path / "out", keep_splits=keep)
    test = {row["subject_id"] for row in rsat_data.load(tmp_path / "out", "test")}
    assert keep.keys() <= test and "t0" in test


def test_nothing_to_publish_still_tells_why(tmp_path: Path) -> None:
    failure = {"key": "k", "source_name": "x.mp4", "stage": "ingest", "error": "E", "message": "m"}
    published = publish([], tmp_path, quarantine=[failure])
    assert published.clips == 0 and not any(entry.file.startswith("data/") for entry in published.entries)
    assert len(rsat_data.load(tmp_path)) == 0 and list(rsat_data.load(tmp_path)) == []
    assert validate(tmp_path).ok


def test_rows_of_two_heads_do_not_mix(tmp_path: Path) -> None:
    part = write_part(tmp_path / "part", MANY[:2])
    table = pq.read_table(part / ROWS_FILE)
    heads = ["one@1"] * (table.num_rows - 1) + ["two@2"]
    position = table.schema.get_field_index("head_model")
    pq.write_table(table.set_column(position, table.schema.field(position), [heads]), part / ROWS_FILE)
    with pytest.raises(DatasetError, match="2 head models"):
        publish([part], tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.jsonl").exists()


def test_parts_that_do_not_fit_are_named(tmp_path: Path) -> None:
    part = write_part(tmp_path / "part", MANY[:2])
    rows = pq.read_table(part / ROWS_FILE)
    for spoil, message in (
        (rows.slice(1), "lacks its row"),
        (rows.drop_columns(["jaw"]), "jaw: column is missing"),
        (rows.replace_schema_metadata({}), "format version"),
    ):
        pq.write_table(spoil, part / ROWS_FILE)
        with pytest.raises(DatasetError, match=message):
            publish([part], tmp_path / "out")
    (part / ROWS_FILE).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match="not a readable Parquet file"):
        publish([part], tmp_path / "out")
    with pytest.raises(DatasetError, match="not a readable Parquet file"):
        publish([tmp_path / "nowhere"], tmp_path / "out")


def test_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = write_part(tmp_path / "part", default_specs(9, 20))
    publish([part], tmp_path / "one", ratios={"train": 1.0})
    monkeypatch.setattr(rsat_data.writer, "ROW_GROUP_ROWS", 3)
    monkeypatch.setattr(rsat_data.writer, "SHARD_BYTES", 200_000)
    publish([part], tmp_path / "many", ratios={"train": 1.0})
    names = [entry.file for entry in read_manifest(tmp_path / "many") if entry.file.startswith("data/triplets/")]
    count = len(names)
    assert count > 2
    assert names == [f"data/triplets/train-{n:05d}-of-{count:05d}.parquet" for n in range(count)]
    one, many = rsat_data.load(tmp_path / "one"), rsat_data.load(tmp_path / "many")
    names = [name for name in one.columns if name not in ("reprojection_px", "photometric")]  # NaN in invalid frames
    assert one.arrow(names).equals(many.arrow(names))
    for first, second in zip(one, many, strict=True):
        np.testing.assert_array_equal(first["expression"], second["expression"])
        assert first["video"] == second["video"]
    assert many[-1].partner() is None or many[-1].partner()["clip_id"] == many[-1]["clip_id"]
    # Fewer shards again: those of the earlier state are gone.
    monkeypatch.undo()
    publish([part], tmp_path / "many", ratios={"train": 1.0})
    assert read_manifest(tmp_path / "many") == read_manifest(tmp_path / "one")
    assert validate(tmp_path / "many").ok


def test_factory_rows_are_what_the_writer_gets() -> None:
    spec = MANY[0]
    rows = [make_row(spec, "A"), make_row(spec, "B")]
    assert rows[0].keys() == schemas.TABLES["triplets"].by_name.keys()
    assert make_clip(spec, rows).keys() == schemas.TABLES["clips"].by_name.keys()
