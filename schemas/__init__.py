"""What a record is: one Arrow schema a table, with units, shapes, meaning, version and validators.

Each table's module holds ``TABLE`` (the declaration) and ``SCHEMA`` (its Arrow schema).
"""

from __future__ import annotations

from schemas import clips, quarantine, sources, subjects, triplets, votes
from schemas.column import Column, Table, parquet_options
from schemas.version import FORMAT_VERSION

#: Every table of the format, by name.
TABLES: dict[str, Table] = {
    module.TABLE.name: module.TABLE for module in (triplets, clips, votes, subjects, sources, quarantine)
}

__all__ = ["FORMAT_VERSION", "TABLES", "Column", "Table", "parquet_options"]
