"""Checks of a table against its declaration: pure functions on Arrow tables that return every problem found.

What needs a decoder (audio and video clocks) or several files (hashes, references, splits) is checked one floor up,
in ``rsat_data.validate``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas import clips, triplets, votes
from schemas.column import Column, Table
from schemas.version import TABLE_KEY, VERSION_KEY, is_older, is_readable

#: Largest believable axis-angle magnitude of each rotation, in radians. The head's is at most pi by convention
#: (the short way round); a jaw, a neck or an eye cannot turn further than this.
MAX_ANGLE = {"rotation": np.pi + 1e-3, "neck": np.pi / 2, "jaw": np.pi / 3, "eyes": np.pi / 2}
#: Largest believable distance from the camera, in metres.
MAX_DISTANCE_M = 50.0
#: Word and turn times may stick out of the clip by this much, in seconds: recognisers round.
TIME_SLACK_S = 0.05


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    row: int | None
    """Row within the table checked; None if the whole table is meant."""
    column: str
    """Column; empty if none in particular."""
    message: str
    """What is wrong."""


def audio_fits(num_samples: int, sample_rate: int, num_frames: int, fps: float) -> bool:
    """Whether audio and frames cover the same time: they differ by less than one frame."""
    # Multiplied out: quotients of seconds round, and whole frames would be taken for a little less.
    return abs(num_frames * sample_rate - num_samples * fps) < sample_rate


def schema_problems(schema: pa.Schema, spec: Table) -> list[Problem]:
    """Compare the schema of a file with the declaration: names, types, format version.

    Columns younger than the file's format version may be missing.
    """
    problems = []
    metadata = schema.metadata or {}
    version = metadata.get(VERSION_KEY, b"").decode("utf-8", "replace")
    if not is_readable(version):
        problems.append(Problem(None, "", f"format version is {version!r}, this code reads 1.x"))
    name = metadata.get(TABLE_KEY, b"").decode("utf-8", "replace")
    if name != spec.name:
        problems.append(Problem(None, "", f"the file says it is table {name!r}, expected {spec.name!r}"))
    for column in spec:
        position = schema.get_field_index(column.name)
        if position < 0:
            if is_older(version, column.since):
                continue  # written before there was such a column
            problems.append(Problem(None, column.name, f"column is missing (should be {column.type})"))
        elif schema.field(position).type != column.type:
            found = schema.field(position).type
            problems.append(Problem(None, column.name, f"type is {found}, should be {column.type}"))
    problems += [Problem(None, name, "unknown column") for name in schema.names if name not in spec.by_name]
    return problems


def row_problems(table: pa.Table, spec: Table) -> list[Problem]:
    """Check the rows of a table whose schema fits: nulls, vocabularies, lengths, values.

    Columns that the table lacks, as those of an older format version do, are not checked.
    """
    if table.num_rows == 0:
        return []
    there = [column for column in spec if column.name in table.column_names]
    problems = [problem for column in there for problem in _null_problems(table, column)]
    if problems:
        return problems  # the checks below rely on there being values
    problems = [problem for column in there for problem in _word_problems(table, column)]
    for check in _CHECKS.get(spec.name, ()):
        problems += list(check(table))
    return problems


def _rows(mask: npt.NDArray[np.bool_] | pa.ChunkedArray | pa.Array) -> list[int]:
    values = mask if isinstance(mask, np.ndarray) else mask.fill_null(False).to_numpy(zero_copy_only=False)
    return [int(row) for row in np.flatnonzero(values)]


def _null_problems(table: pa.Table, column: Column) -> Iterator[Problem]:
    cells = table[column.name].combine_chunks()
    if not column.nullable and cells.null_count:
        yield from (Problem(row, column.name, "is null") for row in _rows(pc.is_null(cells)))
    if column.media and not column.nullable:
        sizes = pc.binary_length(pc.struct_field(cells, "bytes"))
        yield from (Problem(row, column.name, "holds no bytes") for row in _rows(pc.equal(sizes.fill_null(0), 0)))
    if pa.types.is_list(column.type):
        flat, parents = pc.list_flatten(cells), pc.list_parent_indices(cells).to_numpy(zero_copy_only=False)
        wrong = _rows(pc.is_null(flat))
        if column.is_frames:
            frames = pc.list_parent_indices(flat).to_numpy(zero_copy_only=False)
            wrong += [int(frame) for frame in frames[_rows(pc.is_null(pc.list_flatten(flat)))]]
        for row in np.unique(parents[wrong]) if wrong else ():
            yield Problem(int(row), column.name, "holds null values")


def _word_problems(table: pa.Table, column: Column) -> Iterator[Problem]:
    """Values outside the column's vocabulary."""
    if not column.values:
        return
    cells = table[column.name].combine_chunks()
    flat, parents = cells, np.arange(len(cells))
    if pa.types.is_list(column.type):
        flat, parents = pc.list_flatten(cells), pc.list_parent_indices(cells).to_numpy(zero_copy_only=False)
    allowed = pa.array(column.values, pa.string())
    for number in _rows(pc.and_(pc.is_valid(flat), pc.invert(pc.is_in(flat, allowed)))):
        value = flat[number].as_py()
        yield Problem(int(parents[number]), column.name, f"is {value!r}, allowed are {', '.join(column.values)}")


