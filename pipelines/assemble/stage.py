"""The assemble stage: the artefacts of one clip become its rows of the format, checked before they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.assemble.config import AssembleConfig
from pipelines.stage import Resources, Stage, StageContext

ROWS_FILE, CLIPS_FILE = "rows.parquet", "clip.parquet"


def key_material(config: AssembleConfig) -> dict[str, str]:
    """The version of the format decides the result too."""
    from schemas.version import FORMAT_VERSION

    return {"format": FORMAT_VERSION}


def run(ctx: StageContext, config: AssembleConfig) -> Mapping[str, Any]:
    """Write ``rows.parquet`` (table triplets, one row a person) and ``clip.parquet`` (table clips, one row).

    The split column is filled with ``train`` for the time being: splits are decided over all clips at publication.

    Raises:
        StageError: an artefact is missing or does not fit the others (lengths, clocks, values that cannot be).
        UnsupportedSource: the sidecar's relation contradicts itself.
    """
    import pyarrow.parquet as pq

    import schemas
    from pipelines.assemble.rows import assemble
    from schemas.arrow import table_from_rows

    rows, clip = assemble(ctx, config)
    for name, table, records in ((ROWS_FILE, "triplets", rows), (CLIPS_FILE, "clips", [clip])):
        spec = schemas.TABLES[table]
        options = schemas.parquet_options(spec.schema)
        # A row group a row: the publisher fetches rows one by one, in its own order.
        pq.write_table(table_from_rows(spec, records), ctx.out / name, row_group_size=1, **options)
    ctx.progress(1.0)
    return {
        "rows": len(rows),
        "row_ids": [row["row_id"] for row in rows],
        "q_valid": [round(row["q_valid"], 4) for row in rows],
        "q_reprojection": [None if row["q_reprojection"] is None else round(row["q_reprojection"], 5) for row in rows],
    }


STAGE = Stage(
    name="assemble",
    version="4",
    unit="clip",
    config=AssembleConfig,
    run=run,
    inputs=("ingest", "faces", "speech", "subjects", "flame"),
    part_fields={"subjects": ("identity", "partner")},
    key_material=key_material,
    metadata_fields=("relation", "licence", "consent_id", "pii"),
    resources=Resources(memory_gb=0.5, timeout_s=300.0),
)
