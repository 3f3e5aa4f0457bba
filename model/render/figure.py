"""A person as something that is drawn: an avatar or a mesh, a camera, and where the head stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from model.avatar.draw import complete_codes, draw_frames
from model.avatar.orbit import standing_shape
from model.camera import Camera
from model.head import HeadModel
from model.motion.layout import CODE_OF_GROUP
from model.render.mesh import MeshPaint, draw_mesh, mesh_paint

Codes = Mapping[str, np.ndarray]
_BATCH = 4


@dataclass(frozen=True)
class Stand:
    """Where a head stands before which camera."""

    camera: Camera
    """Intrinsics; scaled to the picture's size."""
    translation: np.ndarray
    """(3,) float32 metres."""
    rotation: np.ndarray
    """(3,) float32 usual rotation of the head, axis-angle: where shoulders stay."""

    @property
    def rest(self) -> Tensor:
        """(6,) rotation and translation."""
        return torch.from_numpy(np.concatenate([self.rotation, self.translation]).astype(np.float32))


@dataclass(frozen=True, eq=False)
class AvatarFigure:
    """A person with an avatar."""

    avatar: Avatar
    """On the device that draws."""
    head: HeadModel
    """The avatar's own, on that device."""
    stand: Stand
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    light: Tensor | None = None
    """(4, 3) light of a row the avatar was fitted to."""

    @cached_property
    def _personal(self) -> tuple[Avatar, HeadModel]:
        """Avatar and head with the offsets in the template, so that they are not added for every frame."""
        return replace(self.avatar, offsets=None), self.avatar.personal(self.head)

    def pictures(self, codes: Codes, size: int, threads: int = 1) -> Iterator[np.ndarray]:
        """Pictures (H, size, 3) uint8 RGB of complete codes (T, .), one at a time."""
        avatar, head = self._personal
        frames = draw_frames(
            avatar, head, codes, self.stand.camera, size=_sides(self.stand.camera, size),
            background=torch.tensor(self.background), rest=self.stand.rest, light=self.light, threads=threads,
        )  # fmt: skip
        for rgb, _ in frames:
            yield from (255 * rgb).round().to(torch.uint8).cpu().numpy()


@dataclass(frozen=True, eq=False)
class MeshFigure:
    """A person without one."""

    shape: np.ndarray
    """(S,) float32 shape code."""
    head: HeadModel
    """On the CPU."""
    stand: Stand
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @cached_property
    def _paint(self) -> MeshPaint:
        return mesh_paint(self.head)

    @torch.no_grad()
    def pictures(self, codes: Codes, size: int, threads: int = 1) -> Iterator[np.ndarray]:
        """Pictures (H, size, 3) uint8 RGB of complete codes (T, .), one at a time."""
        camera = self.stand.camera.scaled(*_sides(self.stand.camera, size))
        given = complete_codes(self.head, {name: value for name, value in codes.items() if name != "torso"})
        shape = torch.from_numpy(np.array(self.shape, np.float32))
        for first in range(0, len(given["rotation"]), _BATCH):
            part = {name: value[first : first + _BATCH] for name, value in given.items()}
            vertices, _ = self.head.pose(shape, **part)
            yield from draw_mesh(self._paint, vertices, camera, self.background, threads=threads)


Figure = AvatarFigure | MeshFigure
"""What draws a person."""


def _sides(camera: Camera, size: int) -> tuple[int, int]:
    """Width and height of the pictures, both even."""
    return size, round(size * camera.height / camera.width / 2) * 2


def standing_at_rest(head: HeadModel, shape: np.ndarray) -> Stand:
    """A head a metre before a camera, looking into it: for people of whom no footage says where they stood."""
    codes, camera, _ = standing_shape(head, torch.from_numpy(np.array(shape, np.float32)))
    # Nearer than for a camera that swings: the rim of the shoulders lies below the picture.
    camera = camera.crop_square(61, 40, 390, camera.width)
    return Stand(camera, codes["translation"][0].cpu().numpy(), np.zeros(3, np.float32))


def predicted_codes(motion: Mapping[str, np.ndarray], stand: Stand) -> dict[str, np.ndarray]:
    """Complete codes (T, .) of a predicted motion: the neck is straight, and the head stays where it stands.

    Args:
        motion: group (``model.motion.layout.GROUPS``) -> (T, d).
        stand: where that is.
    """
    codes = {CODE_OF_GROUP[name]: np.asarray(value, np.float32) for name, value in motion.items()}
    count = len(codes["jaw"])
    return codes | {
        "neck": np.zeros((count, 3), np.float32),
        "translation": np.repeat(stand.translation[None].astype(np.float32), count, axis=0),
    }
