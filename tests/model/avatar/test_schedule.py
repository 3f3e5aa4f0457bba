from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.avatar.config import AvatarConfig
from model.avatar.schedule import Schedule, background_at, frame_at
from rsat_data.errors import ConfigError


@settings(deadline=None)
@given(steps=st.integers(0, 5000), elapsed=st.floats(0, 400), more=st.floats(0, 50))
def test_progress_and_what_follows_never_go_back(steps: int, elapsed: float, more: float) -> None:
    for config in (AvatarConfig(budget_s=300), AvatarConfig(budget_s=300, max_steps=4000)):
        schedule = Schedule(config)
        now, later = schedule.progress(steps, elapsed), schedule.progress(steps + 7, elapsed + more)
        assert 0 <= now <= later <= 1
        assert schedule.size(now) <= schedule.size(later)
        assert schedule.densify_rounds(now) <= schedule.densify_rounds(later) <= config.densify_rounds
        assert schedule.validations(now) <= schedule.validations(later)
        assert schedule.factor(later, 1000) <= schedule.factor(now, 1000) <= 1


def test_budget_ends_a_fit_and_steps_do() -> None:
    timed = Schedule(AvatarConfig(budget_s=10))
    assert timed.progress(10**6, 9.9) < 1 == timed.progress(3, 10.0)
    stepped = Schedule(AvatarConfig(budget_s=1e6, max_steps=50))
    assert stepped.progress(49, 1e5) < 1 == stepped.progress(50, 0.0)
    # Until the budget is spent, the course is one of steps alone.
    assert stepped.progress(20, 5.0) == stepped.progress(20, 5e5)
    assert stepped.progress(20, 1e6) == 1


@settings(deadline=None)
@given(seed=st.integers(0, 9), count=st.integers(1, 30))
def test_each_epoch_sees_each_frame_once(seed: int, count: int) -> None:
    for epoch in range(3):
        seen = [frame_at(seed, step, count) for step in range(epoch * count, (epoch + 1) * count)]
        assert sorted(seen) == list(range(count))


def test_backgrounds_differ_between_steps_and_repeat_between_runs() -> None:
    assert np.array_equal(background_at(3, 5), background_at(3, 5))
    assert not np.array_equal(background_at(3, 5), background_at(3, 6))


@pytest.mark.parametrize(
    "wrong",
    [{"budget_s": 0}, {"size": 33}, {"size": 8}, {"hold_out": 0.0}, {"mean_lr": float("nan")}, {"sh_degree": 4}],
)
def test_settings_no_fit_can_work_with(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AvatarConfig(**wrong)  # type: ignore[arg-type]
