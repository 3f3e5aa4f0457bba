"""Seeded still backgrounds: a room out of focus."""

from __future__ import annotations

import cv2
import numpy as np


def make_background(width: int, height: int, seed: int) -> np.ndarray:
    """A wall with light falling on it, furniture-like shapes, pictures, a lamp; blurred as by a lens focused in front.

    Returns:
        (height, width, 3) float32 linear RGB, about 0.02 to 0.8.
    """
    rng = np.random.default_rng([seed, 0xBAC6])
    small_w, small_h = 480, max(2, round(480 * height / width))
    x = np.linspace(0, 1, small_w, dtype=np.float32)[None]
    y = np.linspace(0, 1, small_h, dtype=np.float32)[:, None]
    wall = rng.uniform(0.10, 0.42) * np.exp(rng.normal(0, 0.22, 3))
    spot_x, spot_y = rng.uniform(0.1, 0.9), rng.uniform(-0.2, 0.5)
    fall = 0.55 + 0.9 * np.exp(-((x - spot_x) ** 2 + 0.6 * (y - spot_y) ** 2) / rng.uniform(0.15, 0.5))
    image = (fall[..., None] * wall).astype(np.float32)
    image *= 1 + 0.06 * rng.standard_normal(image.shape[:2], dtype=np.float32)[..., None]
    if rng.random() < 0.6:
        _shelves(image, rng)
    for _ in range(int(rng.integers(1, 4))):
        _picture(image, rng)
    if rng.random() < 0.5:
        _window(image, rng)
    if rng.random() < 0.5:
        centre = (int(rng.uniform(0.05, 0.95) * small_w), int(rng.uniform(0.15, 0.5) * small_h))
        glow = np.zeros(image.shape[:2], np.float32)
        cv2.ellipse(glow, centre, (int(rng.uniform(12, 26)), int(rng.uniform(14, 30))), 0, 0, 360, 1.0, -1)
        halo = cv2.GaussianBlur(glow, (0, 0), 40) * 3
        image += (glow + halo)[..., None] * np.array([0.75, 0.55, 0.32], np.float32) * rng.uniform(0.4, 0.9)
    image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(2.5, 6.0)))
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0.004, 0.95)


def _colour(rng: np.random.Generator, low: float, high: float) -> tuple[float, ...]:
    hue = rng.uniform(0.25, 1, 3)
    return tuple(float(v) for v in rng.uniform(low, high) * hue / hue.max())


def _shelves(image: np.ndarray, rng: np.random.Generator) -> None:
    """A rack of shelves with books."""
    height, width = image.shape[:2]
    left = int(rng.uniform(-0.1, 0.75) * width)
    right = left + int(rng.uniform(0.25, 0.5) * width)
    wood = _colour(rng, 0.03, 0.2)
    tall = int(rng.uniform(0.17, 0.24) * height)
    for top in range(int(rng.uniform(-0.1, 0.1) * height), height, tall):
        cv2.rectangle(image, (left, top), (right, top + tall), tuple(0.5 * v for v in wood), -1)
        place = left + 4
        while place < right - 6:
            thick = int(rng.integers(4, 13))
            if rng.random() < 0.85:
                up = top + tall - int(rng.uniform(0.45, 0.85) * tall)
                cv2.rectangle(image, (place, up), (place + thick - 1, top + tall), _colour(rng, 0.03, 0.5), -1)
            place += thick
        cv2.rectangle(image, (left, top + tall - 4), (right, top + tall), wood, -1)


def _picture(image: np.ndarray, rng: np.random.Generator) -> None:
    """A frame with bands of colour in it."""
    height, width = image.shape[:2]
    w, h = int(rng.uniform(0.08, 0.2) * width), int(rng.uniform(0.15, 0.35) * height)
    x, y = int(rng.uniform(-0.05, 0.95) * width), int(rng.uniform(0.02, 0.4) * height)
    cv2.rectangle(image, (x - 3, y - 3), (x + w + 3, y + h + 3), _colour(rng, 0.02, 0.25), -1)
    cv2.rectangle(image, (x, y), (x + w, y + h), _colour(rng, 0.2, 0.7), -1)
    # Bands, like a landscape. (Round spots in a frame are taken for a face by face detectors: seen.)
    edge = y
    for _ in range(int(rng.integers(2, 5))):
        top = edge + int(rng.uniform(0.1, 0.35) * h)
        if top >= y + h:
            break
        cv2.rectangle(image, (x, top), (x + w, y + h), _colour(rng, 0.05, 0.6), -1)
        edge = top


def _window(image: np.ndarray, rng: np.random.Generator) -> None:
    """A bright window with a cross of bars."""
    height, width = image.shape[:2]
    w, h = int(rng.uniform(0.14, 0.26) * width), int(rng.uniform(0.4, 0.6) * height)
    x, y = int(rng.uniform(-0.1, 0.95) * width), int(rng.uniform(0.0, 0.15) * height)
    sky = np.linspace(0.85, 0.55, h, dtype=np.float32)[:, None, None] * np.array([0.8, 0.92, 1.0], np.float32)
    x0, x1, y1 = max(0, x), min(width, x + w), min(height, y + h)
    if x1 <= x0 or y1 <= y:
        return
    image[y:y1, x0:x1] = sky[: y1 - y]
    bar = (0.45, 0.43, 0.40)
    cv2.line(image, (x + w // 2, y), (x + w // 2, y + h), bar, 4)
    cv2.line(image, (x, y + h // 2), (x + w, y + h // 2), bar, 4)
    cv2.rectangle(image, (x, y), (x + w, y + h), bar, 5)
