"""Splits that cannot leak: whole connected components of (subject, family, source, dyad) go to one split."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

ALGORITHM = "components-by-hash-1"

#: Shares of the rows, in the order in which the splits are filled.
DEFAULT_RATIOS = {"train": 0.8, "validation": 0.1, "test": 0.1}

#: If a component joins subjects that earlier were in different splits: what a model may have been trained on stays
#: training data.
_PINNED_ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class RowKeys:
    """What decides in which component a row is."""

    subject_id: str
    """The person of the row."""
    partner_subject_id: str | None
    """The other person; None where one is seen."""
    source_id: str
    """The file the row was cut from."""
    dyad_id: str
    """The pair."""
    kinship: str
    """blood joins the two to one family."""
    weight: float = 1.0
    """How much of its split the row fills, e.g. its frames."""


@dataclass(frozen=True)
class Component:
    """A set of subjects that no split may cut, and the split it got."""

    component_id: str
    """Name, made from the subjects."""
    subjects: tuple[str, ...]
    """Its subjects, sorted."""
    sources: tuple[str, ...]
    """Its sources, sorted."""
    weight: float
    """Sum of the rows' weights."""
    split: str
    """train, validation or test."""


@dataclass(frozen=True)
class Splits:
    """The result: where every subject is."""

    components: tuple[Component, ...]
    """All components, sorted by name."""
    split_of: Mapping[str, str]
    """subject_id -> split."""
    component_of: Mapping[str, str]
    """subject_id -> component_id."""
    family_of: Mapping[str, str]
    """subject_id -> family_id."""


class _Sets:
    """Disjoint sets with path halving."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def find(self, item: Hashable) -> Hashable:
        parent = self._parent
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, first: Hashable, second: Hashable) -> None:
        self._parent[self.find(first)] = self.find(second)


def assign_splits(
    rows: Sequence[RowKeys],
    *,
    seed: int = 0,
    ratios: Mapping[str, float] | None = None,
    pinned: Mapping[str, str] | None = None,
) -> Splits:
    """Divide rows into splits.

    Components are put in the order of a hash of the seed and their first subject, laid end to end by weight, and each
    goes to the split in whose share of the line its middle lies. So the result depends on nothing but the rows and
    the seed, the shares are met as nearly as whole components allow, train is never empty while its share is above one
    half, and when clips are added only components near a border can move.

    Args:
        rows: keys of every row, in any order.
        seed: another seed gives another division.
        ratios: share of each of train, validation and test; they should add up to 1.
        pinned: subject_id -> split of an earlier version; components that hold such a subject stay there.

    Raises:
        ValueError: the ratios are negative, not of the three splits, or do not add up to 1.
    """
    ratios = dict(DEFAULT_RATIOS if ratios is None else ratios)
    if not ratios.keys() <= set(_PINNED_ORDER) or min(ratios.values(), default=-1) < 0:
        raise ValueError(f"split ratios should be shares of {', '.join(_PINNED_ORDER)}, got {ratios}")
    if abs(sum(ratios.values()) - 1.0) > 1e-6:
        raise ValueError(f"split ratios should add up to 1, got {sum(ratios.values()):g}")

    sets, kin = _Sets(), _Sets()
    for row in rows:
        kin.find(row.subject_id)
        subject = ("subject", row.subject_id)
        sets.join(subject, ("source", row.source_id))
        sets.join(subject, ("dyad", row.dyad_id))
        if row.partner_subject_id is not None:
            kin.find(row.partner_subject_id)
            sets.join(subject, ("subject", row.partner_subject_id))
            if row.kinship == "blood":
                kin.join(row.subject_id, row.partner_subject_id)

    members: dict[Hashable, set[str]] = {}
    sources: dict[Hashable, set[str]] = {}
    weights: dict[Hashable, float] = {}
    for row in sorted(rows, key=lambda row: (row.subject_id, row.dyad_id, row.source_id, row.weight)):
        root = sets.find(("subject", row.subject_id))
        seen = [row.subject_id] if row.partner_subject_id is None else [row.subject_id, row.partner_subject_id]
        members.setdefault(root, set()).update(seen)
        sources.setdefault(root, set()).add(row.source_id)
        weights[root] = weights.get(root, 0.0) + row.weight

    def place(root: Hashable) -> str:
        return _hash(f"{seed}", min(members[root]))

    order = sorted(members, key=lambda root: (place(root), min(members[root])))
    total, before = sum(weights.values()), 0.0
    components = []
    for root in order:
        middle = (before + weights[root] / 2) / total if total else 0.0
        before += weights[root]
        subjects = tuple(sorted(members[root]))
        earlier = {(pinned or {}).get(subject) for subject in subjects}
        split = next((name for name in _PINNED_ORDER if name in earlier), None) or _split_at(middle, ratios)
        components.append(
            Component(f"comp_{_hash(*subjects)[:16]}", subjects, tuple(sorted(sources[root])), weights[root], split)
        )
    components.sort(key=lambda component: component.component_id)
    return Splits(
        components=tuple(components),
        split_of={subject: component.split for component in components for subject in component.subjects},
        component_of={subject: component.component_id for component in components for subject in component.subjects},
        family_of=_families(kin, {subject for subjects in members.values() for subject in subjects}),
    )


def leaks(rows: Iterable[tuple[RowKeys, str]]) -> list[str]:
    """What is in more than one split: subjects, sources, dyads and families, as sentences.

    Args:
        rows: keys and split of every row.
    """
    pairs = list(rows)
    kin = _Sets()
    for row, _ in pairs:
        kin.find(row.subject_id)
        if row.partner_subject_id is not None and row.kinship == "blood":
            kin.join(row.subject_id, row.partner_subject_id)
    seen: dict[tuple[str, str], set[str]] = {}
    names = _families(kin, {row.subject_id for row, _ in pairs})
    for row, split in pairs:
        keys = [("subject", row.subject_id), ("source", row.source_id), ("dyad", row.dyad_id)]
        keys.append(("family", names[row.subject_id]))
        if row.partner_subject_id is not None:
            keys.append(("subject", row.partner_subject_id))
        for key in keys:
            seen.setdefault(key, set()).add(split)
    return [
        f"{kind} {name} is in {' and '.join(sorted(splits))}"
        for (kind, name), splits in sorted(seen.items())
        if len(splits) > 1
    ]


def _families(kin: _Sets, subjects: set[str]) -> dict[str, str]:
    groups: dict[Hashable, list[str]] = {}
    for subject in sorted(subjects):
        groups.setdefault(kin.find(subject), []).append(subject)
    return {subject: f"fam_{_hash(*group)[:16]}" for group in groups.values() for subject in group}


def _split_at(position: float, ratios: Mapping[str, float]) -> str:
    border = 0.0
    for name in _PINNED_ORDER:
        border += ratios.get(name, 0.0)
        if position < border - 1e-12:
            return name
    return max(ratios, key=lambda name: (ratios[name], name))


def _hash(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part.encode()).to_bytes(4, "little") + part.encode())
    return digest.hexdigest()
