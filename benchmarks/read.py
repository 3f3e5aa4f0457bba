"""Reading a dataset: ours against `datasets` on the same files, rows as lists and as numpy arrays.

    python -m benchmarks.read                     rows of 3 to 30 s, made first in a temporary folder
    python -m benchmarks.read --rows 1000 --media-kb 1500

What is read are the (T, D) code columns of every row, beside media of the size given that nobody asks for: that is what
a motion trainer does. `datasets` may first convert the files to its own memory-mapped cache (its way of `load_dataset`,
counted apart) or stream. The limits printed are what nothing can go below here: reading the same column chunks as plain
bytes, and decoding them to Arrow with nothing after it. Every reader is warmed up by its first row, and the page cache
is warm for all.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

import rsat_data
from benchmarks.machine import describe_machine, table
from pipelines.assemble import ids
from rsat_data.publish import CLIPS_FILE, ROWS_FILE, publish
from schemas import TABLES, parquet_options
from schemas.arrow import table_from_rows
from schemas.column import Column
from schemas.triplets import FRAME_COLUMNS

EXPRESSIONS, SHAPES = 52, 40
WIDTHS = {"expression": EXPRESSIONS, "jaw": 3, "neck": 3, "eyes": 6, "rotation": 3, "translation": 3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300, help="rows of the dataset")
    parser.add_argument("--media-kb", type=int, default=300, help="bytes of media beside each row's codes")
    parser.add_argument("--repeats", type=int, default=5, help="each figure is the best of so many")
    arguments = parser.parse_args()
    print(describe_machine())
    with tempfile.TemporaryDirectory() as scratch:
        out = make_dataset(Path(scratch), arguments.rows, arguments.media_kb << 10)
        files = sorted(out.glob("data/triplets/*.parquet"))
        size = sum(path.stat().st_size for path in files)
        codes = sum(row["num_frames"] for row in rsat_data.load(out, None, ["num_frames"])) * sum(WIDTHS.values()) * 4
        print(f"{arguments.rows} rows in {size / 1e6:.0f} MB of Parquet; codes {codes / 1e6:.0f} MB as float32\n")
        os.environ["HF_DATASETS_CACHE"] = str(Path(scratch, "cache"))
        os.environ["HF_HUB_OFFLINE"] = "1"
        order = np.random.default_rng(1).permutation(arguments.rows).tolist()
        lines: list[list[Any]] = [["in order, every row's codes", "ms a row", "MB/s", "ours is faster by"]]
        _report(lines, _sequential(out, files), arguments, codes)
        print(table(lines))
        lines = [["rows in random order", "ms a row", "MB/s", "ours is faster by"]]
        _report(lines, _random(out, order), arguments, codes)
        print("\n" + table(lines))
        started = time.perf_counter()
        rsat_data.load(out, None, list(FRAME_COLUMNS))[0]["jaw"]
        ours = time.perf_counter() - started
        print(
            f"\nfrom nothing to the first row: ours {ours:.3f} s, datasets {_first_row(out):.3f} s (building its cache)"
        )


def _report(lines: list[list[Any]], cases: dict[str, Callable[[], int]], arguments: Any, codes: int) -> None:
    ours = 0.0
    for name, case in cases.items():
        seconds = min(_timed(case, arguments.rows) for _ in range(arguments.repeats))
        ours = ours or seconds
        ratio = "" if name.startswith(("ours", "limit")) else f"{seconds / ours:.1f} x"
        lines.append([name, f"{1e3 * seconds / arguments.rows:.3f}", f"{codes / seconds / 1e6:.0f}", ratio])


def _timed(case: Callable[[], int], rows: int) -> float:
    started = time.perf_counter()
    count = case()
    seconds = time.perf_counter() - started
    assert count == rows, (count, rows)
    return seconds


def _touch(rows: Iterable[Any]) -> int:
    """Take every code cell of every row, as a trainer would, without computing anything with it."""
    count = 0
    for row in rows:
        for name in FRAME_COLUMNS:
            assert len(row[name]) > 0
        count += 1
    return count


def _sequential(out: Path, files: list[Path]) -> dict[str, Callable[[], int]]:
    columns = list(FRAME_COLUMNS)
    streamed = _streamed(out, columns)
    mapped = _mapped(out).select_columns(columns)
    return {
        "ours, numpy": lambda: _touch(rsat_data.load(out, None, columns)),
        "ours, torch": lambda: _touch(rsat_data.load(out, None, columns, "torch")),
        "datasets, lists, its cache": lambda: _touch(mapped),
        "datasets, numpy, its cache": lambda: _touch(mapped.with_format("numpy")),
        "datasets, lists, streaming": lambda: _touch(streamed),
        "datasets, numpy, streaming": lambda: _touch(streamed.with_format("numpy")),
        "limit: decode to Arrow": lambda: sum(pq.ParquetFile(f).read(columns=columns).num_rows for f in files),
        "limit: read the bytes": lambda: _raw(files),
    }


def _random(out: Path, order: list[int]) -> dict[str, Callable[[], int]]:
    columns = list(FRAME_COLUMNS)
    rows = rsat_data.load(out, None, columns)
    mapped = _mapped(out).select_columns(columns)
    arrays = mapped.with_format("numpy")
    return {
        "ours, numpy, any order, row groups in its cache": lambda: _touch(rows[index] for index in order),
        "ours, numpy, shuffled(), nothing cached before": lambda: _touch(
            rsat_data.load(out, None, columns).shuffled(1)
        ),
        "datasets, lists, its cache": lambda: _touch(mapped[index] for index in order),
        "datasets, numpy, its cache": lambda: _touch(arrays[index] for index in order),
    }


def _raw(files: list[Path]) -> int:
    """Read the column chunks of the codes as bytes, and nothing else."""
    count = 0
    for path in files:
        footer = pq.read_metadata(path)
        with path.open("rb") as stream:
            for group in (footer.row_group(number) for number in range(footer.num_row_groups)):
                for column in (group.column(number) for number in range(group.num_columns)):
                    if column.path_in_schema.split(".")[0] in FRAME_COLUMNS:
                        stream.seek(column.dictionary_page_offset or column.data_page_offset)
                        assert len(stream.read(column.total_compressed_size)) == column.total_compressed_size
                count += group.num_rows
    return count


def _mapped(out: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(out), "triplets", split="train")


def _streamed(out: Path, columns: list[str]) -> Any:
    import datasets

    return datasets.load_dataset(str(out), "triplets", split="train", streaming=True, columns=columns)


def _first_row(out: Path) -> float:
    """Seconds of ``load_dataset`` and one row with no cache there."""
    import datasets

    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        rows = datasets.load_dataset(str(out), "triplets", split="train", cache_dir=cache)
        rows.with_format("numpy")[0]["jaw"]
        return time.perf_counter() - started


# The dataset -------------------------------------------------------------------------------------------------------


def make_dataset(root: Path, count: int, media_bytes: int) -> Path:
    """Publish ``count`` rows of 75 to 750 frames: smooth random codes, noise as sound, random bytes as video."""
    rng = np.random.default_rng(0)
    parts = []
    for first in range(0, count, 50):
        folder = root / "parts" / f"{first:06d}"
        folder.mkdir(parents=True)
        pairs = [_row(rng, number, media_bytes) for number in range(first, min(first + 50, count))]
        for name, spec, records in (
            (ROWS_FILE, TABLES["triplets"], [row for row, _ in pairs]),
            (CLIPS_FILE, TABLES["clips"], [clip for _, clip in pairs]),
        ):
            pq.write_table(
                table_from_rows(spec, records), folder / name, row_group_size=10, **parquet_options(spec.schema)
            )
        parts.append(folder)
    publish(parts, root / "out", ratios={"train": 1.0})
    return root / "out"


def _row(rng: np.random.Generator, number: int, media_bytes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    frames = int(rng.integers(75, 751))
    clip, subject = f"clip_{number:06d}", f"subj_{number % 40:03d}"
    values = {name: _smooth(rng, frames, width) for name, width in WIDTHS.items()}
    values |= {"shape": rng.normal(size=SHAPES).astype(np.float32), "reprojection_px": rng.random(frames, np.float32)}
    values |= {"speaking": rng.random(frames) < 0.5, "valid": np.ones(frames, bool)}
    values |= {"row_id": ids.row_id(clip, "A"), "clip_id": clip, "subject_id": subject, "source_id": f"src_{number}"}
    values |= {"row_id_a": ids.row_id(clip, "A"), "subject_id_a": subject, "num_frames": frames, "end_s": frames / 25}
    values |= {"dyad_id": ids.dyad_id(subject, None), "person": "A", "fps": 25.0, "sample_rate": 16000}
    values |= {"head_model": "benchmark-1.0@0", "audio": {"bytes": _flac(rng, frames), "path": "a.flac"}}
    row = {column.name: values.get(column.name, _empty(column)) for column in TABLES["triplets"]}
    row["video"] = {"bytes": rng.bytes(media_bytes), "path": "v.mp4"}
    return row, {column.name: values.get(column.name, _empty(column)) for column in TABLES["clips"]}


def _smooth(rng: np.random.Generator, frames: int, width: int) -> np.ndarray:
    """A slow random walk with a little noise, about as compressible as what a tracker makes."""
    walk = rng.normal(0, 0.02, (frames, width)).cumsum(axis=0)
    return (np.tanh(walk) + rng.normal(0, 1e-3, (frames, width))).astype(np.float32)


def _flac(rng: np.random.Generator, frames: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, rng.normal(0, 0.02, frames * 640), 16000, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _empty(column: Column) -> Any:
    """A value that fits a column nobody looks at."""
    if column.nullable:
        return None
    if pa.types.is_struct(column.type):
        return {field.name: None for field in column.type}
    if pa.types.is_list(column.type):
        return []
    return column.values[-1] if column.values else "" if pa.types.is_string(column.type) else 0


if __name__ == "__main__":
    main()
