"""Names of expression codes: shares of a named movement (ARKit's, in [0, 1]), or numbered components of a statistic."""

from __future__ import annotations

import re

_COMPONENT = re.compile(r"exp_\d{3}")


def component_names(count: int) -> tuple[str, ...]:
    """Names of ``count`` principal components, as FLAME's expressions are: exp_000, exp_001..."""
    return tuple(f"exp_{i:03d}" for i in range(count))


def is_share(name: str) -> bool:
    """Whether a code is the share of a named movement, at home in [0, 1]; else it is a component, N(0, 1), any sign."""
    return _COMPONENT.fullmatch(name) is None
