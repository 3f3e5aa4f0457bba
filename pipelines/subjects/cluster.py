"""From scored pairs to subjects: agglomeration by mean log odds, under what may not and what must be joined."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence


def cluster(
    num: int,
    pairs: Iterable[tuple[int, int, float]],
    threshold: float,
    *,
    missing: float,
    apart: Sequence[Iterable[Hashable]],
    labels: Sequence[Hashable | None],
    together: Iterable[tuple[int, int]] = (),
    forbidden: Iterable[tuple[int, int]] = (),
) -> list[int]:
    """Group items by average linkage on a sparse graph.

    Two groups are joined while the mean log odds over all pairs between them reach the threshold, the best first.
    Never joined are groups that share a mark in ``apart`` (two people of one clip), groups of two labels (two names),
    and groups with a pair in ``forbidden``.

    Args:
        num: number of items.
        pairs: (i, j, log odds), each pair once, in any order: the result does not depend on it.
        threshold: least mean log odds.
        missing: log odds of pairs that are not listed.
        apart: marks of every item.
        labels: label of every item, or None; items of one label are joined from the start.
        together: pairs that are joined from the start.
        forbidden: pairs that are never joined.

    Returns:
        For every item the smallest item of its group.

    Raises:
        ValueError: ``together`` asks for what may not be; its text names the two items.
    """
    root = list(range(num))

    def find(item: int) -> int:
        while root[item] != item:
            root[item] = root[root[item]]
            item = root[item]
        return item

    members = {i: [i] for i in range(num)}
    marks = {i: set(apart[i]) for i in range(num)}
    names = {i: {labels[i]} - {None} for i in range(num)}
    enemies: dict[int, set[int]] = {i: set() for i in range(num)}
    for i, j in forbidden:
        enemies[i].add(j)
        enemies[j].add(i)

    def allowed(a: int, b: int) -> bool:
        if marks[a] & marks[b] or len(names[a] | names[b]) > 1:
            return False
        small, large = sorted((a, b), key=lambda g: len(enemies[g]))
        return not any(find(enemy) == large for enemy in enemies[small])

    def join(a: int, b: int) -> int:
        a, b = min(a, b), max(a, b)
        root[b] = a
        members[a] += members.pop(b)
        marks[a] |= marks.pop(b)
        names[a] |= names.pop(b)
        enemies[a] |= enemies.pop(b)
        return a

    first_of: dict[Hashable, int] = {}
    for i, label in enumerate(labels):
        if label is not None:
            # One name on both people of a clip cannot be right for both; each then stays with its own clip's marks.
            other = find(first_of.setdefault(label, i))
            if other != find(i):
                join(other, find(i))
    for i, j in sorted(together):
        a, b = find(i), find(j)
        if a != b:
            if not allowed(a, b):
                raise ValueError(f"{i} and {j} cannot be one")
            join(a, b)

    links: dict[int, dict[int, tuple[float, int]]] = {group: {} for group in members}
    for i, j, logit in sorted(pairs):
        a, b = find(i), find(j)
        if a != b:
            total, count = links[a].get(b, (0.0, 0))
            links[a][b] = links[b][a] = (total + logit, count + 1)

    def mean(a: int, b: int) -> float:
        total, count = links[a][b]
        size = len(members[a]) * len(members[b])
        return (total + (size - count) * missing) / size

    heap: list[tuple[float, int, int, int, int]] = []
    age = dict.fromkeys(members, 0)

    def push(a: int, b: int) -> None:
        a, b = min(a, b), max(a, b)
        if (value := mean(a, b)) >= threshold and allowed(a, b):
            heapq.heappush(heap, (-value, a, b, age[a], age[b]))

    for a in sorted(links):
        for b in links[a]:
            if a < b:
                push(a, b)
    while heap:
        _, a, b, age_a, age_b = heapq.heappop(heap)
        if age.get(a) != age_a or age.get(b) != age_b or not allowed(a, b):
            continue
        mine, theirs = links.pop(a), links.pop(b)
        join(a, b)
        age[a] += 1
        del age[b]
        merged: dict[int, tuple[float, int]] = {}
        for other in (mine.keys() | theirs.keys()) - {a, b}:
            one, two = mine.get(other, (0.0, 0)), theirs.get(other, (0.0, 0))
            merged[other] = (one[0] + two[0], one[1] + two[1])
            links[other].pop(b, None)
            links[other][a] = merged[other]
        links[a] = merged
        for other in sorted(merged):
            push(a, other)
    return [min(members[find(i)]) for i in range(num)]
