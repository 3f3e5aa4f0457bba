"""Splits of an import: those that the data set's own folders say, and recordings that no split may cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsat_data.dialects.track import Unit
from rsat_data.errors import UsageError

if TYPE_CHECKING:
    from pipelines.assemble.splits import RowKeys

FOLDERS: Mapping[str, str] = {
    "train": "train", "training": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test", "ood": "ood",
}  # fmt: skip
"""Name of a folder, in lower case -> split. ``ood`` is none of a dataset's three: it is imported by itself."""
VALIDATION = 0.1
"""Share of the training clips that become validation where the folders have none."""
ORDER = ("train", "validation", "test")
"""A person in two splits stays in the first of them: what is left in a later one was not trained on."""


@dataclass(frozen=True)
class Placed:
    """One imported clip, as far as its split goes."""

    name: str
    """Of the unit."""
    subjects: tuple[str, ...]
    """Subject ids of its people."""
    dyad: str
    """Id of the pair."""
    source: str
    """The recording it was cut from; clips of one stay together where splits are drawn."""
    kinship: str
    """blood joins the two to one family."""
    frames: int
    """Length."""
    own: str = ""
    """Split that its folder says; empty where splits are drawn."""


def split_of_folder(unit: Unit, root: Path) -> str:
    """The split that the folders around a unit say: the innermost that is called like one.

    Args:
        unit: below ``root``.
        root: folder that was given; its own name counts too.

    Raises:
        UsageError: none of them is called like a split.
    """
    inside = unit.path.parent.relative_to(root).parts if unit.path.parent.is_relative_to(root) else ()
    for name in reversed((root.name, *inside)):
        if name.lower() in FOLDERS:
            return FOLDERS[name.lower()]
    raise UsageError(
        f"{unit.name} lies in no folder that is called like a split, and --own-splits takes splits from folders.",
        hint=f"Folders: {', '.join(FOLDERS)}. Leave --own-splits out to have splits drawn.",
        path=unit.path,
    )


def without_ood(
    found: Sequence[tuple[Unit, Path]],
) -> tuple[list[tuple[Unit, Path]], dict[Path, str], list[str]]:
    """Units that come into a dataset with their own splits, the split of each by its path, and what to tell.

    Raises:
        UsageError: a unit lies in no such folder, or all lie in ``ood``.
    """
    splits = {unit.path: split_of_folder(unit, root) for unit, root in found}
    kept = [(unit, root) for unit, root in found if splits[unit.path] != "ood"]
    if not kept:
        raise UsageError(
            "All conversations lie in a folder `ood`, which is no split of a dataset.",
            hint="Import it by itself, without --own-splits: `rsat-data evaluate --ood` takes a dataset whole.",
        )
    notes = []
    if len(kept) < len(found):
        notes.append(
            f"{len(found) - len(kept)} units in folders `ood` are left out: import that folder by itself, for "
            "`rsat-data evaluate --ood`"
        )
    return kept, splits, notes


def decide(placed: Sequence[Placed], seed: int) -> tuple[dict[str, str], list[str]]:
    """Subject -> split, for the publisher, and what to tell.

    Own splits stay as they are but for two things. Where no folder is the validation split, a tenth of the training
    clips becomes it, whole recordings at a time (a test split that also chooses weights measures less). And a person
    whom sidecars name in two splits is put, with everybody seen beside them, into the first of train, validation,
    test: what is left in a later one was not trained on. Where splits are drawn, clips of one recording stay together.
    """
    from pipelines.assemble.splits import assign_splits

    if not any(one.own for one in placed):
        if len({one.source for one in placed}) == len(placed):
            return {}, []  # nothing to hold together: the publisher draws
        return dict(assign_splits(_keys(placed), seed=seed).split_of), []
    notes = []
    own = {one.name: one.own for one in placed}
    training = [one for one in placed if one.own == "train"]
    if training and "validation" not in own.values():
        drawn = assign_splits(_keys(training), seed=seed, ratios={"train": 1 - VALIDATION, "validation": VALIDATION})
        own |= {one.name: drawn.split_of[one.subjects[0]] for one in training}
        count = sum(own[one.name] == "validation" for one in training)
        notes.append(
            f"no folder is the validation split: {count} of {len(training)} training clips became it"
            + ("" if count else ", there are too few to spare any")
        )
    pinned: dict[str, str] = {}
    for one in sorted(placed, key=lambda one: ORDER.index(own[one.name])):
        for subject in one.subjects:
            if pinned.setdefault(subject, own[one.name]) != own[one.name]:
                notes.append(
                    f"{one.name}: a person in it is in {pinned[subject]} too, so it goes there and not into "
                    f"{own[one.name]}"
                )
    shared = sorted({one.source for one in training} & {one.source for one in placed if one.own == "test"})
    if shared:
        notes.append(
            f"{len(shared)} recordings have clips in both train and test ({shared[0]}, ...): these splits are the data "
            "set's own, and may share people"
        )
    return pinned, notes


def _keys(placed: Iterable[Placed]) -> list[RowKeys]:
    from pipelines.assemble.splits import RowKeys

    found = []
    for one in placed:
        for subject in one.subjects:
            partner = next((other for other in one.subjects if other != subject), None)
            found.append(RowKeys(subject, partner, one.source, one.dyad, one.kinship, one.frames))
    return found
