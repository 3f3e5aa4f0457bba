"""The verb: measure the agreement of a dataset's votes."""

from __future__ import annotations

from pathlib import Path

from annotation.agreement.measure import measure
from annotation.agreement.report import AgreementOptions, AgreementReport, ClipInfo


def clip_infos(out: Path | str) -> dict[str, ClipInfo]:
    """What agreement has to know of each clip of a dataset.

    Raises:
        DatasetError: there is no dataset, or it cannot be read.
    """
    import rsat_data

    columns = ("clip_id", "dyad_id", "subject_id_a", "subject_id_b")
    rows = rsat_data.load(Path(out), None, columns, table="clips")
    return {row["clip_id"]: ClipInfo(row["dyad_id"], row["subject_id_a"], row["subject_id_b"]) for row in rows}


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