def _numbers(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    return table[name].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)


def _lengths(table: pa.Table) -> Iterator[Problem]:
    """Per-frame columns have T entries, and (T, D) columns one D."""
    frames = table["num_frames"].to_numpy()
    for name in (*triplets.FRAME_COLUMNS, *triplets.TRACK_COLUMNS):
        if name not in table.column_names:
            continue
        cells = table[name].combine_chunks()
        lengths = pc.list_value_length(cells).fill_null(-1).to_numpy(zero_copy_only=False)
        for row in _rows((lengths != frames) & (lengths >= 0)):
            yield Problem(row, name, f"has {lengths[row]} frames, num_frames is {frames[row]}")
    for name in triplets.FRAME_COLUMNS:
        cells = table[name].combine_chunks()
        inner, parents = pc.list_flatten(cells), pc.list_parent_indices(cells).to_numpy(zero_copy_only=False)
        widths = pc.list_value_length(inner).to_numpy(zero_copy_only=False)
        if not len(widths):
            continue
        width = triplets.TABLE[name].width or int(widths[0])
        for row in np.unique(parents[widths != width]):
            yield Problem(int(row), name, f"frames should have {width} values each")


def _codes(table: pa.Table) -> Iterator[Problem]:
    """Codes are finite and of a size a body can have."""
    shape = table["shape"].combine_chunks()
    bad = ~np.isfinite(pc.list_flatten(shape).to_numpy(zero_copy_only=False))
    for row in np.unique(pc.list_parent_indices(shape).to_numpy(zero_copy_only=False)[bad]):
        yield Problem(int(row), "shape", "holds values that are not finite")
    residual = table["reprojection_px"].combine_chunks()
    values = pc.list_flatten(residual).to_numpy(zero_copy_only=False)
    parents = pc.list_parent_indices(residual).to_numpy(zero_copy_only=False)
    valid = pc.list_flatten(table["valid"].combine_chunks()).to_numpy(zero_copy_only=False)
    # An invalid frame may have no error to state (NaN); a valid one must.
    if len(valid) == len(values):
        for row in np.unique(parents[(~np.isfinite(values) | (values < 0)) & valid]):
            yield Problem(int(row), "reprojection_px", "is not a distance in a frame that is valid")
    for name in triplets.FRAME_COLUMNS:
        cells = table[name].combine_chunks()
        inner, parents = pc.list_flatten(cells), pc.list_parent_indices(cells).to_numpy(zero_copy_only=False)
        widths = pc.list_value_length(inner).to_numpy(zero_copy_only=False)
        if not len(widths) or (widths != widths[0]).any():
            continue  # reported by _lengths
        values = pc.list_flatten(inner).to_numpy(zero_copy_only=False).reshape(len(inner), widths[0])
        finite = np.isfinite(values).all(axis=1)
        for row in np.unique(parents[~finite]):
            yield Problem(int(row), name, "holds values that are not finite")
        values = np.where(finite[:, None], values, 0.0)
        if name in MAX_ANGLE:
            angle = np.linalg.norm(values.reshape(len(values), -1, 3), axis=2).max(axis=1)
            yield from _too_large(name, angle, parents, MAX_ANGLE[name], "rad")
        if name == "translation":
            yield from _too_large(name, np.linalg.norm(values, axis=1), parents, MAX_DISTANCE_M, "m")


