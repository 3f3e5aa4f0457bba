"""A made subject: the open head with blotched skin on a torso of its own, and pictures of it; everything is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.avatar.footage import Footage
from model.avatar.posing import Torso, pose_on_torso, rest_pose
from model.camera import Camera
from model.head import HeadModel, load_head
from model.raster import interpolate, rasterize

SIZE = 64
FRAMES = 40
CAMERA = Camera(250.0, 250.0, 35.0, 26.0, SIZE, SIZE)


@pytest.fixture(scope="session")
def head() -> HeadModel:
    return load_head()


def made_codes(head: HeadModel, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A talking, nodding head: smooth curves."""
    rng = np.random.default_rng(seed)
    t = np.arange(count)[:, None] / 25

    def curve(size: int, scale: float) -> np.ndarray:
        return scale * np.sin(2 * np.pi * (t * rng.uniform(0.3, 1.2, size) + rng.random(size)))

    codes = {
        "expression": 0.1 + curve(head.num_expression, 0.1),
        "jaw": np.concatenate([0.12 + curve(1, 0.12), curve(2, 0.01)], axis=1),
        "neck": np.zeros((count, 3)),
        "eyes": curve(6, 0.1),
        "rotation": curve(3, 0.08),
        "translation": np.array([0.0, 0.02, 0.95]) + curve(3, 0.005),
    }
    return {name: value.astype(np.float32) for name, value in codes.items()}


def vertex_paint(head: HeadModel) -> torch.Tensor:
    """(V, 3) blotches of several sizes on a skin colour; dark lips, white teeth."""
    rng = np.random.default_rng(1)
    places = head.v_template.numpy()
    colour = np.full((len(places), 3), (0.62, 0.48, 0.40))
    for scale, strength in ((0.05, 0.1), (0.02, 0.15)):
        for _ in range(6):
            colour += strength / 4 * np.sin((places @ (rng.normal(size=3) / scale))[:, None] + rng.uniform(0, 6, 3))
    colour[head.groups["lips"].numpy()] *= (1.1, 0.5, 0.5)
    colour[head.groups["teeth"].numpy()] = 0.9
    return torch.from_numpy(np.clip(colour, 0, 1).astype(np.float32))


def made_pictures(head: HeadModel, codes: dict[str, np.ndarray], camera: Camera, torso: Torso) -> np.ndarray:
    """(T, H, W, 4) uint8: colour before a grey wall, and the matte."""
    tensors = {name: torch.from_numpy(value) for name, value in codes.items()}
    body = torso.pose(tensors, rest_pose(tensors["rotation"], tensors["translation"]))
    with torch.no_grad():
        vertices = pose_on_torso(head, head.shaped(torch.zeros(head.num_shape)), tensors, body)
    fragments = rasterize(vertices, head.faces, camera)
    colours = interpolate(fragments, head.faces, vertex_paint(head)[None])
    image = torch.where(fragments.mask[..., None], colours, 0.3)
    both = torch.cat([image, fragments.mask[..., None].float()], dim=-1)
    return (both * 255).round().to(torch.uint8).numpy()


class Recorder:
    """Pictures in memory, which note what is asked of them."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.spans: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> np.ndarray:
        self.spans.append((start, stop))
        return self.values[start:stop]


def footage_of(head: HeadModel, codes: dict[str, np.ndarray], images: np.ndarray, camera: Camera = CAMERA) -> Footage:
    count = len(images)
    return Footage(
        "row_made", camera, np.zeros(head.num_shape, np.float32), codes, np.ones(count, bool),
        Recorder(images[..., :3]), Recorder(images[..., 3]), head.id,
    )  # fmt: skip


@pytest.fixture(scope="session")
def codes(head: HeadModel) -> dict[str, np.ndarray]:
    return made_codes(head, FRAMES)


@pytest.fixture(scope="session")
def images(head: HeadModel, codes: dict[str, np.ndarray]) -> np.ndarray:
    return made_pictures(head, codes, CAMERA, Torso.still())


@pytest.fixture
def footage(head: HeadModel, codes: dict[str, np.ndarray], images: np.ndarray) -> Footage:
    return footage_of(head, codes, images)


@pytest.fixture
def changed(footage: Footage) -> Callable[..., Footage]:
    """The footage with some of its fields replaced."""
    return lambda **fields: replace(footage, **fields)
