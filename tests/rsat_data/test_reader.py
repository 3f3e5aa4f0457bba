from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rsat_data
import rsat_data.writer
from rsat_data.errors import DatasetError
from rsat_data.publish import publish
from tests.dataset_factory import SIDE, ClipSpec, default_specs, make_dataset, make_row, write_part


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips (11 rows) in row groups of three and several shards, all in train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rsat_data.writer, "ROW_GROUP_ROWS", 3)
        patch.setattr(rsat_data.writer, "SHARD_BYTES", 150_000)
        folder, _ = make_dataset(tmp_path_factory.mktemp("reader"), default_specs(6), ratios={"train": 1.0})
    return folder


def expected() -> dict[str, dict[str, Any]]:
    rows = [make_row(spec, p) for spec in default_specs(6) for p in "AB" if p == "A" or spec.subject_b]
    return {row["row_id"]: row for row in rows}


def test_every_cell_comes_back_as_it_went_in(out: Path) -> None:
    truth = expected()
    rows = rsat_data.load(out)
    assert len(rows) == len(truth) == 11 and len(list((out / "data" / "triplets").iterdir())) > 1
    for row in rows:
        wanted = truth.pop(row["row_id"])
        for name, value in wanted.items():
            if isinstance(value, np.ndarray):
                assert row[name].dtype == value.dtype and row[name].shape == value.shape
                np.testing.assert_array_equal(row[name], value)
            elif isinstance(value, float):
                assert row[name] == pytest.approx(value, rel=1e-6)
            elif name != "words":
                assert row[name] == value, name
    assert not truth


def test_indexing_iterating_and_slicing_agree(out: Path) -> None:
    rows = rsat_data.load(out)
    names = [row["row_id"] for row in rows]
    assert [rows[n]["row_id"] for n in (*range(11), -1)] == [*names, names[-1]]
    assert [row["row_id"] for row in rows[2:9:3]] == names[2:9:3]
    assert [row["row_id"] for row in rows[::-1][1:3]] == names[::-1][1:3]
    assert [row["row_id"] for row in rows.select([7, 0, 7])] == [names[7], names[0], names[7]]
    assert rows.by_id(names[4])["row_id"] == names[4]
    assert rows.select([5]).arrow(["row_id"]).to_pylist() == [{"row_id": names[5]}]
    for bad in (11, -12):
        with pytest.raises(IndexError):
            rows[bad]
    with pytest.raises(IndexError):
        rows.select([11])
    with pytest.raises(KeyError):
        rows.by_id("row_nobody")
    with pytest.raises(KeyError):
        rows[0]["nothing"]


def test_shuffled_is_a_permutation_that_reads_each_row_group_once(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rsat_data.load(out, columns=["row_id"])
    names = [row["row_id"] for row in rows]
    reads = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *a, **k: reads.append(a) or read(*a, **k))
    orders = {seed: [row["row_id"] for row in rows.shuffled(seed, groups=2)] for seed in (0, 1, 0)}
    assert len(orders) == 2 and orders[0] != orders[1] != names
    assert all(sorted(order) == sorted(names) for order in orders.values())
    reads.clear()
    small = rsat_data.load(out, columns=["row_id"], cache_bytes=1)
    assert len(list(small[2:9].shuffled(3, groups=100))) == 7
    assert [row["row_id"] for row in small.shuffled(5, groups=1)]
    groups = sum(pq.read_metadata(path).num_row_groups for path in (out / "data" / "triplets").glob("*"))
    assert len(reads) == groups > 2


def test_arrays_are_views_that_cannot_be_spoilt(out: Path) -> None:
    row = rsat_data.load(out)[0]
    assert row["expression"].base is not None
    for name in ("expression", "speaking", "shape"):
        with pytest.raises(ValueError, match="read-only"):
            row[name][0] = 1


