from __future__ import annotations

import math
from typing import Any

from pipelines.avatar.floors import against_floors, describe


def metrics(**psnr: float) -> dict[str, dict[str, float]]:
    return {name: {"psnr_foreground": value} for name, value in psnr.items()}


def test_every_floor_is_named_with_whether_the_avatar_is_above_it() -> None:
    floors = against_floors(metrics(avatar=18.6, mean=17.4, nearest=21.8, mesh=14.0))
    assert {name: floor["above"] for name, floor in floors.items()} == {"mean": True, "nearest": False, "mesh": True}
    says = describe(18.6, floors, "given", 15128, 20.4)
    assert says == (
        "18.6 dB on held-out time; NOT above the floor nearest 21.8; above mean 17.4, mesh 14.0; 15128 Gaussians, 20 s"
    )
    good = describe(30.0, against_floors(metrics(avatar=30.0, mean=17.4, nearest=21.8, mesh=14.0)), "mesh", 9, 20)
    assert "NOT" not in good and "above mean 17.4, nearest 21.8, mesh 14.0" in good and "mesh's outline" in good


def test_a_figure_that_is_missing_is_above_nothing() -> None:
    nothing: Any = math.nan
    assert not against_floors(metrics(avatar=nothing, mean=10.0))["mean"]["above"]
    floors = against_floors(metrics(avatar=20.0, mean=nothing))
    assert floors == {"mean": {"psnr": None, "above": False}}
    assert "NOT above the floor mean ?" in describe(20.0, floors, "given", 1, 1.0)
    # As good as a floor is not better than it.
    assert not against_floors(metrics(avatar=20.0, mesh=20.0))["mesh"]["above"]
