"""Drawing an avatar under any codes of its head: its own (self re-enactment) or another subject's (cross)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from model.avatar.light import lit
from model.avatar.posing import SPREAD, Torso, pose_on_torso, rest_pose
from model.camera import Camera
from model.gaussians import to_world, triangle_frames
from model.head import HeadModel
from model.head.load import CODE_NAMES
from model.raster.gaussian import rasterize_gaussians
from rsat_data.errors import HeadMismatch

TORSO = {"torso_offset": (len(SPREAD),), "torso_follow": (len(SPREAD), len(SPREAD))}
"""Names and shapes of what an avatar keeps of its torso among its extras."""
_BATCH = 4

CodesLike = Mapping[str, Tensor | np.ndarray]


def torso_of(avatar: Avatar) -> Torso | None:
    """How the avatar's shoulders go with its head; None for avatars that know of none: they turn with the head.

    Raises:
        HeadMismatch: extras of another shape.
    """
    if not all(name in avatar.extras for name in TORSO):
        return None
    for name, shape in TORSO.items():
        if tuple(avatar.extras[name].shape) != shape:
            raise HeadMismatch(f"The avatar's {name} is {tuple(avatar.extras[name].shape)}, expected {shape}.")
    return Torso(avatar.extras["torso_offset"], avatar.extras["torso_follow"])


def draw(
    avatar: Avatar,
    head: HeadModel,
    codes: CodesLike,
    camera: Camera,
    *,
    size: tuple[int, int] | None = None,
    background: Tensor | None = None,
    rest: Tensor | None = None,
    light: Tensor | None = None,
    backend: str = "auto",
    threads: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Pictures of an avatar.

    Args:
        avatar: on some device, where everything is computed.
        head: the avatar's own.
        codes: expression (T, E), jaw (T, 3), neck (T, 3), eyes (T, 6), rotation (T, 3), translation (T, 3); those left
            out are zero. Arrays or tensors. The subject's shape is always the avatar's. With torso (T, 6) from
            :func:`model.avatar.torso.track_torso` the shoulders go where they were seen.
        camera: the intrinsics.
        size: (width, height) of the pictures, pixels; None for the camera's.
        background: (3,) in [0, 1], or None for black.
        rest: (6,) mean head pose of the row the codes are from, where the torso stands; None for the mean of ``codes``.
            Give it when a row is drawn piece by piece.
        light: (4, 3) of one of the avatar's rows, from :func:`model.avatar.light.light_of`; None for their mean.
        backend: of :func:`model.raster.gaussian.rasterize_gaussians`.
        threads: likewise.

    Returns:
        (T, H, W, 3) in [0, 1] and alpha (T, H, W).

    Raises:
        HeadMismatch: the avatar or the codes belong to another head.
    """
    pieces = list(draw_frames(
        avatar, head, codes, camera, size=size, background=background, rest=rest, light=light,
        backend=backend, threads=threads,
    ))  # fmt: skip
    return torch.cat([rgb for rgb, _ in pieces]), torch.cat([alpha for _, alpha in pieces])


@torch.no_grad()
def draw_frames(
    avatar: Avatar,
    head: HeadModel,
    codes: CodesLike,
    camera: Camera,
    *,
    size: tuple[int, int] | None = None,
    background: Tensor | None = None,
    rest: Tensor | None = None,
    light: Tensor | None = None,
    views: Tensor | None = None,
    backend: str = "auto",
    threads: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """As :func:`draw`, a few frames at a time: memory does not grow with the number of frames.

    ``views`` (T, 4, 4) are rigid motions from the camera frame of the codes to that of the pictures; None for the same.
    """
    device = avatar.gaussians.device
    personal = avatar.personal(head.to(device) if head.device != device else head)
    given = complete_codes(personal, codes)
    identity = personal.shaped(avatar.shape.to(device))
    if size is not None:
        camera = camera.scaled(*size)
    torso = torso_of(avatar)
    mean = rest_pose(given["rotation"], given["translation"]) if rest is None else rest.to(device)
    if background is not None:
        background = torch.as_tensor(background, dtype=torch.float32, device=device)
    for first in range(0, len(given["rotation"]), _BATCH):
        part = {name: value[first : first + _BATCH] for name, value in given.items()}
        body = None if torso is None else torso.pose(part, mean)
        vertices = pose_on_torso(personal, identity, part, body)
        world = to_world(avatar.gaussians, triangle_frames(vertices, personal.faces))
        here = None if light is None else light.to(device)
        colours = lit(world.colours, vertices, personal.faces, avatar.gaussians.face, here)
        splats = rasterize_gaussians(
            world.means, world.quats, world.scales, world.opacities, colours, camera,
            view=None if views is None else views[first : first + _BATCH].to(device), background=background,
            backend=backend, threads=threads,  # type: ignore[arg-type]
        )  # fmt: skip
        yield splats.rgb.clamp(0, 1), splats.alpha


def complete_codes(head: HeadModel, codes: CodesLike) -> dict[str, Tensor]:
    """All codes (T, .) as float32 tensors on the head's device; those left out are zero.

    Raises:
        HeadMismatch: a code has another size than the head's, or none is given, or their lengths differ.
    """
    sizes = {"expression": head.num_expression, "jaw": 3, "neck": 3, "eyes": 6, "rotation": 3, "translation": 3}
    found = {
        name: torch.as_tensor(np.array(value) if isinstance(value, np.ndarray) else value).to(head.device).float()
        for name, value in codes.items()
        if name in (*CODE_NAMES, "torso")
    }
    lengths = {len(value) for value in found.values()}
    if len(lengths) != 1:
        raise HeadMismatch(f"Codes of {sorted(lengths)} frames cannot be drawn together.")
    for name, value in found.items():
        if value.ndim != 2 or value.shape[1] != sizes.get(name, len(SPREAD)):
            raise HeadMismatch(
                f"{name} is {tuple(value.shape)}, the head {head.id} takes (T, {sizes.get(name, len(SPREAD))}).",
                hint="The codes belong to another head: convert them, or use an avatar on that head.",
            )
    count = lengths.pop()
    zeros = {name: torch.zeros(count, size, device=head.device) for name, size in sizes.items()}
    return zeros | found
