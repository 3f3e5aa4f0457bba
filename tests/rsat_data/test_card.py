"""Other people's readers on our files: datasets, polars, DuckDB, mlcroissant."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import rsat_data
import schemas
from rsat_data.card import DatasetInfo
from rsat_data.publish import publish
from tests.dataset_factory import default_specs, make_dataset, write_part


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    info = DatasetInfo(
        "Seven clips", "Made in a test.", citation="Anon, 2026", url="https://example.org", date="2026-11-22"
    )
    return make_dataset(tmp_path_factory.mktemp("card"), default_specs(7), seed=2, info=info)[0]


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    module = pytest.importorskip("datasets")
    monkeypatch.setattr(module.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    module.disable_progress_bars()
    return module


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_gives_arrays(out: Path, datasets: Any, streaming: bool) -> None:
    loaded = datasets.load_dataset(str(out), "triplets", streaming=streaming)
    splits = [name for name in ("train", "validation", "test") if len(rsat_data.load(out, name))]
    assert sorted(loaded) == sorted(splits) and len(splits) > 1
    features = loaded["train"].features
    assert features["expression"] == datasets.Array2D((None, 52), "float32")
    assert type(features["audio"]).__name__ == "Audio" and type(features["video"]).__name__ == "Video"
    assert list(features) == [column.name for column in schemas.TABLES["triplets"]]
    ours = {row["row_id"]: row for row in rsat_data.load(out)}
    count = 0
    for row in loaded["train"].with_format("numpy"):
        mine = ours[row["row_id"]]
        for name in ("expression", "jaw", "eyes"):
            assert row[name].shape == mine[name].shape and row[name].dtype == np.float32
            np.testing.assert_array_equal(row[name], mine[name])
        assert row["video"]["bytes"] == mine["video"]["bytes"]
        count += 1
    assert count == len(ours)


def test_datasets_reads_clips_and_chosen_columns(out: Path, datasets: Any) -> None:
    clips = datasets.load_dataset(str(out), "clips", split="train", streaming=True)
    assert next(iter(clips))["turns"][0]["person"] == "A"
    rows = datasets.load_dataset(str(out), "triplets", split="train", streaming=True, columns=["row_id", "jaw"])
    assert set(next(iter(rows))) == {"row_id", "jaw"}


def test_polars(out: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.scan_parquet(str(out / "data" / "triplets" / "train-*.parquet")).drop("audio", "video").collect()
    ours = list(rsat_data.load(out))
    assert frame["row_id"].to_list() == [row["row_id"] for row in ours]
    assert frame["expression"].dtype == polars.List(polars.List(polars.Float32))
    assert frame["expression"].list.len().to_list() == [row["num_frames"] for row in ours]
    np.testing.assert_array_equal(np.array(frame["jaw"][0].to_list(), np.float32), ours[0]["jaw"])


def test_duckdb(out: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    files = str(out / "data" / "triplets" / "*.parquet")
    columns = "row_id, len(expression), jaw[2][1], q_valid, words[1].word, camera.width"
    query = f"select {columns} from read_parquet(?) order by row_id"
    found = duckdb.execute(query, [files]).fetchall()
    ours = sorted(rsat_data.load(out, None), key=lambda row: row["row_id"])
    assert len(found) == len(ours)
    for values, row in zip(found, ours, strict=True):
        assert values[:2] == (row["row_id"], row["num_frames"])
        assert np.float32(values[2]) == row["jaw"][1, 0] and values[4:] == ("hello", 32)


def test_croissant_is_valid_and_gives_the_rows(out: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mlcroissant's own making
        dataset = croissant.Dataset(jsonld=str(out / "croissant.json"))
        issues = dataset.metadata.ctx.issues
        assert not issues.errors and not issues.warnings, (issues.errors, issues.warnings)
        records = list(dataset.records("triplets-train"))
    ours = list(rsat_data.load(out))
    assert len(records) == len(ours)
    by_id = {record["triplets-train/row_id"].decode(): record for record in records}
    for row in ours:
        jaw = np.array([list(frame) for frame in by_id[row["row_id"]]["triplets-train/jaw"]], np.float32)
        np.testing.assert_array_equal(jaw, row["jaw"])
    raw = json.loads((out / "croissant.json").read_text())
    assert any(key.startswith("rai:") for key in raw)


def test_card_is_yaml_and_tells_the_counts(out: Path) -> None:
    text = (out / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    card = yaml.safe_load(front)
    assert [config["config_name"] for config in card["configs"]] == ["triplets", "clips"]
    assert card["license"] == "cc0-1.0" and card["language"] == ["en"]
    assert f"| all | {len(rsat_data.load(out, None))} | 7 |" in body
    for column in schemas.TABLES["triplets"]:
        assert f"| `{column.name}` |" in body


def test_card_of_nothing_has_no_configs(tmp_path: Path) -> None:
    publish([], tmp_path)
    card = yaml.safe_load((tmp_path / "README.md").read_text().split("---\n")[1])
    assert "configs" not in card


def test_one_component_loads_as_train_only(tmp_path: Path, datasets: Any) -> None:
    publish([write_part(tmp_path / "part", default_specs(7)[:1])], tmp_path / "out")
    assert list(datasets.load_dataset(str(tmp_path / "out"), "triplets")) == ["train"]
