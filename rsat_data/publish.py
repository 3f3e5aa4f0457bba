"""From the rows of many clips to one dataset: splits, order, shards, meta tables, card, manifest.

Two passes with constant memory: the first reads the keys of every row and decides splits, order and shards; the second
carries the rows over, one row group at a time. The result depends on the rows, the seed and the options, and not on
the order in which clips were finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data import card
from rsat_data.amend import VOTES, finish_interrupted
from rsat_data.avatars.carry import Carried, carry_over, with_columns
from rsat_data.card import DatasetInfo
from rsat_data.errors import DatasetError, WorkspaceError
from rsat_data.labels import LABELS_FILE, VOTED, Labels, read_labels, set_columns
from rsat_data.manifest import MANIFEST, ManifestEntry, read_manifest, safe_join
from rsat_data.parts import Parts, Ref
from rsat_data.publish_meta import info_record, json_bytes, summary_of, write_meta
from rsat_data.publish_plan import CLIPS_FILE, ROWS_FILE, PublicationPlan, make_plan
from rsat_data.siblings import check_siblings
from rsat_data.stats import StatsCollector
from rsat_data.writer import AVATARS, OWNED, DatasetWriter, plan_shards

if TYPE_CHECKING:
    from schemas import Table

__all__ = ["CLIPS_FILE", "ROWS_FILE", "Published", "publish"]


@dataclass(frozen=True)
class Published:
    """What a publication wrote."""

    entries: tuple[ManifestEntry, ...]
    """The new manifest."""
    rows: Mapping[str, int]
    """Split -> rows of triplets; all three splits are named."""
    clips: int
    """Rows of clips."""
    repeated_clips: tuple[str, ...]
    """Clips that came more than once; each is in the dataset once."""
    avatars: tuple[str, ...] = ()
    """Subjects whose avatar was carried over."""
    stale_avatars: tuple[str, ...] = ()
    """Subjects whose avatar was fitted to other rows than they have now; it is in the dataset no more."""
    labels: int = 0
    """Clips that keep a label which votes gave them."""
    lost_labels: tuple[str, ...] = ()
    """Clips that lost such a label: the source's owner says something else now, or their pair is another."""


def publish(
    parts: Iterable[Path],
    out: Path,
    *,
    seed: int = 0,
    ratios: Mapping[str, float] | None = None,
    sources: Sequence[Mapping[str, Any]] = (),
    quarantine: Sequence[Mapping[str, Any]] = (),
    info: DatasetInfo | None = None,
    keep_splits: Mapping[str, str] | None = None,
    extra_files: Mapping[str, bytes] | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Published:
    """Write or rewrite the dataset at ``out`` from the rows of finished clips.

    Args:
        parts: folders that hold ``rows.parquet`` (table triplets) and ``clip.parquet`` (table clips) of one clip or of
            many; their split columns are ignored.
        out: folder of the dataset. What it held is replaced once all is written, except votes, labels that follow from
            them, and avatars of subjects whose rows are the same as before.
        seed: decides the splits.
        ratios: share of train, validation and test; 80, 10, 10 % by default.
        sources: records of the table sources without num_clips, see :func:`schemas.sources.from_ingest`; sources that
            are not described get a bare record.
        quarantine: records of the table quarantine; what is absent is left empty.
        info: title and description of the card.
        keep_splits: subject_id -> split of an earlier version that must not change.
        extra_files: more files for ``meta/``, e.g. the resolved configuration: name -> content.
        progress: called with the done share.

    Raises:
        DatasetError: a part is not of this format, or the parts do not fit together (two head models, a partner that
            is missing).
        WorkspaceError, DiskFullError: the folder cannot be written.
    """
    check_siblings()
    import schemas

    folders = sorted(Path(part) for part in parts)
    old, seen = _labels_before(Path(out))
    plan = make_plan(folders, seed, ratios, keep_splits, old)
    info = info or DatasetInfo()
    stats = StatsCollector()
    total = len(plan.rows) + len(plan.clips) + 1
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done / total)

    with DatasetWriter(Path(out), owned=(*OWNED, AVATARS)) as writer:
        if {file: entry.sha256 for file, entry in writer.old.items() if _tells_labels(file)} != seen:
            raise WorkspaceError(
                f"{out}: labels were changed while this publication was prepared.",
                hint="Run the same command again.",
                path=out,
            )
        triplets, clips = schemas.TABLES["triplets"], schemas.TABLES["clips"]
        carried = _carry_over(writer, plan, folders)
        _write_data(
            writer,
            triplets,
            ROWS_FILE,
            folders,
            plan.rows,
            plan.split_of_row,
            advance,
            stats.add,
            carried,
            ("row_id", plan.labels.rows),
        )
        _write_data(
            writer,
            clips,
            CLIPS_FILE,
            folders,
            plan.clips,
            plan.split_of_clip,
            advance,
            None,
            None,
            ("clip_id", plan.labels.clips),
        )
        summary = summary_of(plan, stats, len(quarantine), _votes(writer))
        write_meta(writer, plan, carried, sources, quarantine, seed, ratios)
        extra = extra_files or {}
        for name in sorted(extra):  # one content in memory at a time, where the mapping reads files
            writer.write_file(f"meta/{name}", extra[name])
        writer.write_file("meta/info.json", json_bytes(info_record(info, summary)))
        writer.write_file("meta/stats.json", json_bytes(stats.result()))
        data = sorted(entry.file for entry in writer.new.values() if entry.file.startswith("data/"))
        writer.write_file("README.md", card.readme(info, summary, data).encode())
        # Last, because it names the hash of every shard.
        shards = [entry for entry in writer.new.values() if entry.file.startswith("data/")]
        writer.write_file("croissant.json", json_bytes(card.croissant(info, summary, shards)))
        entries = writer.commit()
    progress(1.0)
    rows = {name: split["rows"] for name, split in summary["splits"].items()}
    now = {ref.keys["clip_id"] for ref in plan.clips}
    before = {name for name, clip in old.clips.items() if clip["relation_source"] in VOTED}
    kept = {name for name in before if plan.labels.clips.get(name, {}).get("relation_source") in VOTED}
    return Published(
        tuple(entries),
        rows,
        len(plan.clips),
        tuple(plan.repeated),
        carried.subjects,
        carried.stale,
        len(kept),
        tuple(sorted((before & now) - kept)),
    )


