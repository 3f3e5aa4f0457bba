"""rsat-data: videos of conversations to Parquet triplets (speech, head mesh, image) of both people.

Importing this package is cheap on purpose: it loads neither torch nor the sibling packages, so a dataset can be
read from any folder, also one that has a ``model/`` or a ``schemas.py`` of its own.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "collate", "load"]


def __getattr__(name: str) -> Any:
    """Load the reader on first use (PEP 562), so that ``import rsat_data`` stays instant."""
    if name in ("load", "collate"):
        from rsat_data import reader

        return getattr(reader, name)
    raise AttributeError(f"module 'rsat_data' has no attribute {name!r}")
