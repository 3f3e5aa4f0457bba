"""Version of the dataset format, and how it travels inside the files."""

from __future__ import annotations

#: Version of the dataset format. The major number changes when an old reader would misread a file.
FORMAT_VERSION = "1.3"

#: Key of the Parquet file metadata that holds :data:`FORMAT_VERSION`.
VERSION_KEY = b"rsat_data.format_version"

#: Key of the Parquet file metadata that holds the name of the table.
TABLE_KEY = b"rsat_data.table"


def is_readable(version: str) -> bool:
    """Whether code of this format version understands files of ``version``: the major numbers agree."""
    return version.split(".")[0] == FORMAT_VERSION.split(".")[0]


def is_older(version: str, than: str) -> bool:
    """Whether format ``version`` (like ``1.0``) came before format ``than``; an unreadable version came before none."""
    try:
        return tuple(map(int, version.split("."))) < tuple(map(int, than.split(".")))
    except ValueError:
        return False
