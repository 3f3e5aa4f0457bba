"""The seeded choices that make one synthetic person look unlike another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SKIN_TONES = ((0.66, 0.42, 0.31), (0.58, 0.345, 0.245), (0.47, 0.27, 0.175), (0.33, 0.17, 0.10), (0.19, 0.09, 0.052))
"""Linear albedo from light to dark."""

HAIR_COLOURS = (
    (0.012, 0.010, 0.009),
    (0.035, 0.019, 0.011),
    (0.085, 0.045, 0.022),
    (0.16, 0.085, 0.038),
    (0.38, 0.25, 0.12),
    (0.20, 0.062, 0.022),
    (0.30, 0.29, 0.28),
)
IRIS_COLOURS = ((0.10, 0.045, 0.018), (0.055, 0.026, 0.012), (0.12, 0.20, 0.30), (0.13, 0.17, 0.09), (0.20, 0.22, 0.23))


@dataclass(frozen=True)
class Traits:
    """The choices that make one person look unlike another."""

    seed: int
    """Seed of all noise."""
    skin: tuple[float, float, float]
    """Linear albedo."""
    freckles: float
    """Share of freckle cells that hold one, 0..1."""
    ruddiness: float
    """How red cheeks, nose and ears are, 0..1."""
    beard: float
    """Density of shaven or short beard, 0 (none) to 1 (full)."""
    beard_length: float
    """0: a shadow under the skin, 1: short hair."""
    hair_style: str
    """short, long, receding or bald."""
    hair_colour: tuple[float, float, float]
    """Linear albedo."""
    hair_volume_m: float
    """Thickness of the hair cap."""
    hairline_m: float
    """How far the hairline is raised."""
    brow_thickness_m: float
    """Half height of the brows."""
    brow_arch: float
    """Curvature of the brows, 1/metres."""
    lip_colour: tuple[float, float, float]
    """Factor on the skin's albedo."""
    iris: tuple[float, float, float]
    """Linear albedo."""
    makeup: float
    """Darkness of the eyelids' rim, 0..1."""
    cloth: tuple[float, float, float]
    """Linear albedo of the shirt."""
    cloth_pattern: str
    """plain, stripes or knit."""


def draw_traits(seed: int) -> Traits:
    """Traits of person number ``seed``."""
    rng = np.random.default_rng([seed, 0x5EED])
    tone = float(rng.uniform(0, len(SKIN_TONES) - 1))
    low = min(int(tone), len(SKIN_TONES) - 2)
    mixed = np.exp((1 - tone + low) * np.log(SKIN_TONES[low]) + (tone - low) * np.log(SKIN_TONES[low + 1]))
    skin = mixed * np.exp(rng.normal(0, [0.03, 0.04, 0.06]))
    masculine = bool(rng.random() < 0.5)
    dark = tone > 2.2
    weights = np.array([5, 4, 0.6, 0.2, 0.05, 0.05, 1] if dark else [1.2, 2, 2, 1.6, 1.6, 0.9, 0.9])
    colour = int(rng.choice(len(HAIR_COLOURS), p=weights / weights.sum()))
    hair = np.array(HAIR_COLOURS[colour]) * np.exp(rng.normal(0, 0.12, 3))
    styles = (["short", "receding", "bald"], [0.72, 0.2, 0.08]) if masculine else (["long", "short"], [0.72, 0.28])
    style = str(rng.choice(styles[0], p=styles[1]))
    lip = np.array([0.78, 0.55, 0.56]) if masculine else np.array([0.74, 0.42, 0.46])
    iris_weights = np.array([5, 6, 0.2, 0.4, 0.1] if dark else [3, 1, 2.5, 2, 1.5])
    hue = rng.uniform(0.35, 1, 3)
    cloth = np.clip(0.04 + 0.5 * rng.uniform(0.05, 1) * hue / hue.max(), 0.02, 0.7)
    return Traits(
        seed=int(rng.integers(0, 2**31)),
        skin=_rgb(skin),
        freckles=float(np.clip(rng.normal(0.25, 0.25), 0.02, 0.9)) * (0.3 if dark else 1.0),
        ruddiness=float(rng.uniform(0.2, 0.9)),
        beard=float(rng.uniform(0.1, 1.0)) if masculine else 0.0,
        beard_length=float(rng.choice([0.0, 0.0, 1.0]) * rng.uniform(0.5, 1.0)) if masculine else 0.0,
        hair_style=style,
        hair_colour=_rgb(hair),
        hair_volume_m=float(rng.uniform(0.006, 0.016)) if style != "bald" else 0.0,
        hairline_m=float(rng.normal(0.0, 0.003) + (0.022 if style == "receding" else 0.0)),
        brow_thickness_m=float(rng.uniform(0.0032, 0.0052) if masculine else rng.uniform(0.0022, 0.0036)),
        brow_arch=float(rng.uniform(3.0, 7.0)),
        lip_colour=_rgb(lip * np.exp(rng.normal(0, 0.05) + rng.normal(0, 0.02, 3))),
        iris=_rgb(np.array(IRIS_COLOURS[int(rng.choice(len(IRIS_COLOURS), p=iris_weights / iris_weights.sum()))])),
        makeup=0.15 if masculine else float(rng.uniform(0.3, 0.9)),
        cloth=_rgb(cloth),
        cloth_pattern=str(rng.choice(["plain", "stripes", "knit"])),
    )


def _rgb(values: np.ndarray) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    return r, g, b
