from __future__ import annotations

import pytest

from rsat_data.avatars.budget import clock, parse_budget
from rsat_data.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("3m", 180), ("1h", 3600), ("1.5h", 5400), ("45", 45), (" 2 M ", 120), ("10min", 600), (".5m", 30)],
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "3 minutes", "-3m", "3d", "1e3", "nan", "0", "0s", "9999h", "3m20s", "٣m"])
def test_other_texts_are_no_times(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        parse_budget(text)


def test_clock() -> None:
    assert [clock(s) for s in (4.4, 65, 3600, 7799.6)] == ["4 s", "1 min 05 s", "1 h 00 min", "2 h 10 min"]
