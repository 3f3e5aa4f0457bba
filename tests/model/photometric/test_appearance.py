"""Texture, light and exposure are found again, hands or not."""

from __future__ import annotations

import numpy as np
import pytest

from model.photometric.appearance import fit_albedo, fit_appearance, fit_gain, shine


def made(seed: int = 0, num: int = 24, points: int = 400) -> tuple[np.ndarray, ...]:
    """Colours (T, K, 3) of points that turn under a light; normals, weights, albedo, light, gain."""
    rng = np.random.default_rng(seed)
    rest = rng.normal(size=(points, 3)) * (1, 1, 0.3) - (0, 0, 1.2)
    rest /= np.linalg.norm(rest, axis=1, keepdims=True)
    angle = 0.5 * np.sin(np.arange(num) / 3)
    turn = np.zeros((num, 3, 3))
    turn[:, 0, 0] = turn[:, 2, 2] = np.cos(angle)
    turn[:, 0, 2], turn[:, 2, 0] = np.sin(angle), -np.sin(angle)
    turn[:, 1, 1] = 1
    normal = np.einsum("tab,kb->tka", turn, rest).astype(np.float32)
    light = np.zeros((9, 3))
    light[0], light[1], light[2], light[3] = 2.4, -0.4, -0.8, (0.6, 0.5, 0.4)
    albedo = np.clip((0.6, 0.45, 0.35) + 0.08 * rng.normal(size=(points, 3)), 0.05, 0.95)
    gain = 1 + 0.1 * np.sin(np.arange(num))[:, None] * np.array([1.0, 0.9, 0.8])
    weight = np.clip(-normal[..., 2] - 0.2, 0, 1).astype(np.float32)
    colour = (albedo * shine(normal, light) * gain[:, None] * 0.8).astype(np.float32)
    return colour, normal, weight, albedo, light, gain


def test_appearance_explains_the_colours_and_gives_the_light_back() -> None:
    colour, normal, weight, albedo, light, gain = made()
    found = fit_appearance(colour, normal, weight, np.ones(400, bool))
    again = shine(normal, found.light) * found.albedo * found.gain[:, None]
    seen = weight > 0
    assert np.abs(again - colour)[seen].mean() < 0.01
    assert np.corrcoef(found.albedo[found.known, 0], albedo[found.known, 0])[0, 1] > 0.9
    at = normal[seen]
    assert np.corrcoef(shine(at, found.light)[:, 1], shine(at, light)[:, 1])[0, 1] > 0.95
    assert np.corrcoef(found.gain[:, 0], gain[:, 0])[0, 1] > 0.9
    assert np.average(shine(normal, found.light).mean(2), weights=weight) == pytest.approx(1.0, abs=1e-3)
    assert found.noise < 0.02


def test_a_hand_before_the_face_leaves_the_texture_alone() -> None:
    colour, normal, weight, *_ = made()
    clean = fit_appearance(colour, normal, weight, np.ones(400, bool))
    spoilt = colour.copy()
    spoilt[3:9, :150] = 0.95
    found = fit_appearance(spoilt, normal, weight, np.ones(400, bool))
    every = np.broadcast_to(weight[:, :150, None] + 1e-6, spoilt[:, :150].shape)
    plain = np.average(spoilt[:, :150], axis=0, weights=every)
    usual = np.average(colour[:, :150], axis=0, weights=every)
    assert np.abs(found.albedo - clean.albedo)[:150].mean() < 0.6 * np.abs(plain - usual).mean()


def test_points_never_seen_are_unknown_and_finite() -> None:
    colour, normal, weight, _, light, gain = made()
    weight[:, :20] = 0
    albedo, known = fit_albedo(colour, normal, weight, light, gain, 0.03)
    assert not known[:20].any() and known[20:].mean() > 0.9
    assert np.isfinite(albedo).all() and albedo.min() >= 0 and albedo.max() <= 1
    gains = fit_gain(colour, np.ones_like(colour), np.zeros_like(weight))
    assert (gains == 1).all()
    with pytest.raises(ValueError, match="No point"):
        fit_appearance(colour, normal, np.zeros_like(weight), np.ones(400, bool))