def test_media_on_demand(out: Path) -> None:
    row = next(row for row in rsat_data.load(out) if row["num_frames"] == 12)
    assert row.audio().shape == (12 * 640,) and row.audio().dtype == np.float32
    assert abs(row.audio()).max() > 0.05
    frames = row.frames([11, 0, 4, 4, -2])
    assert frames.shape == (5, SIDE, SIDE, 3) and frames.dtype == np.uint8
    # Frame i of the factory's videos is grey of level 10 i.
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [110, 0, 40, 40, 100], atol=3)
    assert row.frames().shape[0] == 12 and row.frames([]).shape == (0, SIDE, SIDE, 3)
    assert row.matte([1]).shape == (1, SIDE, SIDE)
    assert row.image().shape == (SIDE, SIDE, 3)
    with pytest.raises(IndexError):
        row.frames([12])
    clip = rsat_data.load(out, table="clips").by_id(row["clip_id"])
    assert clip.frames([3]).shape == (1, SIDE, SIDE, 3) and len(clip.audio()) == 12 * 640


def test_partners(out: Path) -> None:
    single = 0
    for row in rsat_data.load(out, columns=["clip_id", "person"]):
        partner = row.partner()
        if partner is None:
            single += 1
            continue
        assert partner["clip_id"] == row["clip_id"] and partner["person"] != row["person"]
        back = partner.partner()
        assert back is not None and back["row_id"] == row["row_id"]
    assert single == 1


def test_only_the_columns_asked_for(out: Path) -> None:
    rows = rsat_data.load(out, columns=["jaw", "num_frames"])
    assert list(rows[0]) == ["jaw", "num_frames"] and len(dict(rows[0])) == 2
    assert rows[0]["text"]  # others are still there when named
    with pytest.raises(DatasetError, match="no column 'jawbone'") as error:
        rsat_data.load(out, columns=["jawbone"])
    assert "Its columns are" in error.value.hint


def test_torch_tensors(out: Path) -> None:
    torch = pytest.importorskip("torch")
    row = rsat_data.load(out, format="torch")[3]
    plain = rsat_data.load(out)[3]
    assert isinstance(row["jaw"], torch.Tensor) and row["jaw"].dtype == torch.float32
    assert row["speaking"].dtype == torch.bool
    np.testing.assert_array_equal(row["jaw"].numpy(), plain["jaw"])
    assert isinstance(row.audio(), torch.Tensor) and isinstance(row.frames([0]), torch.Tensor)
    row["jaw"][0] = 7  # a copy: the next reading is untouched
    np.testing.assert_array_equal(row["jaw"].numpy(), plain["jaw"])


@pytest.mark.parametrize("format", ["numpy", "torch"])
def test_collate(out: Path, format: Any) -> None:
    torch = pytest.importorskip("torch")
    rows = rsat_data.load(out, format=format)
    chosen = [rows[n] for n in range(11)]
    batch = rsat_data.collate(chosen)
    longest = max(row["num_frames"] for row in chosen)
    assert batch["expression"].shape == (11, longest, 52) and batch["expression"].dtype == torch.float32
    assert batch["speaking"].shape == batch["mask"].shape == (11, longest) and batch["mask"].dtype == torch.bool
    assert batch["shape"].shape == (11, 10)
    assert batch["q_snr_db"].isnan().all() and batch["start_s"].dtype == torch.float64
    assert isinstance(batch["text"], list) and batch["num_frames"].dtype == torch.int64
    for number, row in enumerate(chosen):
        count = row["num_frames"]
        assert batch["mask"][number].sum() == count
        np.testing.assert_array_equal(batch["jaw"][number, :count].numpy(), np.asarray(row["jaw"]))
        assert not batch["jaw"][number, count:].any() and not batch["speaking"][number, count:].any()


def test_collate_refuses_what_makes_no_batch() -> None:
    pytest.importorskip("torch")
    with pytest.raises(DatasetError, match="at least one"):
        rsat_data.collate([])
    rows = [{"num_frames": 2, "x": np.zeros((2, width), np.float32)} for width in (3, 4)]
    with pytest.raises(DatasetError, match="x has different widths"):
        rsat_data.collate(rows)