def _tells_labels(file: str) -> bool:
    return file.startswith("data/clips/") or file == LABELS_FILE


def _labels_before(out: Path) -> tuple[Labels, dict[str, str]]:
    """Labels of the dataset that is replaced, and the hashes of the files that told them."""
    finish_interrupted(out)
    if not (out / MANIFEST).exists():
        return Labels(), {}
    files = {entry.file: entry for entry in read_manifest(out)}
    seen = {file: entry.sha256 for file, entry in files.items() if _tells_labels(file)}
    return read_labels(out, files), seen


def _votes(writer: DatasetWriter) -> pa.Table | None:
    """The table of votes as it stays; None for a new dataset."""
    if VOTES not in writer.old:
        return None
    path = safe_join(writer.root, VOTES)
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}.",
            hint="Take the file from a backup: a build cannot make votes.",
            path=path,
        ) from error


def _carry_over(writer: DatasetWriter, plan: PublicationPlan, folders: Sequence[Path]) -> Carried:
    """Keep the avatars whose rows are the same as before; the files of the others are not kept."""
    if not any(file.startswith(AVATARS) for file in writer.old):
        return Carried()
    rows: dict[str, list[Ref]] = {}
    for ref in plan.rows:
        rows.setdefault(ref.keys["subject_id"], []).append(ref)
    parts = Parts(folders, ROWS_FILE, writer.root / "data")
    try:
        carried = carry_over(writer.root, writer.old, rows, parts.row)
    finally:
        parts.close()
    for file in carried.files:
        writer.keep(file)
    return carried


def _write_data(
    writer: DatasetWriter,
    spec: Table,
    name: str,
    folders: Sequence[Path],
    refs: Sequence[Ref],
    split_of: Callable[[Ref], str],
    advance: Callable[[int], None],
    look: Callable[[str, pa.Table], None] | None,
    carried: Carried | None,
    labels: tuple[str, Mapping[str, Mapping[str, Any]]],
) -> None:
    """Write the shards of one table. An empty split has no file: a shard without rows would break readers."""
    from schemas.vocabulary import SPLITS

    parts = Parts(folders, name, writer.root / "data")
    position = spec.schema.get_field_index("split")

    def groups(shard: list[range], split: str, chosen: list[Ref]) -> Iterator[pa.Table]:
        for group in shard:
            table = pa.concat_tables([parts.row(chosen[number]) for number in group]).select(spec.schema.names)
            table = table.set_column(position, spec.schema.field(position), pa.array([split] * len(group)))
            if carried is not None:
                table = with_columns(table, carried)
            table = set_columns(table, *labels)
            # One chunk a column, and the declared metadata: the bytes then depend on the rows alone.
            table = pa.Table.from_arrays([column.combine_chunks() for column in table.columns], schema=spec.schema)
            if look is not None:
                look(split, table)
            yield table
            advance(len(group))

    try:
        for split in SPLITS:
            chosen = [ref for ref in refs if split_of(ref) == split]
            shards = plan_shards([ref.size for ref in chosen])
            for number, shard in enumerate(shards):
                file = f"data/{spec.name}/{split}-{number:05d}-of-{len(shards):05d}.parquet"
                writer.write_table(file, spec.schema, groups(shard, split, chosen))
    finally:
        parts.close()
