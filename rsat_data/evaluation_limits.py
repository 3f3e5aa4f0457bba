"""What a dataset and a run let be judged: codes that are only filling, a head that is not here, splits already seen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rsat_data.errors import DatasetError, HeadMismatch

if TYPE_CHECKING:
    from model.head import HeadModel
    from model.motion.conversation import Conversations
    from model.motion.run import Run

IMPORT_FILE = "meta/import.json"
"""What an import leaves in a dataset, ``expression_codes`` among it where it filled codes up to the head's size."""


def expression_codes(datasets: Iterable[Path]) -> int | None:
    """Columns of the expression code that hold something in all these datasets together; None for all columns.

    Raises:
        DatasetError: a dataset's ``meta/import.json`` is damaged.
    """
    known: list[int | None] = []
    for dataset in datasets:
        path = dataset / IMPORT_FILE
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("expression_codes") if path.is_file() else None
            known.append(None if found is None else int(found))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{path} cannot be read: {error}.", hint="`rsat-data validate` names damaged files.", path=path
            ) from error
    return None if None in known else max((count for count in known if count is not None), default=None)


def head_if_here(
    splits: Mapping[str, Conversations], given: str | None, metrics: Sequence[str]
) -> tuple[HeadModel | None, str]:
    """The head of the codes, or why what needs it is left out.

    Args:
        splits: what is judged.
        given: head that the user named, if any.
        metrics: measures that the user asked for; none for all.

    Raises:
        HeadMismatch: the head is not on this machine, and the user named it or a measure that needs it.
    """
    from model.evaluate.harness import needs_face
    from model.metrics.motion import REGISTRY
    from rsat_data.preview.lookup import find_head

    try:
        return find_head(next(iter(splits.values())).head_model, given), ""
    except HeadMismatch as error:
        if given is not None or any(needs_face(REGISTRY[name]) for name in metrics):
            raise
        return None, f"no measure of vertices or lips was taken: {error.message} {error.hint}"


def seen_before(run: Run, splits: Iterable[str], dataset: Path) -> list[str]:
    """Sentences on splits of ``dataset`` that the run learnt from, or that its weights were chosen by."""
    from model.motion.conversation import dataset_hash

    if run.dataset_hash != dataset_hash(dataset):
        return []
    told = {
        "train": "the run was trained on these very conversations: its figures tell how well it knows them by heart",
        "validation": "the run's weights were chosen by these conversations: its figures are somewhat too good",
    }
    return [f"split {split}: {told[split]}" for split in splits if split in told]