def test_data_loader_with_workers(out: Path) -> None:
    data = pytest.importorskip("torch.utils.data")
    columns = ["num_frames", "jaw", "row_id"]
    rows = rsat_data.load(out, columns=columns)
    loader = data.DataLoader(rows, 4, num_workers=1, collate_fn=rsat_data.collate, multiprocessing_context="spawn")
    names = [name for batch in loader for name in batch["row_id"]]
    assert names == [row["row_id"] for row in rows]


def test_pickled_and_read_elsewhere(out: Path) -> None:
    rows = rsat_data.load(out)[2:5]
    rows[0]["jaw"]
    again = pickle.loads(pickle.dumps(rows))
    assert [row["row_id"] for row in again] == [row["row_id"] for row in rows]


def test_threads(out: Path) -> None:
    rows = rsat_data.load(out, cache_bytes=1)
    truth = {n: row["jaw"].copy() for n, row in enumerate(rows)}
    failures: list[BaseException] = []

    def read(seed: int) -> None:
        try:
            for n in np.random.default_rng(seed).integers(0, 11, 40):
                np.testing.assert_array_equal(rows[int(n)]["jaw"], truth[int(n)])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_cache_keeps_its_limit_and_iteration_keeps_nothing(out: Path) -> None:
    rows = rsat_data.load(out, cache_bytes=1)
    for n in range(11):
        assert rows[n]["video"]["bytes"] and rows[n]["jaw"].size
    assert len({key[:2] for key in rows._cache}) == 1  # the row group in use
    for row in (rows := rsat_data.load(out)):
        row["video"]
        assert len({key[:2] for key in rows._cache}) == 1
    assert not rows._cache and rows._used == 0


def test_iteration_takes_constant_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs = [ClipSpec("src", "s", frames=300, start_s=12.0 * n, video=False, seed=n) for n in range(12)]
    monkeypatch.setattr(rsat_data.writer, "ROW_GROUP_ROWS", 1)
    publish([write_part(tmp_path / "part", specs)], tmp_path / "out")
    rows = rsat_data.load(tmp_path / "out")
    before, held = pa.total_allocated_bytes(), []
    for row in rows:
        assert row["expression"].size and row["audio"]
        held.append(pa.total_allocated_bytes() - before)
    # Twelve row groups of one size: what is held does not grow with what was read.
    assert max(held) > 300_000 and max(held) < 1.5 * min(held)


def test_splits(out: Path, tmp_path: Path) -> None:
    assert len(rsat_data.load(out, "test")) == 0 and list(rsat_data.load(out, "validation")) == []
    assert len(rsat_data.load(out, None)) == 11 and len(rsat_data.load(out, None, table="clips")) == 6
    with pytest.raises(DatasetError, match="split should be"):
        rsat_data.load(out, "training")  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="format should be"):
        rsat_data.load(out, format="jax")  # type: ignore[arg-type]


