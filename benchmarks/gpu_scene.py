"""What the checks of GPU paths look at: someone talking before a camera, landmarks and pictures of it, all made.

The skin is also that of the tests of photometric refinement.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from model.camera import Camera
from model.fitting import reference
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.head import HeadModel, load_head
from model.photometric import view
from model.photometric.config import PhotometricConfig
from model.photometric.surface import Surface, make_surface

_GROUND = 0.3
"""Grey behind the head."""
_AT_ONCE = 16
"""Frames drawn at once."""


@lru_cache(maxsize=1)
def head() -> HeadModel:
    """The open head."""
    return load_head()


@lru_cache(maxsize=1)
def model() -> LandmarkModel:
    """Its landmarks."""
    return landmark_model(head())


def codes(frames: int) -> dict[str, torch.Tensor]:
    """Someone talking, nodding and blinking before a camera 0.7 m away: ``HeadModel.pose``'s arguments."""
    rng = np.random.default_rng(7)
    here, time_s = head(), np.arange(frames) / 25

    def wave(columns: int, size: float, lowest: float, highest: float) -> np.ndarray:
        speed, start = rng.uniform(lowest, highest, columns), rng.uniform(0, 6, columns)
        return size * np.sin(2 * np.pi * time_s[:, None] * speed + start)

    expression = np.clip(0.15 + wave(here.num_expression, 0.15, 0.2, 1.5), 0, 1)
    made = {
        "expression": expression,
        "jaw": np.concatenate([0.1 + wave(1, 0.08, 1.0, 2.0), np.zeros((frames, 2))], axis=1),
        "eyes": np.repeat(wave(3, 0.1, 0.1, 0.5) * [1, 1, 0], 2, axis=0).reshape(frames, 6),
        "rotation": wave(3, 0.15, 0.1, 0.4),
        "translation": wave(3, 0.01, 0.1, 0.3) + [0.0, 0.03, 0.7],
    }
    shape = rng.normal(size=here.num_shape) * 0.7
    return {"shape": torch.tensor(shape).float(), **{key: torch.tensor(value).float() for key, value in made.items()}}


def camera(size: int) -> Camera:
    """A camera of ``size`` x ``size`` pixels, a little off its centre."""
    return Camera(2.2 * size, 2.2 * size, 0.5 * size, 0.47 * size, size, size)


def to(values: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    """The same tensors on a device."""
    return {name: value.to(device) for name, value in values.items()}


@lru_cache(maxsize=2)
def landmarks(frames: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (T, 478, 2) of :func:`codes` with a pixel of noise, and the shape (S,) they were made with."""
    given, here = codes(frames), head()
    origin = given["translation"] + here.J_template[0] + given["shape"] @ here.J_shapedirs[0].T
    motion = torch.cat([given["expression"], given["jaw"], given["eyes"], given["rotation"], origin], dim=1)
    points = reference.landmarks(here, given["shape"], motion, camera(size)).numpy()
    return points + np.random.default_rng(1).normal(size=points.shape), given["shape"].numpy()


def made_skin(surface: Surface, seed: int = 3) -> view.Skin:
    """Blotches of several sizes on a skin colour, light from the upper left."""
    rng = np.random.default_rng(seed)
    template = surface.head.v_template.numpy()
    places = np.einsum("nk,nkx->nx", surface.texel_bary, template[surface.texel_corners])
    colour = np.full((len(places), 3), (0.62, 0.48, 0.40))
    for scale, strength in ((0.03, 0.20), (0.012, 0.25), (0.006, 0.15)):
        for _ in range(8):
            wave, start = rng.normal(size=3) / scale, rng.uniform(0, 6, 3)
            colour += strength / 4 * np.sin((places @ wave)[:, None] + start)
    light = np.zeros((9, 3), np.float32)
    light[:4] = np.array([2.2, -0.5, -0.9, -0.6])[:, None]
    return view.Skin(np.clip(colour, 0, 1).astype(np.float32), np.ones(len(places), bool), light)


def pictures(surface: Surface, vertices: np.ndarray, skin: view.Skin, lens: Camera, gain: np.ndarray) -> np.ndarray:
    """Pictures (T, H, W, 3) uint8 of vertices (T, V, 3) over a grey ground, colours times ``gain`` (T, 3)."""
    image, covered = view.render(surface, view.pose(surface, vertices, lens), skin, gain, lens)
    return np.round(255 * np.where(covered[..., None], image, _GROUND)).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def filmed(frames: int, size: int, config: PhotometricConfig) -> np.ndarray:
    """Pictures (T, H, W, 3) uint8 of :func:`codes`."""
    surface = make_surface(head(), config.samples, config.texel_m)
    skin, lens, given = made_skin(surface), camera(size), codes(frames)
    shape = given.pop("shape")
    shown = np.empty((frames, size, size, 3), np.uint8)
    for first in range(0, frames, _AT_ONCE):
        part = {name: values[first : first + _AT_ONCE] for name, values in given.items()}
        vertices = np.ascontiguousarray(surface.head.pose(shape, **part)[0].numpy())
        shown[first : first + _AT_ONCE] = pictures(surface, vertices, skin, lens, np.ones((len(vertices), 3)))
    return shown
