"""Gradients of barycentrics and of interpolation as numba kernels, for tensors on the CPU.

They equal torch's own gradients of :func:`model.raster.fragments.fragments_from_faces` and of the torch path of
:func:`model.raster.interpolate.interpolate` (a test compares them) at a small part of the time: torch materialises the
three corners of every pixel several times over. Sums run in a fixed order, in float64, whatever the number of threads.
First derivatives only.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from model.camera import Camera
from model.raster.jit import kernel, run_jobs

BANDS = 4
"""Parts an image is cut into where the batch alone would not keep the threads busy. Fixed, so that the order of
summation does not follow the machine."""


@kernel
def _surface_backward(vertices, faces, face_id, row0, fx, fy, cx, cy, grad_bary, grad_depth, grad):  # type: ignore[no-untyped-def]
    """Add the gradients of rows row0.. (face_id (h, W), grad_bary (h, W, 3), grad_depth (h, W)) to grad (V, 3).

    With b_i = E_i / S, t = D / S and the E_i, D of model.raster.fragments:
    dL/dE_i = (g_i - sum_j g_j b_j - g_t t) / S and dL/dD = g_t / S.
    """
    height, width = face_id.shape
    v = np.empty((3, 3))
    e = np.empty(3)
    ge = np.empty(3)
    normal = np.empty((3, 3))
    d = np.empty(3)
    for y in range(height):
        for x in range(width):
            f = face_id[y, x]
            if f < 0:
                continue
            gt = np.float64(grad_depth[y, x])
            if gt == 0.0 and grad_bary[y, x, 0] == 0.0 and grad_bary[y, x, 1] == 0.0 and grad_bary[y, x, 2] == 0.0:
                continue
            for i in range(3):
                for k in range(3):
                    v[i, k] = vertices[faces[f, i], k]
            d[0], d[1], d[2] = (x + 0.5 - cx) / fx, (y + row0 + 0.5 - cy) / fy, 1.0
            total = 0.0
            for i in range(3):
                a, b = (i + 1) % 3, (i + 2) % 3
                for k in range(3):
                    m, n = (k + 1) % 3, (k + 2) % 3
                    normal[i, k] = v[a, m] * v[b, n] - v[a, n] * v[b, m]
                e[i] = d[0] * normal[i, 0] + d[1] * normal[i, 1] + d[2] * normal[i, 2]
                total += e[i]
            t = (v[0, 0] * normal[0, 0] + v[0, 1] * normal[0, 1] + v[0, 2] * normal[0, 2]) / total
            common = gt * t
            for i in range(3):
                common += grad_bary[y, x, i] * e[i] / total
            for i in range(3):
                ge[i] = (grad_bary[y, x, i] - common) / total
            gd = gt / total
            for i in range(3):
                a, b = (i + 1) % 3, (i + 2) % 3
                for k in range(3):
                    m, n = (k + 1) % 3, (k + 2) % 3
                    # vertex i sits first in E_b = d . (v_i x v_a) and second in E_a = d . (v_b x v_i)
                    first = v[a, m] * d[n] - v[a, n] * d[m]
                    second = d[m] * v[b, n] - d[n] * v[b, m]
                    grad[faces[f, i], k] += ge[b] * first + ge[a] * second + gd * normal[i, k]


@kernel
def _mix(faces, face_id, bary, attributes, image):  # type: ignore[no-untyped-def]
    """Write image (h, W, C) = attributes (V, C) mixed by bary (h, W, 3)."""
    height, width = face_id.shape
    channels = attributes.shape[1]
    for y in range(height):
        for x in range(width):
            f = face_id[y, x]
            if f < 0:
                for c in range(channels):
                    image[y, x, c] = 0.0
                continue
            i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
            p, q, r = bary[y, x, 0], bary[y, x, 1], bary[y, x, 2]
            for c in range(channels):
                image[y, x, c] = p * attributes[i, c] + q * attributes[j, c] + r * attributes[k, c]


@kernel
def _mix_backward(faces, face_id, bary, attributes, grad_image, grad_bary, grad):  # type: ignore[no-untyped-def]
    """grad_bary (h, W, 3) of these rows is written, grad (V, C) is added to."""
    height, width = face_id.shape
    channels = attributes.shape[1]
    for y in range(height):
        for x in range(width):
            f = face_id[y, x]
            for i in range(3):
                if f < 0:
                    grad_bary[y, x, i] = 0.0
                    continue
                total = 0.0
                weight = bary[y, x, i]
                vertex = faces[f, i]
                for c in range(channels):
                    g = grad_image[y, x, c]
                    total += g * attributes[vertex, c]
                    grad[vertex, c] += weight * g
                grad_bary[y, x, i] = total


def _rows(batch: int, height: int) -> list[tuple[int, int, int]]:
    """(item, first row, end row) of all bands of a batch."""
    edges = np.linspace(0, height, (BANDS if batch < BANDS else 1) + 1).astype(int).tolist()
    return [(item, row0, row1) for item in range(batch) for row0, row1 in zip(edges[:-1], edges[1:], strict=True)]


class Surface(torch.autograd.Function):
    """Attaches gradients to barycentrics and depths that a kernel computed: (vertices, ...) -> (bary, depth)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: FunctionCtx,
        vertices: torch.Tensor,
        faces: torch.Tensor,
        face_id: torch.Tensor,
        bary: torch.Tensor,
        depth: torch.Tensor,
        camera: Camera,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pass bary (B, H, W, 3) and depth (B, H, W) through; vertices (B, V, 3), face_id (B, H, W)."""
        ctx.save_for_backward(vertices, faces, face_id)
        ctx.camera = camera  # type: ignore[attr-defined]
        return bary.clone(), depth.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_bary, grad_depth):  # type: ignore[no-untyped-def, override]
        """Gradient to the vertices."""
        vertices, faces, face_id = (tensor.detach().contiguous().numpy() for tensor in ctx.saved_tensors)
        camera = ctx.camera
        grad_bary, grad_depth = grad_bary.contiguous().numpy(), grad_depth.contiguous().numpy()
        rows = _rows(face_id.shape[0], face_id.shape[1])
        parts = np.zeros((len(rows), vertices.shape[1], 3))
        intrinsics = (float(camera.fx), float(camera.fy), float(camera.cx), float(camera.cy))
        run_jobs(
            _surface_backward,
            [
                (
                    vertices[b],
                    faces,
                    face_id[b, r0:r1],
                    r0,
                    *intrinsics,
                    grad_bary[b, r0:r1],
                    grad_depth[b, r0:r1],
                    part,
                )
                for (b, r0, r1), part in zip(rows, parts, strict=True)
            ],
        )
        grad = parts.reshape(vertices.shape[0], -1, *vertices.shape[1:]).sum(axis=1).astype(vertices.dtype)
        return torch.from_numpy(grad), None, None, None, None, None


class Mix(torch.autograd.Function):
    """Interpolation: (bary (B, H, W, 3), attributes (B|1, V, C), faces, face_id) -> (B, H, W, C)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: FunctionCtx, bary: torch.Tensor, attributes: torch.Tensor, faces: torch.Tensor, face_id: torch.Tensor
    ) -> torch.Tensor:
        """Mix; bary and attributes have the same dtype."""
        ctx.save_for_backward(bary, attributes, faces, face_id)
        weights, values, triangles, ids = (t.detach().contiguous().numpy() for t in (bary, attributes, faces, face_id))
        image = np.empty((*ids.shape, values.shape[-1]), values.dtype)
        run_jobs(
            _mix,
            [
                (triangles, ids[b, r0:r1], weights[b, r0:r1], values[b % values.shape[0]], image[b, r0:r1])
                for b, r0, r1 in _rows(*ids.shape[:2])
            ],
        )
        return torch.from_numpy(image)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_image):  # type: ignore[no-untyped-def, override]
        """Gradients to the barycentrics and to the attributes."""
        weights, values, faces, ids = (tensor.detach().contiguous().numpy() for tensor in ctx.saved_tensors)
        grad_image = grad_image.contiguous().numpy()
        rows = _rows(*ids.shape[:2])
        grad_bary = np.empty(weights.shape, weights.dtype)
        parts = np.zeros((len(rows), *values.shape[1:]))
        run_jobs(
            _mix_backward,
            [
                (
                    faces,
                    ids[b, r0:r1],
                    weights[b, r0:r1],
                    values[b % values.shape[0]],
                    grad_image[b, r0:r1],
                    grad_bary[b, r0:r1],
                    part,
                )
                for (b, r0, r1), part in zip(rows, parts, strict=True)
            ],
        )
        shared = parts.reshape(values.shape[0], -1, *values.shape[1:])
        return torch.from_numpy(grad_bary), torch.from_numpy(shared.sum(axis=1).astype(values.dtype)), None, None
