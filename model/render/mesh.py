"""Heads without an avatar: the painted mesh in one soft light, quick enough to follow speech.

What :func:`model.head.portrait.portrait` paints with one sample a pixel, by kernels; then outlines are softened, which
stands in for its many samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from model.camera import Camera
from model.head import HeadModel
from model.head.portrait import IRIS, IRIS_RADIUS_M, LIGHT, PUPIL, PUPIL_RADIUS_M, painted
from model.raster import rasterize
from model.raster.jit import kernel, run_jobs
from model.raster.normals import vertex_normals

_AMBIENT, _DIFFUSE = 0.45, 0.6
_STEP_M = 0.008
"""Neighbouring pixels further apart in depth than this lie on either side of an outline."""


@dataclass(frozen=True, eq=False)
class MeshPaint:
    """What of a head's look does not change with its pose; numpy arrays."""

    faces: np.ndarray
    """(F, 3) int64."""
    albedo: np.ndarray
    """(V, 3) float32 in [0, 1]."""
    rest: np.ndarray
    """(V, 3) float32 template positions: they tell where on an eyeball a pixel lies."""
    side: np.ndarray
    """(F,) int8: 1 on the left eyeball, 2 on the right, 0 elsewhere."""
    centres: np.ndarray
    """(2, 3) float32 of the eyeballs."""
    axes: np.ndarray
    """(2, 3) float32 unit vectors from there through the irises."""


def mesh_paint(head: HeadModel) -> MeshPaint:
    """Colours and eyes of a head."""
    side = torch.zeros(len(head.faces), dtype=torch.int8)
    centres, axes = torch.zeros(2, 3), torch.zeros(2, 3)
    for number, (name, joint) in enumerate((("left", 3), ("right", 4))):
        if f"{name}_iris" not in head.groups:
            continue
        on_ball = torch.zeros(head.num_vertices, dtype=torch.bool)
        on_ball[head.groups[f"{name}_eye"].cpu()] = True
        side[on_ball[head.faces.cpu()].all(1)] = number + 1
        centres[number] = head.J_template[joint].cpu()
        ahead = head.v_template[head.groups[f"{name}_iris"]].mean(0).cpu() - centres[number]
        axes[number] = torch.nn.functional.normalize(ahead, dim=0)
    return MeshPaint(
        head.faces.cpu().numpy(), painted(head).cpu().numpy(), head.v_template.cpu().numpy(), side.numpy(),
        centres.numpy(), axes.numpy(),
    )  # fmt: skip


def draw_mesh(
    paint: MeshPaint,
    vertices: torch.Tensor,
    camera: Camera,
    background: tuple[float, float, float],
    *,
    threads: int | None = None,
    soft: bool = True,
) -> np.ndarray:
    """Pictures of posed heads.

    Args:
        paint: of the head.
        vertices: (B, V, 3) float32 on the CPU, camera frame, metres.
        camera: the view.
        background: RGB in [0, 1].
        threads: of the kernels; the pictures do not depend on it.
        soft: soften outlines; without it, pictures are those of the portrait with one sample a pixel.

    Returns:
        (B, H, W, 3) uint8 RGB.
    """
    points = vertices.detach().numpy()
    fragments = rasterize(vertices, torch.from_numpy(paint.faces), camera, "numba", threads=threads)
    ids, bary, depth = fragments.face_id.numpy(), fragments.bary.numpy(), fragments.depth.numpy()
    shape = (len(points), camera.height, camera.width, 3)
    colour, picture = np.empty(shape, np.float32), np.empty(shape, np.uint8)
    light = np.asarray(LIGHT, np.float32) / np.linalg.norm(np.asarray(LIGHT, np.float32))
    behind = np.asarray(background, np.float32)
    eyes = (paint.side, paint.centres, paint.axes, np.asarray(IRIS, np.float32), np.asarray(PUPIL, np.float32))
    run_jobs(
        _frame,
        [
            (
                points[b], paint.faces, paint.albedo, paint.rest, *eyes, light, behind, ids[b], bary[b], depth[b],
                soft, colour[b], picture[b],
            )
            for b in range(len(points))
        ],
        threads,
    )  # fmt: skip
    return picture


@kernel
def _frame(  # type: ignore[no-untyped-def]
    vertices, faces, albedo, rest, side, centres, axes, iris, pupil, light, behind, ids, bary, depth, soft, colour,
    picture,
):
    """Paint one picture (H, W, 3) uint8; ``colour`` (H, W, 3) float32 is room to work in."""
    height, width = ids.shape
    normals = np.empty(vertices.shape, np.float32)
    vertex_normals(vertices, faces, normals)
    point = np.empty(3, np.float32)
    for y in range(height):
        for x in range(width):
            f = ids[y, x]
            if f < 0:
                for k in range(3):
                    colour[y, x, k] = behind[k]
                continue
            nx, ny, nz = np.float32(0), np.float32(0), np.float32(0)
            for k in range(3):
                colour[y, x, k] = 0
                point[k] = 0
            for corner in range(3):
                v, w = faces[f, corner], bary[y, x, corner]
                nx += w * normals[v, 0]
                ny += w * normals[v, 1]
                nz += w * normals[v, 2]
                for k in range(3):
                    colour[y, x, k] += w * albedo[v, k]
                    point[k] += w * rest[v, k]
            eye = side[f]
            if eye > 0:
                along, square = np.float32(0), np.float32(0)
                for k in range(3):
                    offset = point[k] - centres[eye - 1, k]
                    along += offset * axes[eye - 1, k]
                    square += offset * offset
                away = math.sqrt(max(square - along * along, 0))
                if along > 0 and away < IRIS_RADIUS_M:
                    for k in range(3):
                        colour[y, x, k] = pupil[k] if away < PUPIL_RADIUS_M else iris[k]
            length = math.sqrt(nx * nx + ny * ny + nz * nz)
            facing = (nx * light[0] + ny * light[1] + nz * light[2]) / length if length > 0 else 0.0
            shade = _AMBIENT + _DIFFUSE * max(facing, 0.0)
            for k in range(3):
                colour[y, x, k] *= shade
    for y in range(height):
        for x in range(width):
            outline = False
            if soft:
                here = depth[y, x]
                for row, column in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if 0 <= row < height and 0 <= column < width:
                        outline |= abs(depth[row, column] - here) > _STEP_M
            for k in range(3):
                value = colour[y, x, k]
                if outline:
                    total, weights = np.float32(0), np.float32(0)
                    for row in range(max(y - 1, 0), min(y + 2, height)):
                        for column in range(max(x - 1, 0), min(x + 2, width)):
                            weight = (2.0 if row == y else 1.0) * (2.0 if column == x else 1.0)
                            total += weight * colour[row, column, k]
                            weights += weight
                    value = total / weights
                picture[y, x, k] = int(min(max(value, 0.0), 1.0) * 255 + 0.5)
