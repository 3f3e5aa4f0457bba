"""The descriptor of a face: alignment, what light does to it, and what it does not see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.shape.appearance import (
    HEIGHT,
    WIDTH,
    align,
    colour_vector,
    layout,
    linear,
    normalised,
    regions,
    texture,
)
from pipelines.shape.pack import pack, unpack


def picture(seed: int, size: int = 400) -> np.ndarray:
    """A smooth random picture."""
    import cv2

    noise = np.random.default_rng(seed).random((size // 16, size // 16, 3)).astype(np.float32)
    return (cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)


def landmarks(scale: float, angle: float, shift: tuple[float, float]) -> np.ndarray:
    """The layout's face, turned and scaled, as 478 landmarks (the irises anywhere)."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (layout().points - [WIDTH / 2, HEIGHT / 2]) @ turn.T * scale + shift
    return np.concatenate([points, np.zeros((10, 2))])


def test_a_face_in_the_layouts_place_is_left_as_it_is() -> None:
    face = picture(0)
    out = align(face, landmarks(1.0, 0.0, (200.0, 200.0)))
    cut = face[200 - HEIGHT // 2 : 200 + HEIGHT // 2, 200 - WIDTH // 2 : 200 + WIDTH // 2]
    inside = layout().inside
    assert np.abs(out[inside] - cut[inside]).max() <= 1.5
    assert (out[~inside] == 0).all() and 0.6 < inside.mean() < 0.9


def test_size_and_tilt_of_a_face_hardly_count() -> None:
    face = picture(1)
    straight = align(face, landmarks(1.0, 0.0, (200.0, 200.0)))
    import cv2

    matrix = cv2.getRotationMatrix2D((199.5, 199.5), np.degrees(-0.3), 1.5)
    turned = align(cv2.warpAffine(face, matrix, (400, 400)), landmarks(1.5, 0.3, (200.0, 200.0)))
    assert np.abs(turned - straight)[layout().inside].mean() < 3.0
    assert texture(straight) @ texture(turned) > 1.9 > texture(straight) @ texture(align(picture(2), landmarks(
        1.0, 0.0, (200.0, 200.0)
    )))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.4, 1.0), st.integers(0, 50))
def test_a_dimmer_light_leaves_the_texture(gain: float, seed: int) -> None:
    face = align(picture(seed), landmarks(1.0, 0.0, (200.0, 200.0))) + 20.0
    assert texture(face) @ texture(gain * face) > 1.97
    assert np.linalg.norm(texture(face)) == pytest.approx(np.sqrt(2), abs=1e-5)


def test_nothing_outside_the_face_counts() -> None:
    face = align(picture(3), landmarks(1.0, 0.0, (200.0, 200.0)))
    grey = face.mean(axis=2)
    noisy = np.where(layout().inside, grey, np.random.default_rng(0).random(grey.shape) * 255)
    np.testing.assert_array_equal(normalised(grey), normalised(noisy.astype(np.float32)))


def test_colours_of_regions_and_what_light_leaves_of_them() -> None:
    at = landmarks(2.0, 0.0, (200.0, 220.0))
    face = np.zeros((400, 400, 3), np.uint8)
    face[:] = (180, 140, 120)
    face[: int(at[10, 1])] = (60, 40, 30)  # hair above the forehead
    seen = regions(face, np.full((400, 400), 255, np.uint8), at)
    np.testing.assert_allclose(seen[0], linear(np.array([180, 140, 120])), atol=1e-9)
    np.testing.assert_allclose(seen[3], linear(np.array([60, 40, 30])), atol=1e-9)
    np.testing.assert_allclose(colour_vector(seen), colour_vector(0.5 * seen), atol=1e-9)
    hidden = regions(face, np.where(np.arange(400)[:, None] < at[10, 1], 0, 255).repeat(400, 1).astype(np.uint8), at)
    assert np.isnan(hidden[3]).all() and np.isfinite(hidden[:3]).all()  # no head there: no hair


def test_half_a_matrix_says_it_all() -> None:
    matrix = np.random.default_rng(0).standard_normal((7, 7))
    matrix = matrix @ matrix.T
    np.testing.assert_allclose(unpack(pack(matrix)), matrix, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="triangle"):
        unpack(np.zeros(7, np.float32))
