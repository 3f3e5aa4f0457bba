"""The start of a fit from what is known: colours off the pictures, triangles covered, hair and clothes seeded.

A published start is grey noise of opacity 0.1. Here tracked meshes and pictures already say what nearly every triangle
looks like, so the first picture drawn is about as good as a mesh with vertex colours; what lies outside of the mesh
(hair, collar, shoulders) begins as Gaussians on the pixels of a few frames, bound to the nearest triangle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from model.camera import Camera, unproject
from model.gaussians import BoundGaussians, colour_to_sh, from_world, join, one_per_face, triangle_frames
from model.head import HeadModel
from model.raster import rasterize

COVER = 1.5
"""Standard deviations of a Gaussian in units of its triangle's own spread: neighbours overlap without gaps."""
THIN = 0.1
"""Standard deviation along the normal, in units of the triangle's scale."""
_OPACITY = 0.9
_SPACING = 3
"""Pixels between seeds outside of the mesh."""
MARGIN = 0.08
"""How far seeds reach beyond the picture, in its size."""
_FOREGROUND = 200
_INNER = ("left_eye", "right_eye", "teeth", "tongue", "lashes", "mouth_interior", "ears")


def face_colours(
    faces: Tensor, vertices: Sequence[np.ndarray], images: Sequence[np.ndarray], cameras: Sequence[Camera]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean visible colour of every face, and how many pixels it was seen in.

    Args:
        faces: (F, 3).
        vertices: (V, 3) of each frame, camera frame.
        images: (S, S, 4) uint8 of each frame, the last channel the matte.
        cameras: of each frame.

    Returns:
        (F, 3) float32 in [0, 1], and (F,) pixels. Faces never seen take the mean of their neighbours, repeatedly.
    """
    count = len(faces)
    total, seen = np.zeros((count, 3)), np.zeros(count)
    for points, image, camera in zip(vertices, images, cameras, strict=True):
        fragments = rasterize(torch.from_numpy(points)[None], faces, camera)
        face_id = fragments.face_id[0].numpy()
        on = (face_id >= 0) & (image[..., 3] >= _FOREGROUND)
        ids, colours = face_id[on], image[..., :3][on].astype(np.float64) / 255
        seen += np.bincount(ids, minlength=count)
        for channel in range(3):
            total[:, channel] += np.bincount(ids, colours[:, channel], minlength=count)
    return _filled(faces.numpy(), total, seen), seen


def _filled(faces: np.ndarray, total: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Colours (F, 3) of sums and counts; where nothing was seen, spread from faces that share a vertex."""
    known = seen > 0
    colour = np.where(known[:, None], total / np.maximum(seen, 1)[:, None], 0.0)
    if not known.any():
        return np.full((len(faces), 3), 0.5, np.float32)
    vertices = int(faces.max()) + 1
    for _ in range(64):
        if known.all():
            break
        sums, weights = np.zeros((vertices, 3)), np.zeros(vertices)
        for corner in range(3):
            np.add.at(sums, faces[known, corner], colour[known])
            np.add.at(weights, faces[known, corner], 1.0)
        near = weights[faces].sum(axis=1)
        reached = ~known & (near > 0)
        if not reached.any():
            break
        colour[reached] = sums[faces[reached]].sum(axis=1) / near[reached, None]
        known = known | reached
    colour[~known] = colour[known].mean(axis=0)
    return colour.astype(np.float32)


def covering(head: HeadModel, rest: Tensor, colours: np.ndarray, degree: int) -> BoundGaussians:
    """One Gaussian on every face, flat, oriented and as large as the face at rest (1, V, 3), with known colours."""
    gaussians = one_per_face(head, degree=degree, colours=torch.from_numpy(colours), opacity=_OPACITY)
    frames = triangle_frames(rest, head.faces)
    corners = rest[0][head.faces] - frames.origin[0][:, None]
    scale = frames.scale[0].clamp_min(1e-9)
    # In the triangle's frame the second axis is the normal; its own spread lies in the first and the third.
    local = torch.einsum("fcx,fxa->fca", corners, frames.rotation[0])[..., [0, 2]] / scale[:, None, None]
    spread = torch.einsum("fca,fcb->fab", local, local) / 12
    values, axes = torch.linalg.eigh(spread)
    deviation = values.clamp_min(1e-6).sqrt() * COVER
    turn = torch.atan2(axes[:, 1, 0], axes[:, 0, 0])
    # Axes (first, normal, second): a rotation by -turn about the normal takes the frame's first axis onto the first.
    gaussians.rotation = torch.stack(
        [torch.cos(-turn / 2), torch.zeros_like(turn), torch.sin(-turn / 2), torch.zeros_like(turn)], dim=1
    )
    thin = torch.full_like(turn, THIN)
    gaussians.log_scale = torch.stack([deviation[:, 0], thin, deviation[:, 1]], dim=1).log()
    return gaussians


def outside(
    head: HeadModel, vertices: np.ndarray, image: np.ndarray, camera: Camera, degree: int, spacing: int = _SPACING
) -> BoundGaussians | None:
    """Gaussians on the foreground pixels that the mesh does not reach, bound to the nearest face in the picture.

    Args:
        head: the head.
        vertices: (V, 3) of the frame, camera frame.
        image: (S, S, 4) uint8, the last channel the matte.
        camera: of the picture.
        degree: of the spherical harmonics.
        spacing: pixels between two.

    The picture's edge cuts shoulders off, and in other frames they move: the picture is continued beyond its edges by
    ``MARGIN`` of its size with the colours near the edge (not at it: videos often have a dark line there).

    Returns:
        Round Gaussians as deep as the face they are bound to, or None where the mesh covers all.
    """
    posed = torch.from_numpy(vertices)[None]
    margin = round(MARGIN * len(image))
    inset = len(image) // 64
    inner = image[inset : len(image) - inset, inset : image.shape[1] - inset]
    more = margin + inset
    image = cv2.copyMakeBorder(inner, more, more, more, more, cv2.BORDER_REPLICATE)
    camera = camera.crop(-margin, -margin, image.shape[1], image.shape[0])
    fragments = rasterize(posed, head.faces, camera)
    face_id, depth = fragments.face_id[0].numpy(), fragments.depth[0].numpy()
    outer = np.ones(head.num_vertices, bool)
    for name in _INNER:
        if name in head.groups:
            outer[head.groups[name].numpy()] = False
    usable = outer[head.faces.numpy()].all(axis=1)
    anchors = (face_id >= 0) & usable[np.maximum(face_id, 0)]
    covered = cv2.dilate((face_id >= 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    wanted = (image[..., 3] >= _FOREGROUND) & ~covered
    grid = np.zeros_like(wanted)
    grid[spacing // 2 :: spacing, spacing // 2 :: spacing] = True
    rows, columns = np.nonzero(wanted & grid)
    if not len(rows) or not anchors.any():
        return None
    _, labels = cv2.distanceTransformWithLabels(
        (~anchors).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    ys, xs = np.nonzero(anchors)
    place = np.zeros((labels.max() + 1, 2), np.int64)
    place[labels[ys, xs]] = np.stack([ys, xs], axis=1)
    near = place[labels[rows, columns]]
    face = torch.from_numpy(face_id[near[:, 0], near[:, 1]].astype(np.int64))
    z = depth[near[:, 0], near[:, 1]].astype(np.float32)
    pixels = np.stack([columns + 0.5, rows + 0.5], axis=1).astype(np.float32)
    means = torch.from_numpy(unproject(pixels, z, camera).astype(np.float32))
    size = torch.from_numpy(z / camera.fx * spacing * 0.6)
    count = len(rows)
    quats = torch.zeros(count, 4)
    quats[:, 0] = 1.0
    frames = triangle_frames(posed, head.faces)
    mean, rotation, log_scale = from_world(means, quats, size[:, None].expand(-1, 3), face, frames)
    sane = torch.isfinite(mean).all(1) & torch.isfinite(log_scale).all(1)
    small = cv2.blur(np.ascontiguousarray(image[..., :3]), (spacing, spacing))
    sh = torch.zeros(count, (degree + 1) ** 2, 3)
    sh[:, 0] = colour_to_sh(torch.from_numpy(small[rows, columns].astype(np.float32) / 255))
    opacity = torch.full((count,), math.log(_OPACITY / (1 - _OPACITY)))
    return BoundGaussians(mean, log_scale, rotation, opacity, sh, face).select(sane)


def limits(gaussians: BoundGaussians) -> tuple[Tensor, Tensor]:
    """How far from its triangle (N,), and how large (N,), each Gaussian may be without being held back; local units.

    At least the published 1 and 0.6; seeds outside of the mesh may stay where they began.
    """
    mean = (gaussians.mean.norm(dim=1) * 1.1).clamp_min(1.0)
    scale = (gaussians.log_scale.exp().amax(dim=1) * 1.25).clamp_min(0.6)
    return mean, scale


def together(parts: Sequence[BoundGaussians | None]) -> BoundGaussians:
    """All there are, as leaf tensors."""
    return join([part for part in parts if part is not None]).clone()
