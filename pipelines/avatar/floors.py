"""An avatar against its floors: what anybody gets without one. One that is not above all of them is worth nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from model.avatar.evaluate import FLOORS

FIGURE = "psnr_foreground"
"""What they are compared by, dB."""


def against_floors(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Floor -> psnr (dB, foreground of held-out frames; None where it could not be told) and above: the avatar's is
    higher. A figure that could not be told is not above anything.

    Args:
        metrics: as in a fit's report.
    """
    ours = metrics["avatar"][FIGURE]
    found = {}
    for name in FLOORS:
        if name in metrics:
            theirs = metrics[name][FIGURE]
            found[name] = {"psnr": theirs if math.isfinite(theirs) else None, "above": bool(ours > theirs)}
    return found


def describe(psnr: float, floors: Mapping[str, Mapping[str, Any]], matte: str, gaussians: int, seconds: float) -> str:
    """One line for people: the figure, every floor, and whether the avatar is above them."""

    def words(above: bool) -> str:
        return ", ".join(
            f"{name} {'?' if floor['psnr'] is None else format(floor['psnr'], '.1f')}"
            for name, floor in floors.items()
            if floor["above"] == above
        )

    parts = [f"{psnr:.1f} dB on held-out time"]
    if below := words(False):
        parts.append(f"NOT above the floor {below}")
    if over := words(True):
        parts.append(f"above {over}")
    if matte == "mesh":
        parts.append("no matte: judged inside of the mesh's outline")
    return "; ".join(parts) + f"; {gaussians} Gaussians, {seconds:.0f} s"
