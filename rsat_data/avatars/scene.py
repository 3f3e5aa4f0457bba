"""An avatar before a camera: codes, camera, and where the camera goes, to pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.avatar.draw import complete_codes, draw_frames
from model.avatar.footage import from_row
from model.avatar.light import light_of
from model.avatar.orbit import SWING_FRAMES, Swing, middle, standing, swing_of, view_angles
from model.avatar.posing import rest_pose
from model.avatar.torso import track_torso
from model.camera import Camera
from rsat_data.avatars.drive import Drive, close_gaps
from rsat_data.avatars.find import Found
from rsat_data.avatars.jobs import Places
from rsat_data.reader import Row


@dataclass(frozen=True)
class Shot:
    """What is drawn: T frames."""

    found: Found
    codes: dict[str, Tensor]
    """Complete codes (T, .)."""
    camera: Camera
    rest: Tensor
    """(6,) mean head pose of the whole row: where the torso stands."""
    views: Tensor | None = None
    """(T, 4, 4) camera frame of the codes -> camera frame of the pictures; None for the same."""
    drive: Drive | None = None
    """The row's codes; None without a row."""
    light: Tensor | None = None
    """(4, 3) light of a row the avatar was fitted to; None for the mean light of those."""
    swing: Swing | None = None
    """How the camera swings; None for the row's own."""

    def __len__(self) -> int:
        return len(self.codes["rotation"])

    def pictures(
        self, size: int, background: tuple[float, float, float] | None, place: Places
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pictures (height, size, 3) and alpha (height, size) uint8, one frame at a time.

        Args:
            size: width in pixels; the height follows from the camera, and is even.
            background: RGB in [0, 1]; None for colours that are not premultiplied, to go with alpha.
            place: device and threads.
        """
        device = place.devices[0]
        height = round(size * self.camera.height / self.camera.width / 2) * 2
        frames = draw_frames(
            self.found.avatar.to(device),
            self.found.head.to(device),
            self.codes,
            self.camera,
            size=(size, height),
            background=None if background is None else torch.tensor(background),
            rest=self.rest,
            light=self.light,
            views=self.views,
            threads=place.threads,
        )
        for rgb, alpha in frames:
            if background is None:
                rgb = (rgb / alpha[..., None].clamp_min(1e-6)).clamp(0, 1)
            colours = (255 * rgb).round().to(torch.uint8).cpu().numpy()
            opaque = (255 * alpha.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
            yield from zip(colours, opaque, strict=True)


def row_shot(
    found: Found, drive: Drive, turntable: bool = False, torso: np.ndarray | None = None, full_turn: bool = False
) -> Shot:
    """The avatar where and how the row's person is; seen by the row's camera, or by one that swings around it.

    A swing stays near what training saw (:func:`model.avatar.orbit.swing_of`), reckoned from how the row's head stands
    on the whole; ``full_turn`` goes all around instead.

    ``torso`` (T, 6), from :func:`torso_of_row`, puts its shoulders where the row's person has them; without it they
    stay at the row's mean pose.
    """
    codes = complete_codes(found.head, drive.codes if torso is None else {**drive.codes, "torso": torso})
    rest = rest_pose(codes["rotation"], codes["translation"], torch.from_numpy(drive.usable))
    light = light_of(found.avatar, drive.row_id)
    if not (turntable or full_turn):
        return Shot(found, codes, drive.camera, rest, None, drive, light)
    yaw, pitch = (float(angle.median()) for angle in view_angles(found.head, found.avatar.shape, codes))
    swing = Swing(full=True) if full_turn else swing_of(found.avatar.about, (yaw, pitch))
    views = swing.views(middle(found.avatar, found.head, codes), len(drive))
    return Shot(found, codes, drive.camera, rest, views, drive, light, swing)


def torso_of_row(found: Found, row: Row, drive: Drive, threads: int) -> np.ndarray | None:
    """(T, 6) where the shoulders of a row's person are, read off the row's pictures; None for rows without them."""
    if any(row[name] is None or row[name]["bytes"] is None for name in ("video", "matte")):
        return None
    torso = track_torso(found.head, from_row(row), threads)
    return close_gaps(torso, drive.usable)


def still_shot(found: Found, count: int = SWING_FRAMES, full_turn: bool = False) -> Shot:
    """The avatar at rest, looking ahead, seen by a camera that swings around it."""
    codes, camera, centre = standing(found.avatar, found.head)
    rest = rest_pose(codes["rotation"], codes["translation"])
    repeated = {name: value.expand(count, -1) for name, value in codes.items()}
    swing = Swing(full=True) if full_turn else swing_of(found.avatar.about)
    return Shot(found, repeated, camera, rest, swing.views(centre, count), swing=swing)