def _trust(table: pa.Table) -> Iterator[Problem]:
    """Reasons stand in invalid frames and in no others; confidence is in [0, 1]; colour differences are not below 0."""
    valid = table["valid"].combine_chunks()
    for name in ("invalid_reason", "confidence", "photometric"):
        if name not in table.column_names:
            continue
        cells = table[name].combine_chunks()
        flat, parents = pc.list_flatten(cells), pc.list_parent_indices(cells).to_numpy(zero_copy_only=False)
        if name == "invalid_reason":
            if len(flat) != len(pc.list_flatten(valid)):
                continue  # reported by _lengths
            stated = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)
            good = pc.list_flatten(valid).to_numpy(zero_copy_only=False)
            for row in np.unique(parents[stated & good]):
                yield Problem(int(row), name, "gives a reason for a frame that is valid")
            for row in np.unique(parents[~stated & ~good]):
                yield Problem(int(row), name, "gives no reason for a frame that is not valid")
        else:
            values = flat.to_numpy(zero_copy_only=False)
            wrong = values < 0 if name == "photometric" else ~((values >= 0) & (values <= 1))
            text = "is below 0" if name == "photometric" else "is not in [0, 1]"
            for row in np.unique(parents[wrong]):
                yield Problem(int(row), name, text)


def _too_large(
    name: str, size: npt.NDArray[np.floating], parents: npt.NDArray[np.integer], limit: float, unit: str
) -> Iterator[Problem]:
    for row in np.unique(parents[size > limit]):
        largest = float(size[parents == row].max())
        yield Problem(int(row), name, f"reaches {largest:.3g} {unit}, at most {limit:.3g} {unit} is believable")


def _span(table: pa.Table) -> Iterator[Problem]:
    """The span, the frame count and the rate agree."""
    start, end = _numbers(table, "start_s"), _numbers(table, "end_s")
    fps, frames = _numbers(table, "fps"), _numbers(table, "num_frames")
    rate = _numbers(table, "sample_rate")
    for row in _rows(~((fps > 0) & (frames > 0) & (rate > 0))):
        yield Problem(row, "num_frames", "fps, num_frames and sample_rate should be positive")
    with np.errstate(divide="ignore", invalid="ignore"):
        off = ~(np.abs((end - start) - frames / fps) < 0.5 / fps) | (start < 0)
    for row in _rows(off):
        yield Problem(row, "end_s", f"span {start[row]:.3f}..{end[row]:.3f} s does not hold {frames[row]:.0f} frames")


