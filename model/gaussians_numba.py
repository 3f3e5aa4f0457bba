"""Placing bound Gaussians on posed meshes as numba kernels, for tensors on the CPU; first derivatives only.

Values and gradients equal :func:`model.gaussians.placed_reference` (a test compares them) at a seventh of the
processor time or less, since torch materialises dozens of small arrays. The gradient uses that a frame R only ever
turns: with the turn w (R -> exp(w) R) that moves of the corners cause, in the frame's own axes, for e0 = v1 - v0,
e1 = v2 - v0, L = |e0|, x = a0 . e1 and height h = -a2 . e1::

    w0 = (a1 . de1 - x / L  a1 . de0) / h      w1 = -a2 . de0 / L      w2 = a1 . de0 / L
    dL = a0 . de0                              dh = -a2 . de1 + x / L  a2 . de0

so a loss that pulls a Gaussian's mean by g and its quaternion p by G turns its frame by (mean - T) x g + Im(G p*) / 2.
Sums over the Gaussians of a face and the faces of a vertex run in float64 in a fixed order.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from model.raster.jit import kernel, run_jobs
from model.triangles import MIN_EDGE, MIN_SINE

_EDGE2, _SINE2 = MIN_EDGE**2, MIN_SINE**2
_WIDTH = 17
"""Numbers kept of a frame: R by columns (9), T (3), k, q (4)."""


@kernel
def _frames(vertices, faces, frames):  # type: ignore[no-untyped-def]
    """Write frames (F, 17) of vertices (V, 3): as model.triangles.frames and model.quaternions do."""
    for f in range(faces.shape[0]):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        px, py, pz = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        ex, ey, ez = vertices[j, 0] - px, vertices[j, 1] - py, vertices[j, 2] - pz
        dx, dy, dz = vertices[k, 0] - px, vertices[k, 1] - py, vertices[k, 2] - pz
        length, ax, ay, az = 0.0 * px, 1.0 + 0.0 * px, 0.0 * px, 0.0 * px
        squared = ex * ex + ey * ey + ez * ez
        if squared > _EDGE2:
            length = math.sqrt(squared)
            ax, ay, az = ex / length, ey / length, ez / length
        nx, ny, nz = ay * dz - az * dy, az * dx - ax * dz, ax * dy - ay * dx
        squared = nx * nx + ny * ny + nz * nz
        height = 0.0 * px
        if squared > max(_SINE2 * (dx * dx + dy * dy + dz * dz), _EDGE2):
            height = math.sqrt(squared)
            nx, ny, nz = nx / height, ny / height, nz / height
        else:
            # a0 x the axis it is least along
            least = min(abs(ax), abs(ay), abs(az))
            if abs(ax) == least:
                nx, ny, nz = 0.0 * px, az, -ay
            elif abs(ay) == least:
                nx, ny, nz = -az, 0.0 * px, ax
            else:
                nx, ny, nz = ay, -ax, 0.0 * px
            norm = math.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx / norm, ny / norm, nz / norm
        bx, by, bz = ay * nz - az * ny, az * nx - ax * nz, ax * ny - ay * nx
        frames[f, 0], frames[f, 1], frames[f, 2] = ax, ay, az
        frames[f, 3], frames[f, 4], frames[f, 5] = nx, ny, nz
        frames[f, 6], frames[f, 7], frames[f, 8] = bx, by, bz
        for c in range(3):
            frames[f, 9 + c] = (vertices[i, c] + vertices[j, c] + vertices[k, c]) / 3.0
        frames[f, 12] = 0.5 * (length + height)
        # R = [[ax, nx, bx], [ay, ny, by], [az, nz, bz]]
        w, x = 1.0 + ax + ny + bz, 1.0 + ax - ny - bz
        y, z = 1.0 - ax + ny - bz, 1.0 - ax - ny + bz
        if w >= x and w >= y and w >= z:
            x, y, z = nz - by, bx - az, ay - nx
        elif x >= y and x >= z:
            w, y, z = nz - by, ay + nx, bx + az
        elif y >= z:
            w, x, z = bx - az, ay + nx, nz + by
        else:
            w, x, y = ay - nx, bx + az, nz + by
        norm = math.sqrt(w * w + x * x + y * y + z * z)
        frames[f, 13], frames[f, 14], frames[f, 15], frames[f, 16] = w / norm, x / norm, y / norm, z / norm


@kernel
def _place(vertices, faces, frames, mean, log_scale, rotation, face, means, quats, scales):  # type: ignore[no-untyped-def]
    """Write frames (F, 17), means (N, 3), quats (N, 4), scales (N, 3) of one pose."""
    _frames(vertices, faces, frames)
    for n in range(face.shape[0]):
        f = face[n]
        k = frames[f, 12]
        x, y, z = mean[n, 0], mean[n, 1], mean[n, 2]
        for c in range(3):
            means[n, c] = k * (frames[f, c] * x + frames[f, 3 + c] * y + frames[f, 6 + c] * z) + frames[f, 9 + c]
            scales[n, c] = k * math.exp(log_scale[n, c])
        w, x, y, z = rotation[n, 0], rotation[n, 1], rotation[n, 2], rotation[n, 3]
        norm = max(math.sqrt(w * w + x * x + y * y + z * z), 1e-12)
        w, x, y, z = w / norm, x / norm, y / norm, z / norm
        a, b, c, d = frames[f, 13], frames[f, 14], frames[f, 15], frames[f, 16]
        quats[n, 0] = a * w - b * x - c * y - d * z
        quats[n, 1] = a * x + b * w + c * z - d * y
        quats[n, 2] = a * y - b * z + c * w + d * x
        quats[n, 3] = a * z + b * y - c * x + d * w


@kernel
def _place_backward(  # type: ignore[no-untyped-def]
    frames,
    mean,
    log_scale,
    rotation,
    face,
    grad_means,
    grad_quats,
    grad_scales,
    to_mean,
    to_log_scale,
    to_rotation,
    pull,
):
    """Write gradients (N, 3), (N, 3), (N, 4) of the local values; add to pull (F, 7): of T, of the turn, of k."""
    for n in range(face.shape[0]):
        f = face[n]
        k = frames[f, 12]
        gx, gy, gz = grad_means[n, 0], grad_means[n, 1], grad_means[n, 2]
        x, y, z = mean[n, 0], mean[n, 1], mean[n, 2]
        rx = frames[f, 0] * x + frames[f, 3] * y + frames[f, 6] * z
        ry = frames[f, 1] * x + frames[f, 4] * y + frames[f, 7] * z
        rz = frames[f, 2] * x + frames[f, 5] * y + frames[f, 8] * z
        by_scale = gx * rx + gy * ry + gz * rz
        for c in range(3):
            to_mean[n, c] = k * (frames[f, 3 * c] * gx + frames[f, 3 * c + 1] * gy + frames[f, 3 * c + 2] * gz)
            spread = math.exp(log_scale[n, c]) * grad_scales[n, c]
            to_log_scale[n, c] = k * spread
            by_scale += spread
        w, x, y, z = rotation[n, 0], rotation[n, 1], rotation[n, 2], rotation[n, 3]
        norm = max(math.sqrt(w * w + x * x + y * y + z * z), 1e-12)
        w, x, y, z = w / norm, x / norm, y / norm, z / norm
        a, b, c, d = frames[f, 13], frames[f, 14], frames[f, 15], frames[f, 16]
        gw, gi, gj, gl = grad_quats[n, 0], grad_quats[n, 1], grad_quats[n, 2], grad_quats[n, 3]
        # u = q(R)* G, the gradient of the unit local quaternion; what lies along it is lost in the normalisation
        uw = a * gw + b * gi + c * gj + d * gl
        ux = a * gi - b * gw - c * gl + d * gj
        uy = a * gj + b * gl - c * gw - d * gi
        uz = a * gl - b * gj + c * gi - d * gw
        along = uw * w + ux * x + uy * y + uz * z
        to_rotation[n, 0] = (uw - along * w) / norm
        to_rotation[n, 1] = (ux - along * x) / norm
        to_rotation[n, 2] = (uy - along * y) / norm
        to_rotation[n, 3] = (uz - along * z) / norm
        # p = q(R) q, and Im(G p*)
        pw = a * w - b * x - c * y - d * z
        px = a * x + b * w + c * z - d * y
        py = a * y - b * z + c * w + d * x
        pz = a * z + b * y - c * x + d * w
        tx = -gw * px + gi * pw - gj * pz + gl * py
        ty = -gw * py + gi * pz + gj * pw - gl * px
        tz = -gw * pz - gi * py + gj * px + gl * pw
        pull[f, 0] += gx
        pull[f, 1] += gy
        pull[f, 2] += gz
        pull[f, 3] += k * (ry * gz - rz * gy) + 0.5 * tx
        pull[f, 4] += k * (rz * gx - rx * gz) + 0.5 * ty
        pull[f, 5] += k * (rx * gy - ry * gx) + 0.5 * tz
        pull[f, 6] += by_scale


@kernel
def _frames_backward(vertices, faces, frames, pull, grad):  # type: ignore[no-untyped-def]
    """Add the gradients of one pose's faces, pull (F, 7), to grad (V, 3) float64."""
    g0, g1, e0, e1 = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
    for f in range(faces.shape[0]):
        touched = False
        for c in range(7):
            touched = touched or pull[f, c] != 0.0
        if not touched:
            continue
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        length2, side2, x, height = 0.0, 0.0, 0.0, 0.0
        for c in range(3):
            e0[c] = vertices[j, c] - vertices[i, c]
            e1[c] = vertices[k, c] - vertices[i, c]
            length2 += e0[c] * e0[c]
            side2 += e1[c] * e1[c]
            x += frames[f, c] * e1[c]
            height -= frames[f, 6 + c] * e1[c]
        is_long = length2 > _EDGE2
        is_wide = height * height > max(_SINE2 * side2, _EDGE2)
        length = math.sqrt(length2)
        t0, t1, t2 = 0.0, 0.0, 0.0
        for c in range(3):
            t0 += pull[f, 3 + c] * frames[f, c]
            t1 += pull[f, 3 + c] * frames[f, 3 + c]
            t2 += pull[f, 3 + c] * frames[f, 6 + c]
        half = 0.5 * pull[f, 6]
        for c in range(3):
            g0[c] = 0.0
            g1[c] = 0.0
            if is_long:
                g0[c] += half * frames[f, c]
            if is_wide:
                g1[c] += t0 * frames[f, 3 + c] / height - half * frames[f, 6 + c]
                if is_long:
                    g0[c] += (t2 - t0 * x / height) / length * frames[f, 3 + c]
                    g0[c] += (half * x - t1) / length * frames[f, 6 + c]
            middle = pull[f, c] / 3.0
            grad[i, c] += middle - g0[c] - g1[c]
            grad[j, c] += middle + g0[c]
            grad[k, c] += middle + g1[c]