def test_what_is_no_dataset_is_said_to_be_none(out: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        rsat_data.load(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"has no manifest.jsonl"):
        rsat_data.load(tmp_path)
    (tmp_path / "manifest.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match="cannot be read"):
        rsat_data.load(tmp_path)


def copy(out: Path, to: Path) -> Path:
    subprocess.run(["cp", "-r", str(out), str(to)], check=True)
    return to


def change_manifest(root: Path, change: Any) -> None:
    path = root / "manifest.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(entry)) + "\n" for entry in entries))


def test_files_outside_the_manifest_or_the_folder_are_not_read(out: Path, tmp_path: Path) -> None:
    root = copy(out, tmp_path / "a")
    extra = root / "data" / "triplets" / "train-00099-of-00100.parquet"
    extra.write_bytes(next((root / "data" / "triplets").glob("*.parquet")).read_bytes())
    assert len(rsat_data.load(root)) == 11
    root = copy(out, tmp_path / "b")
    shard = next((root / "data" / "triplets").glob("train-00000-*"))
    shard.rename(tmp_path / "elsewhere.parquet")
    shard.symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(DatasetError, match="leads outside"):
        rsat_data.load(root)
    root = copy(out, tmp_path / "c")
    change_manifest(
        root, lambda entry: entry | {"file": entry["file"].replace("data/triplets/", "data/triplets/../../../")}
    )
    with pytest.raises(DatasetError, match="is not one below the dataset's folder"):
        rsat_data.load(root)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "bytes, the manifest says"),
        (lambda path: path.write_bytes(b"\0" * path.stat().st_size), "cannot be read"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_damage_is_named(out: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    root = copy(out, tmp_path / "copy")
    spoil(next((root / "data" / "triplets").glob("train-00000-*")))
    with pytest.raises(DatasetError, match=message) as error:
        rsat_data.load(root)
    assert "train-00000" in str(error.value) and error.value.hint


def test_other_formats_are_refused(out: Path, tmp_path: Path) -> None:
    root = copy(out, tmp_path / "copy")
    path = next((root / "data" / "triplets").glob("train-00000-*"))
    table = pq.read_table(path).replace_schema_metadata({"rsat_data.format_version": "2.0"})
    pq.write_table(table, path)
    name = path.relative_to(root).as_posix()
    change_manifest(root, lambda entry: entry | ({"bytes": path.stat().st_size} if entry["file"] == name else {}))
    with pytest.raises(DatasetError, match=r"format 2.0, this rsat-data reads 1.x"):
        rsat_data.load(root)


def test_row_without_media_says_so(tmp_path: Path) -> None:
    folder, _ = make_dataset(tmp_path, [ClipSpec("s", "a", video=False)])
    row = rsat_data.load(folder)[0]
    assert row["video"] is None
    with pytest.raises(DatasetError, match="has no video"):
        row.frames([0])


READ_FROM_ELSEWHERE = """
import sys
import rsat_data
rows = rsat_data.load(sys.argv[1], split="train")
row = rows[0]
assert row["expression"].shape == (row["num_frames"], 52)
assert row.audio().shape == (row["num_frames"] * 640,)
assert row.frames([0]).shape[0] == 1 and row.partner() is None or row.partner()["clip_id"] == row["clip_id"]
ours = [name for name in ("model", "schemas", "pipelines", "annotation", "torch") if name in sys.modules]
assert ours == [], ours
import model, schemas
assert model.MINE and schemas.MINE
print("read", len(rows))
"""


def test_reading_from_a_folder_with_packages_of_the_same_names(out: Path, tmp_path: Path) -> None:
    """A user's own model/, schemas.py and pipelines/ do not hinder reading."""
    for name in ("model/__init__.py", "schemas.py", "pipelines/__init__.py", "annotation.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("MINE = True\n")
    (tmp_path / "read.py").write_text(READ_FROM_ELSEWHERE)
    # The project is found behind the user's folder, as if it were installed.
    env = {**os.environ, "PYTHONPATH": str(Path(rsat_data.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "read.py", str(out)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "read 11\n"


def test_a_track_that_a_row_lacks_is_none_and_nan_in_a_batch(out: Path) -> None:
    rows = list(rsat_data.load(out, split=None))
    lacking = {row["person"]: row["photometric"] for row in rows[:2]}
    assert lacking["B"] is None and lacking["A"].dtype == np.float32
    torch_rows = rsat_data.load(out, split=None, columns=["num_frames", "photometric", "confidence"], format="torch")
    assert any(row["photometric"] is None for row in torch_rows)
    batch = rsat_data.collate(list(torch_rows)[:4])
    assert batch["photometric"].shape == batch["confidence"].shape == batch["mask"].shape
    only_null = [row for row in torch_rows if row["photometric"] is None]
    assert rsat_data.collate(only_null)["photometric"][:, 0].isnan().all()
    assert rsat_data.collate([dict(row) for row in rows[:2]])["photometric"].isnan().any()
