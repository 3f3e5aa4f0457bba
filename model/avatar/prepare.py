"""From tracked rows to what a fit works on: checked, divided, reduced, and the Gaussians it starts with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.avatar import start
from model.avatar.config import AvatarConfig
from model.avatar.driven import Driven
from model.avatar.footage import Division, Footage, Store, divide, pictures
from model.avatar.posing import Torso, pose_on_torso
from model.avatar.track import Track, make_track
from model.gaussians import BoundGaussians
from model.head import HeadModel

_START_FRAMES = 32
"""Training frames that first colours are taken from."""


@dataclass(frozen=True)
class Material:
    """What a fit works on; made once, the same in every run."""

    head: HeadModel
    rest: tuple[Tensor, Tensor]
    """Vertices (1, V, 3) and joints (1, J, 3) of the identity."""
    division: Division
    train: Track
    validation: Track
    store: Store
    """Pictures of the training frames, then of the validation frames."""
    driven: Driven | None = None
    """Predicted motion of the same frames; None where there is none."""

    def picture(self, index: int, size: int) -> np.ndarray:
        """(size, size, 4) uint8 of a training frame, or, counting on, of a validation frame."""
        image = self.store.read(index)
        if size == self.store.size:
            return image
        # Four slices: a sum over axes takes several times as long.
        total = image[::2, ::2].astype(np.uint16)
        for down, right in ((0, 1), (1, 0), (1, 1)):
            total += image[down::2, right::2]
        return ((total + 2) // 4).astype(np.uint8)


def prepare(
    head: HeadModel, shape: Tensor, footage: Sequence[Footage], config: AvatarConfig, threads: int | None,
    device: torch.device | str,
) -> Material:  # fmt: skip
    """Check, divide and reduce the footage; raises as :func:`fit_avatar`."""
    for row in footage:
        row.check(head)
    division = divide(footage, config.hold_out, config.max_frames, config.validation_frames, config.min_frames)
    frames = [*division.train, *division.validation]
    with torch.no_grad():
        rest = head.shaped(shape)
    train, validation = (make_track(footage, part, device) for part in (division.train, division.validation))
    store = Store(config.size)
    try:
        for index, picture in pictures(footage, frames, config.size, threads or 1):
            store.write(index, picture)
    except BaseException:
        store.close()
        raise
    return Material(head, rest, division, train, validation, store)


def begin(material: Material, config: AvatarConfig, torso: Torso) -> BoundGaussians:
    """The Gaussians a fit starts with."""
    head, track, size = material.head.to("cpu"), material.train, config.size
    rest = (material.rest[0].cpu(), material.rest[1].cpu())
    chosen = np.unique(np.linspace(0, len(track) - 1, _START_FRAMES).round().astype(int)).tolist()
    meshes, images, cameras = [], [], []
    for index in chosen:
        codes = {name: value.cpu() for name, value in track.at(index).items()}
        body = torso.pose(codes, track.rest[index : index + 1].cpu())
        with torch.no_grad():
            meshes.append(pose_on_torso(head, rest, codes, body)[0].numpy())
        images.append(material.picture(index, size))
        cameras.append(track.camera(index, size))
    colours, _ = start.face_colours(head.faces, meshes, images, cameras)
    parts: list[BoundGaussians | None] = [start.covering(head, rest[0], colours, config.sh_degree)]
    away = (torch.cat([track.codes["rotation"], track.codes["translation"]], 1) - track.rest).cpu()[chosen]
    order = (away / away.std(0).clamp_min(1e-6)).norm(dim=1).argsort().tolist()
    for number in order[:1]:
        parts.append(start.outside(head, meshes[number], images[number], cameras[number], config.sh_degree))
    return start.together(parts)
