"""Codes filled up with zeros, and partners who are not seen: neither may make figures better or worse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.evaluate import EvaluateConfig, Predictor, Report, evaluate
from model.evaluate.predictors import truth_of
from model.motion.conversation import Conversation
from rsat_data.errors import ConfigError
from tests.model.evaluate.talks import talk

CONFIG = EvaluateConfig(reference_s=1.0, rounds=100, vertices=False)


def filled_up(conversation: Conversation, width: int) -> Conversation:
    """The same with zeros behind the expression code."""

    def wide(values: np.ndarray) -> np.ndarray:
        return np.pad(values, ((0, 0), (0, width - values.shape[1])))

    codes = {p: {**c, "expression": wide(c["expression"])} for p, c in conversation.codes.items()}
    return replace(conversation, codes=codes)


def late(conversation: Conversation, person: str) -> dict[str, np.ndarray]:
    return {group: np.roll(values, 5, axis=0) for group, values in truth_of(conversation, person).items()}


def figures(report: Report) -> dict[tuple[str, ...], float | None]:
    return {(f.predictor, f.role, f.metric, f.group): f.estimate.value for f in report.figures}


def test_codes_filled_up_with_zeros_have_the_figures_of_the_codes_alone() -> None:
    talks = [talk(i) for i in range(3)]
    model = Predictor("model", "model", "model", late)
    narrow = figures(evaluate({"test": talks}, [model], None, CONFIG))
    wide = [filled_up(one, 12) for one in talks]
    known = figures(evaluate({"test": wide}, [model], None, replace(CONFIG, expression=6)))
    assert known.keys() == narrow.keys()
    for key, value in narrow.items():
        assert known[key] == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)), key
    # Otherwise errors are means over columns that nobody moves.
    unknown = figures(evaluate({"test": wide}, [model], None, CONFIG))
    key = ("model", "all", "mse", "expression")
    assert unknown[key] == pytest.approx(narrow[key] / 2, rel=1e-6)  # type: ignore[operator]
    with pytest.raises(ConfigError, match="at least 1"):
        EvaluateConfig(expression=0)


def test_a_partner_who_is_not_seen_is_not_copied() -> None:
    unseen = np.zeros(150, bool)
    talks = [replace(one, valid={"A": one.valid["A"], "B": unseen}) for one in (talk(i) for i in range(3))]
    report = evaluate({"test": talks}, [], None, CONFIG)
    for metric in ("fd", "mse", "sts"):
        found = report.figure("test", "all", "copy_partner", metric, "expression")
        assert found is not None and found.value is None and found.reason
        other = report.figure("test", "all", "someone_else", metric, "expression")
        assert other is not None and other.value is not None
    shown = np.arange(150) >= 100
    part = [replace(one, valid={"A": one.valid["A"], "B": shown}) for one in talks]
    value = figures(evaluate({"test": part}, [], None, CONFIG))["copy_partner", "all", "mse", "jaw"]

    def error(person: str, other: str) -> float:
        return float(np.mean([((t.codes[person]["jaw"] - t.codes[other]["jaw"])[shown] ** 2).mean() for t in part]))

    assert value == pytest.approx((error("A", "B") + error("B", "A")) / 2, rel=1e-5)
