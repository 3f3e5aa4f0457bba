from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from model.evaluate.intervals import Bootstrap, Cells, mix

BOOTSTRAP = Bootstrap(rounds=999)


def cells(*value: float, weight: tuple[float, ...] | None = None) -> Cells:
    values = np.array(value)
    return Cells(values, np.isfinite(values).astype(float) if weight is None else np.array(weight))


def test_a_figure_is_the_weighted_mean_and_clips_of_a_dyad_go_together() -> None:
    found = BOOTSTRAP.figure(cells(1.0, 3.0, 8.0, weight=(1, 1, 2)), np.array([0, 0, 1]))
    assert found.value == 5.0 and found.dyads == 2 and found.clips == 3


def test_with_few_dyads_the_interval_is_students() -> None:
    values = (1.0, 2.0, 4.0, 7.0)
    found = BOOTSTRAP.figure(cells(*values), np.arange(4))
    reach = student.ppf(0.975, 3) * np.std(values, ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((3.5 - reach, 3.5 + reach)) and found.method == "student"


def test_with_more_dyads_it_is_the_bootstrap_and_the_same_each_time() -> None:
    values = np.random.default_rng(0).lognormal(size=20)
    found = BOOTSTRAP.figure(cells(*values), np.arange(20))
    assert found.method == "bootstrap-t" and found.low < values.mean() < found.high
    assert found == BOOTSTRAP.figure(cells(*values), np.arange(20))
    # Skewed to the right: the upper end is farther away, which percentiles and Student miss.
    assert found.high - found.value > found.value - found.low


def test_gaps_do_not_count_and_nothing_has_a_reason() -> None:
    found = BOOTSTRAP.figure(cells(1.0, np.nan, 3.0), np.arange(3))
    assert found.value == 2.0 and found.dyads == 2 and found.clips == 2
    nothing = BOOTSTRAP.figure(cells(np.nan, np.nan), np.arange(2))
    assert nothing.value is None and nothing.reason
    one = BOOTSTRAP.figure(cells(1.0, 2.0), np.array([0, 0]))
    assert one.value == 1.5 and one.low is None and "one dyad" in one.reason


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(1)
    hard = rng.normal(size=30) * 5 + 20  # how hard a dyad is, for both
    first, second = cells(*(hard + rng.normal(size=30) * 0.3)), cells(*(hard + 1 + rng.normal(size=30) * 0.3))
    dyad = np.arange(30)
    alone = [BOOTSTRAP.figure(one, dyad) for one in (first, second)]
    assert alone[0].high > alone[1].low
    paired = BOOTSTRAP.difference(first, second, dyad)
    assert paired.high < 0 and paired.p < 0.01
    assert paired.value == pytest.approx(alone[0].value - alone[1].value)
    same = BOOTSTRAP.difference(first, first, dyad)
    assert same.value == 0 and same.p == 1


def test_pairs_need_both_figures_but_events_do_not() -> None:
    first, second = cells(1.0, 2.0, np.nan), cells(0.5, np.nan, 3.0)
    dyad = np.arange(3)
    assert BOOTSTRAP.difference(first, second, dyad).clips == 1
    events = BOOTSTRAP.difference(first, second, dyad, pooled=True)
    assert events.clips == 3 and events.value == pytest.approx(1.5 - 1.75)


@pytest.mark.parametrize("dyads", [5, 12, 30])
def test_false_alarms_are_about_five_in_a_hundred(dyads: int) -> None:
    rng = np.random.default_rng(dyads)
    quick = Bootstrap(rounds=399)
    alarms = 0
    for _ in range(300):
        first, second = rng.gamma(2.0, size=(2, dyads))
        found = quick.difference(cells(*first), cells(*second), np.arange(dyads))
        alarms += not found.low <= 0 <= found.high
    assert 2 <= alarms <= 29  # 15 expected; outside once in a thousand


def test_a_mixture_is_the_expectation() -> None:
    mixed = mix([cells(1.0, 4.0), cells(3.0, np.nan)], [0.25, 0.75])
    assert mixed.value == pytest.approx([2.5, 4.0]) and mixed.weight == pytest.approx([1.0, 0.25])
