"""The table of votes: reading it, adding to it, and which of its rows count.

The table only grows. A vote has a name made from the annotation it came from and the annotation's last change, so
reading the same annotation twice adds nothing, and a changed mind is a row more. Of a person's rows on a clip the
latest counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsat_data.errors import DatasetError
from rsat_data.manifest import read_manifest, safe_join

VOTES_FILE = "meta/votes.parquet"


def vote_id(url: str, project: int, annotation: int, updated_at: datetime) -> str:
    """Name of a vote: 16 hex digits.

    Args:
        url: the server's address as the project's store has it, so that one server has one name.
        project, annotation: their numbers on the server.
        updated_at: last change of the annotation, with a time zone.
    """
    moment = updated_at.astimezone(UTC).isoformat(timespec="microseconds")
    return _sha256(url.rstrip("/"), str(project), str(annotation), moment)[:16]


def annotator_id(url: str, user: int) -> str:
    """Pseudonym of a person: from the server's address and the number of the account, never from a name."""
    return "ann-" + _sha256(url.rstrip("/"), str(user))[:10]


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def votes_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Votes as a table of the format.

    Args:
        rows: mappings with every column of :data:`schemas.votes.TABLE`; those that format 1.2 brought may be absent.

    Raises:
        ValueError: a column is missing or unknown, or a value has the wrong type.
    """
    from schemas.arrow import table_from_rows
    from schemas.votes import BEFORE, TABLE

    return table_from_rows(TABLE, [{**BEFORE, **row} for row in rows])


def read_votes(out: Path | str) -> pa.Table:
    """Every vote of a dataset, in the order in which they came; of any format version, as of the newest.

    Raises:
        DatasetError: there is no dataset, or its table of votes is damaged.
    """
    from schemas.votes import upgraded

    out = Path(out)
    if VOTES_FILE not in {entry.file for entry in read_manifest(out)}:
        return votes_table([])
    path = safe_join(out, VOTES_FILE)
    try:
        return upgraded(pq.read_table(path))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DatasetError(
            f"{path} cannot be read: {error}.", hint="`rsat-data validate` tells more; a backup has it.", path=path
        ) from error


def current_votes(table: pa.Table) -> pa.Table:
    """The rows that count: of each person, clip and round the one changed last; none where that one was withdrawn.

    Rows keep their order. Of two rows of the same moment the later in the table counts.
    """
    from schemas import votes

    return votes.current(table)


def append_votes(out: Path | str, votes: pa.Table) -> int:
    """Add votes to a dataset, leaving out those whose ``vote_id`` is there. One transaction; returns how many came.

    Killed at any moment, the dataset has all of them or none; repeating it doubles nothing.

    Raises:
        DatasetError: a vote breaks the rules of the table; nothing is added then.
        WorkspaceError, DiskFullError: the folder cannot be written, or another process publishes there.
    """
    from rsat_data.amend import amend

    return amend(Path(out), {}, votes=votes).votes
