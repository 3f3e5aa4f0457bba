"""What a publication writes about its data: meta tables, splits, facts for the card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from rsat_data import __version__
from rsat_data.amend import VOTES
from rsat_data.avatars.carry import Carried
from rsat_data.card import DatasetInfo
from rsat_data.labels import LABELS_FILE, labels_summary
from rsat_data.meta_tables import quarantine_records, source_records, subject_records
from rsat_data.publish_plan import PublicationPlan
from rsat_data.stats import StatsCollector
from rsat_data.writer import DatasetWriter


def summary_of(
    plan: PublicationPlan, stats: StatsCollector, quarantined: int, votes: pa.Table | None
) -> dict[str, Any]:
    """Counts and facts that the card and info.json state."""
    from schemas import FORMAT_VERSION
    from schemas.triplets import FPS
    from schemas.vocabulary import SPLITS

    splits: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        rows = [ref.keys for ref in plan.rows if plan.split_of_row(ref) == split]
        splits[split] = {
            "rows": len(rows),
            "clips": sum(plan.split_of_clip(ref) == split for ref in plan.clips),
            "subjects": len({row["subject_id"] for row in rows}),
            "dyads": len({row["dyad_id"] for row in rows}),
            "sources": len({row["source_id"] for row in rows}),
            "frames": sum(row["num_frames"] for row in rows),
            "seconds": sum(row["num_frames"] / row["fps"] for row in rows),
            "face_seconds": stats.valid_frames(split) / FPS,
        }
    keys = [ref.keys for ref in plan.rows]
    totals = {name: sum(split[name] for split in splits.values()) for name in splits["train"]}
    return {
        "format_version": FORMAT_VERSION,
        "head_model": keys[0]["head_model"] if keys else None,
        "widths": stats.widths(),
        "fps": 25.0,
        "sample_rate": 16000,
        "totals": totals,
        "splits": splits,
        "quarantined": quarantined,
        "licences": sorted({row["licence"] for row in keys}),
        "languages": sorted({row["language"] for row in keys if row["language"]}),
        "pii": sorted({kind for row in keys for kind in row["pii"]}),
        "consented_rows": sum(row["consent_id"] is not None for row in keys),
        "labels": labels_summary((ref.keys for ref in plan.clips), votes, plan.labels.record),
    }


def info_record(info: DatasetInfo, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What ``meta/info.json`` holds: title, versions, counts, and the meaning of every column."""
    import schemas

    tables = {}
    for name in ("triplets", "clips"):
        tables[name] = {
            "path": f"data/{name}/{{split}}-{{shard:05d}}-of-{{shards:05d}}.parquet",
            "row": schemas.TABLES[name].row,
            "columns": [
                {
                    "name": column.name,
                    "type": str(column.type),
                    "shape": column.shape,
                    "unit": column.unit,
                    "frame": column.frame,
                    "nullable": column.nullable,
                    "meaning": column.meaning,
                }
                for column in schemas.TABLES[name]
            ],
        }
    return {**asdict(info), "rsat_data_version": __version__, **summary, "tables": tables}


def write_meta(
    writer: DatasetWriter,
    plan: PublicationPlan,
    carried: Carried,
    sources: Sequence[Mapping[str, Any]],
    quarantine: Sequence[Mapping[str, Any]],
    seed: int,
    ratios: Mapping[str, float] | None,
) -> None:
    """Write the tables subjects, sources, quarantine and (for a new dataset) votes, and the record of the splits."""
    import schemas
    from pipelines.assemble.splits import ALGORITHM, DEFAULT_RATIOS
    from schemas.arrow import table_from_rows

    def write(name: str, records: list[dict[str, Any]]) -> None:
        spec = schemas.TABLES[name]
        writer.write_table(f"meta/{name}.parquet", spec.schema, [table_from_rows(spec, records)])

    rows, clips = [ref.keys for ref in plan.rows], [ref.keys for ref in plan.clips]
    with_avatars = [{**row, **carried.columns.get(row["row_id"], {})} for row in rows]
    write("subjects", subject_records(with_avatars, plan.splits))
    write("sources", source_records(rows, clips, sources))
    write("quarantine", quarantine_records(quarantine))
    # Votes are append-only and not made by a build: what is there stays.
    if VOTES in writer.old:
        writer.keep(VOTES)
    else:
        write("votes", [])
    if plan.labels.record is not None:
        writer.write_file(LABELS_FILE, json_bytes(plan.labels.record))
    record = {
        "algorithm": ALGORITHM,
        "seed": seed,
        "ratios": dict(ratios or DEFAULT_RATIOS),
        "weight": "frames",
        "components": [asdict(component) for component in plan.splits.components],
    }
    writer.write_file("meta/splits.json", json_bytes(record))


def json_bytes(value: Any) -> bytes:
    """Readable JSON, the same bytes for the same value.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