def _camera(table: pa.Table) -> Iterator[Problem]:
    cells = table["camera"].combine_chunks()
    for name in ("fx", "fy", "cx", "cy", "width", "height"):
        values = pc.struct_field(cells, name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        wrong = ~np.isfinite(values) if name in ("cx", "cy") else ~(np.isfinite(values) & (values > 0))
        yield from (Problem(row, "camera", f"{name} is {values[row]:g}") for row in _rows(wrong))


def _timed(column: str) -> Callable[[pa.Table], Iterator[Problem]]:
    """Check of a list of spans: start <= end, both within the clip."""

    def check(table: pa.Table) -> Iterator[Problem]:
        cells = table[column].combine_chunks()
        flat, parents = pc.list_flatten(cells), pc.list_parent_indices(cells).to_numpy(zero_copy_only=False)
        start = pc.struct_field(flat, "start").cast(pa.float64()).to_numpy(zero_copy_only=False)
        end = pc.struct_field(flat, "end").cast(pa.float64()).to_numpy(zero_copy_only=False)
        length = (_numbers(table, "num_frames") / _numbers(table, "fps"))[parents]
        for number in _rows(~((start >= -TIME_SLACK_S) & (start <= end) & (end <= length + TIME_SLACK_S))):
            row = int(parents[number])
            yield Problem(row, column, f"span {start[number]:.3f}..{end[number]:.3f} s is not within the clip")
        who = "person" if column == "turns" else "speaker"
        people = pc.struct_field(flat, who)
        wrong = pc.and_(pc.is_valid(people), pc.invert(pc.is_in(people, pa.array(["A", "B"]))))
        for number in _rows(wrong):
            yield Problem(int(parents[number]), column, f"{who} is {people[number].as_py()!r}, should be A or B")

    return check


def _partners(table: pa.Table) -> Iterator[Problem]:
    row_null = pc.is_null(table["partner_row_id"].combine_chunks())
    subject_null = pc.is_null(table["partner_subject_id"].combine_chunks())
    for row in _rows(pc.xor(row_null, subject_null)):
        yield Problem(row, "partner_row_id", "partner_row_id and partner_subject_id should be null together")
    for row in _rows(pc.equal(table["partner_row_id"], table["row_id"])):
        yield Problem(row, "partner_row_id", "a row cannot be its own partner")


def _relation(table: pa.Table) -> Iterator[Problem]:
    """Seniority follows from status, and an unlabelled row claims nothing."""
    status, senior = table["status"].to_pylist(), table["senior"].to_pylist()
    kinship, origin = table["kinship"].to_pylist(), table["relation_source"].to_pylist()
    confidence = table["relation_confidence"].to_pylist()
    for row in range(table.num_rows):
        if status[row] == "equal" and senior[row] != "none":
            yield Problem(row, "senior", f"is {senior[row]!r} though status is equal: should be none")
        if status[row] == "unknown" and senior[row] != "unknown":
            yield Problem(row, "senior", f"is {senior[row]!r} though status is unknown: should be unknown")
        if status[row] == "unequal" and senior[row] == "none":
            yield Problem(row, "senior", "is 'none' though status is unequal")
        if origin[row] == "unlabelled" and (kinship[row], status[row]) != ("unknown", "unknown"):
            yield Problem(row, "relation_source", "is unlabelled though a relation is given")
        trust = confidence[row]
        if trust is not None and not 0.0 <= trust <= 1.0:
            yield Problem(row, "relation_confidence", f"is {trust:g}, should be in [0, 1]")


def _votes(table: pa.Table) -> Iterator[Problem]:
    """A senior party goes with unequal standing and with nothing else; numbers are in their ranges."""
    status, senior = table["status"].to_pylist(), table["senior"].to_pylist()
    for row in range(table.num_rows):
        if status[row] == "unequal" and senior[row] is None:
            yield Problem(row, "senior", "is null though status is unequal")
        if status[row] != "unequal" and senior[row] is not None:
            yield Problem(row, "senior", f"is {senior[row]!r} though status is {status[row]!r}: should be null")
    confidence, seconds = _numbers(table, "confidence"), _numbers(table, "seconds_spent")
    for row in _rows(~((confidence >= 1) & (confidence <= 5))):
        yield Problem(row, "confidence", f"is {confidence[row]:g}, should be from 1 to 5")
    for row in _rows((seconds < 0) | np.isinf(seconds)):
        yield Problem(row, "seconds_spent", f"is {seconds[row]:g}, should be a time")
    cells = table["evidence"].combine_chunks()
    flat, parents = pc.list_flatten(cells), pc.list_parent_indices(cells).to_numpy(zero_copy_only=False)
    start = pc.struct_field(flat, "start").cast(pa.float64()).to_numpy(zero_copy_only=False)
    end = pc.struct_field(flat, "end").cast(pa.float64()).to_numpy(zero_copy_only=False)
    for number in _rows(~((start >= 0) & (start <= end))):
        yield Problem(int(parents[number]), "evidence", f"span {start[number]:.3f}..{end[number]:.3f} s is not a span")
    early = pc.less(table["updated_at"], table["created_at"])
    yield from (Problem(row, "updated_at", "is before created_at") for row in _rows(early))
    if "round" in table.column_names:
        # Gold answers come from nobody's account, and no account may pass for them.
        gold = pc.equal(table["round"], "gold")
        for row in _rows(pc.xor(gold, pc.equal(table["annotator"], votes.GOLD))):
            yield Problem(
                row,
                "annotator",
                f"is {table['annotator'][row].as_py()!r} in round "
                f"{table['round'][row].as_py()!r}: {votes.GOLD!r} goes with round gold alone",
            )


def _valid_share(table: pa.Table) -> Iterator[Problem]:
    stated = _numbers(table, "q_valid")
    for row, cell in enumerate(table["valid"]):
        values = cell.values.to_numpy(zero_copy_only=False)
        share = float(values.mean()) if len(values) else 0.0
        if not abs(share - stated[row]) < 1e-3:
            yield Problem(row, "q_valid", f"is {stated[row]:.4f}, the column valid says {share:.4f}")


_CHECKS: dict[str, tuple[Callable[[pa.Table], Iterator[Problem]], ...]] = {
    triplets.TABLE.name: (
        _lengths,
        _codes,
        _trust,
        _span,
        _camera,
        _timed("words"),
        _partners,
        _relation,
        _valid_share,
    ),
    clips.TABLE.name: (_span, _timed("turns"), _relation),
    votes.TABLE.name: (_votes,),
}
