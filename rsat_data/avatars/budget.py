"""Times as people write them: 90s, 3m, 1h."""

from __future__ import annotations

import re

from rsat_data.errors import UsageError

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
LEAST_S, MOST_S = 1.0, 7 * 24 * 3600.0


def parse_budget(text: str) -> float:
    """Seconds of ``90s``, ``3m``, ``1.5h`` or a bare number of seconds.

    Raises:
        UsageError: it is no such time, or an absurd one.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(s|m|min|h|)", text.strip().lower())
    if found is None:
        raise UsageError(
            f"--budget {text!r} is not a time.",
            hint="Write a number and s, m or h: --budget 90s, --budget 3m, --budget 1h",
        )
    seconds = float(found[1]) * _UNITS[found[2]]
    if not LEAST_S <= seconds <= MOST_S:
        raise UsageError(f"--budget {text!r} is outside of 1 s to 7 days.", hint="For a laptop, 3m is a good start.")
    return seconds


def clock(seconds: float) -> str:
    """A time for people: ``45 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
