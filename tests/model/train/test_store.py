from __future__ import annotations

import numpy as np

from model.motion.layout import FAMILIES, MotionLayout
from model.train.stages import Prepared
from model.train.store import statistics


def test_principal_parts_stay_within_their_family(prepared: Prepared) -> None:
    layout, store = prepared.layout, prepared.training
    units = statistics(store, layout, 1.0)
    axes, spread, family = units["axes"], units["spread"], units["family"].astype(int)
    np.testing.assert_allclose(axes @ axes.T, np.eye(layout.size), atol=1e-5)
    assert (np.diff(spread) <= 1e-6).all()
    assert {number: int((family == number).sum()) for number in range(3)} == {0: layout.size - 9, 1: 3, 2: 6}
    where = dict(layout.slices())
    for number, groups in enumerate(FAMILIES):
        own = np.zeros(layout.size, bool)
        for group in groups:
            own[where[group]] = True
        assert not axes[family == number][:, ~own].any()
    # Along its axis motion within clips is as wide as the part says.
    parts, weights = [], []
    for entry in store.entries:
        for person in (0, 1):
            rows = entry.rows(person)
            motion = store.motion[rows][store.valid[rows]].astype(np.float64)
            parts.append((((motion - motion.mean(0)) / units["scale"]) @ axes.T) ** 2)
            weights.append(len(motion))
    found = np.sqrt(np.concatenate(parts).sum(0) / sum(weights))
    np.testing.assert_allclose(found, spread, rtol=1e-2, atol=1e-3)


def test_groups_of_all_families_are_those_of_the_layout() -> None:
    assert [name for groups in FAMILIES for name in groups] == list(MotionLayout(5).widths)