class Place(torch.autograd.Function):
    """(vertices, mean, log_scale, rotation, face, faces) -> means (B, N, 3), quats (B, N, 4), scales (B, N, 3)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: FunctionCtx,
        vertices: Tensor,
        mean: Tensor,
        log_scale: Tensor,
        rotation: Tensor,
        face: Tensor,
        faces: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All floats of one dtype; ``face`` within ``faces`` (checked by the caller)."""
        inputs = (vertices, faces, mean, log_scale, rotation, face)
        points, triangles, *local = (value.detach().contiguous().numpy() for value in inputs)
        batch, count, dtype = points.shape[0], local[0].shape[0], points.dtype
        frames = np.empty((batch, len(triangles), _WIDTH), dtype)
        means, scales = np.empty((batch, count, 3), dtype), np.empty((batch, count, 3), dtype)
        quats = np.empty((batch, count, 4), dtype)
        run_jobs(
            _place,
            [(points[b], triangles, frames[b], *local, means[b], quats[b], scales[b]) for b in range(batch)],
        )
        ctx.save_for_backward(*inputs)
        ctx.frames = frames  # type: ignore[attr-defined]
        return torch.from_numpy(means), torch.from_numpy(quats), torch.from_numpy(scales)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):  # type: ignore[no-untyped-def, override]
        """Gradients to vertices, mean, log_scale and rotation."""
        points, triangles, *local = (value.detach().contiguous().numpy() for value in ctx.saved_tensors)
        grads = tuple(value.contiguous().numpy() for value in grads)
        batch, count, frames = points.shape[0], local[0].shape[0], ctx.frames
        outputs = [np.empty((batch, count, width), points.dtype) for width in (3, 3, 4)]
        pull = np.zeros((batch, len(triangles), 7))
        run_jobs(
            _place_backward,
            [
                (frames[b], *local, *(g[b] for g in grads), *(output[b] for output in outputs), pull[b])
                for b in range(batch)
            ],
        )
        to_vertices = None
        if ctx.needs_input_grad[0]:
            total = np.zeros(points.shape)
            run_jobs(_frames_backward, [(points[b], triangles, frames[b], pull[b], total[b]) for b in range(batch)])
            to_vertices = torch.from_numpy(total.astype(points.dtype))
        mean, log_scale, rotation = (
            torch.from_numpy(output[0] if batch == 1 else output.sum(axis=0)) for output in outputs
        )
        return to_vertices, mean, log_scale, rotation, None, None
