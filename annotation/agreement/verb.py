"""The verb: measure the agreement of a dataset's votes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from annotation.agreement.measure import measure
from annotation.agreement.report import AgreementOptions, AgreementReport, ClipInfo
from rsat_data.errors import DatasetError

_CLIPS = "data/clips/"
_COLUMNS = ("clip_id", "dyad_id", "subject_id_a", "subject_id_b")


def clip_infos(out: Path | str) -> dict[str, ClipInfo]:
    """What agreement has to know of each clip of a dataset.

    Raises:
        DatasetError: there is no dataset, or it cannot be read.
    """
    from rsat_data.manifest import read_manifest, safe_join

    out = Path(out)
    infos: dict[str, ClipInfo] = {}
    # Columns as a whole: row by row, the reader would take half a minute for 30,000 clips.
    for entry in read_manifest(out):
        if not entry.file.startswith(_CLIPS):
            continue
        path = safe_join(out, entry.file)
        try:
            columns = pq.read_table(path, columns=list(_COLUMNS), partitioning=None).to_pydict()
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(
                f"{path} cannot be read: {error}.", hint="`rsat-data validate` tells more; a backup has it.", path=path
            ) from error
        for clip_id, *rest in zip(*(columns[name] for name in _COLUMNS), strict=True):
            infos[clip_id] = ClipInfo(*rest)
    return infos


def known_predictions(out: Path | str) -> dict[str, dict[str, str]]:
    """What was predicted for pushed clips, shown or hidden, as far as `push` noted it: clip -> question -> answer."""
    from annotation.store import LabelStore

    found = {}
    for clip_id, record in LabelStore(Path(out)).round().pushed().items():
        guess = record.get("prediction")
        if isinstance(guess, dict):
            found[clip_id] = {str(question): str(value) for question, value in guess.items() if value is not None}
    return found


def agreement(out: Path | str, options: AgreementOptions | None = None) -> AgreementReport:
    """Measure how well the annotators of a dataset agree. Needs no server: it reads the votes that were pulled.

    Raises:
        DatasetError: there is no dataset, or its tables cannot be read.
        LabelError: a vote answers what is not in the form.
    """
    from annotation.votes import read_votes

    return measure(read_votes(out), clip_infos(out), options, predictions=known_predictions(out) or None)
