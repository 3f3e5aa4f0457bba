"""Projection of Gaussians into the image and its gradients, as numba kernels. All arithmetic is float64.

Formulas: :mod:`model.raster.gaussian.conventions`. With M = R_v R_q diag(s) and A = J M (2, 3), the covariance in the
image is A A^T + EPS2D I, so dL/dA = 2 G A for a symmetric G = dL/dC; everything else is the product rule.

What a Gaussian is to the tiles is packed into FIELDS float32 numbers. Blending needs log2(alpha) at a pixel that lies
(dx, v) from the mean; with the covariance ((cxx, cxy), (cxy, cyy)) it is the sum of squares

    log2(alpha) = L - p u^2 - s v^2,   u = dx + k v,   k = -cxy / cyy,   p = cyy / (2 det ln 2),   s = 1 / (2 cyy ln 2),

which cannot turn negative by rounding, however thin the ellipse is. The fields are: 0 1 mean (pixels), 2 k, 3 p, 4 s,
5 L = log2(opacity), 6 7 8 colour, 9 depth, 10 11 half-sizes of the box around what is drawn (pixels; negative where
nothing is), 12 the v at which it reaches farthest to the right; the others are not used.

The tiles answer with SUMS sums over pixels, where w = dL/d(ln alpha): 0 of w, 1 w u, 2 w v, 3 w u^2, 4 w u v, 5 w v^2,
and 6 7 8 of the gradients to the colour, 9 to the depth; the others are 0. From them, with h = C^-1 d:
dL/dm = sum w h, dL/dC = sum w h h^T / 2.
"""

from __future__ import annotations

import math

import numpy as np

from model.raster.gaussian.conventions import ALPHA_MIN, CLAMP, EPS2D, FAR, NEAR
from model.raster.jit import kernel

FIELDS = 16
"""float32 numbers a Gaussian is packed into."""
TILE = 16
"""Side of a tile, pixels."""
SUMS = 16
"""float32 numbers that the tiles answer with; only the first ten are used."""


HALF_LOG2E = 0.5 / math.log(2.0)


@kernel
def _half(quat, scale, view, x, y, z, camera, work):  # type: ignore[no-untyped-def]
    """Fill work: [0:9] R_q, [9:18] M = R_v R_q diag(s), [18:24] J, [24:30] A = J M; True where J is clamped in x, y.

    camera: (fx, fy, cx, cy, width, height).
    """
    length = math.sqrt(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3])
    qw, qx, qy, qz = quat[0] / length, quat[1] / length, quat[2] / length, quat[3] / length
    work[0], work[1], work[2] = 1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy - qw * qz), 2 * (qx * qz + qw * qy)
    work[3], work[4], work[5] = 2 * (qx * qy + qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz - qw * qx)
    work[6], work[7], work[8] = 2 * (qx * qz - qw * qy), 2 * (qy * qz + qw * qx), 1 - 2 * (qx * qx + qy * qy)
    for i in range(3):
        for j in range(3):
            work[9 + 3 * i + j] = scale[j] * (
                view[i, 0] * work[j] + view[i, 1] * work[3 + j] + view[i, 2] * work[6 + j]
            )
    fx, fy, cx, cy, width, height = camera  # a tuple
    margin_x, margin_y = CLAMP * 0.5 * width / fx, CLAMP * 0.5 * height / fy
    u, v = x / z, y / z
    tx = min(max(u, -cx / fx - margin_x), (width - cx) / fx + margin_x)
    ty = min(max(v, -cy / fy - margin_y), (height - cy) / fy + margin_y)
    work[18], work[19], work[20] = fx / z, 0.0, -fx * tx / z
    work[21], work[22], work[23] = 0.0, fy / z, -fy * ty / z
    for j in range(3):
        work[24 + j] = work[18] * work[9 + j] + work[20] * work[15 + j]
        work[27 + j] = work[22] * work[12 + j] + work[23] * work[15 + j]
    return tx != u, ty != v


@kernel
def project(means, quats, scales, opacities, colours, screen, view, camera, packed, radii, room):  # type: ignore[no-untyped-def]
    """Fill packed (n, FIELDS) and radii (n,) of Gaussians (n, ...); screen (n, 2) or (0, 2) for none.

    room (1,) becomes the number of tiles that their boxes touch, or a little more.
    """
    room[0] = 0
    width, height = camera[4], camera[5]
    work = np.empty(30)
    quat, scale = np.empty(4), np.empty(3)
    shifted = screen.shape[0] > 0
    for i in range(means.shape[0]):
        packed[i, 10] = packed[i, 11] = -1.0
        packed[i, 9] = 0.0
        radii[i] = 0
        mx, my, mz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        z = view[2, 0] * mx + view[2, 1] * my + view[2, 2] * mz + view[2, 3]
        opacity = np.float64(opacities[i])
        if not (NEAR <= z <= FAR and ALPHA_MIN <= opacity < math.inf):  # also true for NaN
            continue
        x = view[0, 0] * mx + view[0, 1] * my + view[0, 2] * mz + view[0, 3]
        y = view[1, 0] * mx + view[1, 1] * my + view[1, 2] * mz + view[1, 3]
        for j in range(4):
            quat[j] = quats[i, j]
        for j in range(3):
            scale[j] = scales[i, j]
        _half(quat, scale, view, x, y, z, camera, work)
        cxx = work[24] * work[24] + work[25] * work[25] + work[26] * work[26] + EPS2D
        cxy = work[24] * work[27] + work[25] * work[28] + work[26] * work[29]
        cyy = work[27] * work[27] + work[28] * work[28] + work[29] * work[29] + EPS2D
        det = cxx * cyy - cxy * cxy
        u, v = camera[0] * x / z + camera[2], camera[1] * y / z + camera[3]
        if shifted:
            u += screen[i, 0]
            v += screen[i, 1]
        # The sum is finite only if all that went into it was.
        total = u + v + det + colours[i, 0] + colours[i, 1] + colours[i, 2]
        if not (det > 0.0 and abs(total) < math.inf):
            continue
        reach = 2.0 * math.log(opacity / ALPHA_MIN)
        half_x, half_y = math.sqrt(reach * cxx), math.sqrt(reach * cyy)
        box_x, box_y = math.ceil(half_x), math.ceil(half_y)
        if u + box_x <= 0 or u - box_x >= width or v + box_y <= 0 or v - box_y >= height:
            continue
        radii[i] = np.int32(min(max(box_x, box_y), 2.0**30))
        packed[i, 0], packed[i, 1] = u, v
        packed[i, 2], packed[i, 3], packed[i, 4] = -cxy / cyy, cyy / det * HALF_LOG2E, HALF_LOG2E / cyy
        packed[i, 5] = math.log2(opacity)
        packed[i, 6], packed[i, 7], packed[i, 8] = colours[i, 0], colours[i, 1], colours[i, 2]
        packed[i, 9] = z
        packed[i, 10], packed[i, 11] = half_x, half_y
        packed[i, 12] = cxy / cxx * half_x
        across = math.floor(min(u + half_x + 1.0, width) / TILE) - math.floor(max(u - half_x - 1.0, 0.0) / TILE)
        down = math.floor(min(v + half_y + 1.0, height) / TILE) - math.floor(max(v - half_y - 1.0, 0.0) / TILE)
        room[0] += int(max(across + 1, 0) * max(down + 1, 0))


@kernel
def project_backward(  # type: ignore[no-untyped-def]
    means, quats, scales, opacities, view, camera, packed, pair_start, pair_end, pair_mask, sums,
    grad_means, grad_quats, grad_scales, grad_opacities, grad_colours, grad_screen, grad_view,
):  # fmt: skip
    """Write the gradients (n, ...) of n Gaussians and add to grad_view (3, 4).

    pair_start, pair_end (n,): the pairs of each Gaussian in sums (pairs, SUMS); those with a pair_mask of 0 have none.
    """
    fx, fy = camera[0], camera[1]
    work = np.empty(30)
    quat, scale, total_of = np.empty(4), np.empty(3), np.empty(SUMS)
    ga, gm, gr = np.empty((2, 3)), np.empty((3, 3)), np.empty((3, 3))
    for i in range(means.shape[0]):
        for j in range(3):
            grad_means[i, j] = grad_scales[i, j] = grad_colours[i, j] = 0.0
        for j in range(4):
            grad_quats[i, j] = 0.0
        grad_opacities[i] = grad_screen[i, 0] = grad_screen[i, 1] = 0.0
        seen = False
        for j in range(10):
            total_of[j] = 0.0
        for pair in range(pair_start[i], pair_end[i]):
            if pair_mask[pair] != 0:
                seen = True
                for j in range(10):
                    total_of[j] += sums[pair, j]
        if not seen:
            continue
        for j in range(3):
            grad_colours[i, j] = total_of[6 + j]
        grad_opacities[i] = total_of[0] / opacities[i]
        mx, my, mz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        x = view[0, 0] * mx + view[0, 1] * my + view[0, 2] * mz + view[0, 3]
        y = view[1, 0] * mx + view[1, 1] * my + view[1, 2] * mz + view[1, 3]
        z = view[2, 0] * mx + view[2, 1] * my + view[2, 2] * mz + view[2, 3]
        for j in range(4):
            quat[j] = quats[i, j]
        for j in range(3):
            scale[j] = scales[i, j]
        clamped_x, clamped_y = _half(quat, scale, view, x, y, z, camera, work)
        cxx = work[24] * work[24] + work[25] * work[25] + work[26] * work[26] + EPS2D
        cxy = work[24] * work[27] + work[25] * work[28] + work[26] * work[29]
        cyy = work[27] * work[27] + work[28] * work[28] + work[29] * work[29] + EPS2D
        det = cxx * cyy - cxy * cxy
        # h = C^-1 d = (a u, a k u + v / cyy), with a = cyy / det
        a, k, c = cyy / det, -cxy / cyy, 1.0 / cyy
        gu = a * total_of[1]
        gv = k * gu + c * total_of[2]
        gxx = 0.5 * a * a * total_of[3]
        gxy = k * gxx + 0.5 * a * c * total_of[4]
        gyy = k * k * gxx + a * k * c * total_of[4] + 0.5 * c * c * total_of[5]
        grad_screen[i, 0], grad_screen[i, 1] = gu, gv
        for j in range(3):
            ga[0, j] = 2 * (gxx * work[24 + j] + gxy * work[27 + j])
            ga[1, j] = 2 * (gxy * work[24 + j] + gyy * work[27 + j])
        gj00 = gj02 = gj11 = gj12 = 0.0
        for j in range(3):
            gj00 += ga[0, j] * work[9 + j]
            gj02 += ga[0, j] * work[15 + j]
            gj11 += ga[1, j] * work[12 + j]
            gj12 += ga[1, j] * work[15 + j]
            gm[0, j] = work[18] * ga[0, j]
            gm[1, j] = work[22] * ga[1, j]
            gm[2, j] = work[20] * ga[0, j] + work[23] * ga[1, j]
        # J: fx/z, -fx tx/z (tx = x/z where it is not clamped), and the same in y; the mean: fx x/z
        gx, gy = gu * fx / z, gv * fy / z
        gz = -(gu * fx * x + gv * fy * y) / (z * z)
        gz -= (gj00 * work[18] + gj02 * work[20] + gj11 * work[22] + gj12 * work[23]) / z
        if not clamped_x:
            gx -= gj02 * fx / (z * z)
            gz += gj02 * fx * x / (z * z * z)
        if not clamped_y:
            gy -= gj12 * fy / (z * z)
            gz += gj12 * fy * y / (z * z * z)
        gz += total_of[9]
        for j in range(3):
            grad_means[i, j] = view[0, j] * gx + view[1, j] * gy + view[2, j] * gz
        grad_view[0, 0] += gx * mx
        grad_view[0, 1] += gx * my
        grad_view[0, 2] += gx * mz
        grad_view[0, 3] += gx
        grad_view[1, 0] += gy * mx
        grad_view[1, 1] += gy * my
        grad_view[1, 2] += gy * mz
        grad_view[1, 3] += gy
        grad_view[2, 0] += gz * mx
        grad_view[2, 1] += gz * my
        grad_view[2, 2] += gz * mz
        grad_view[2, 3] += gz
        for j in range(3):
            total = 0.0
            for k in range(3):
                back = view[0, k] * gm[0, j] + view[1, k] * gm[1, j] + view[2, k] * gm[2, j]
                total += back * work[3 * k + j]
                gr[k, j] = back * scale[j]
                for row in range(3):
                    grad_view[row, k] += gm[row, j] * work[3 * k + j] * scale[j]
            grad_scales[i, j] = total
        length = math.sqrt(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3])
        qw, qx, qy, qz = quat[0] / length, quat[1] / length, quat[2] / length, quat[3] / length
        dw = 2 * (qx * (gr[2, 1] - gr[1, 2]) + qy * (gr[0, 2] - gr[2, 0]) + qz * (gr[1, 0] - gr[0, 1]))
        dx = 2 * (qy * (gr[0, 1] + gr[1, 0]) + qz * (gr[0, 2] + gr[2, 0]) + qw * (gr[2, 1] - gr[1, 2]))
        dx -= 4 * qx * (gr[1, 1] + gr[2, 2])
        dy = 2 * (qx * (gr[0, 1] + gr[1, 0]) + qz * (gr[1, 2] + gr[2, 1]) + qw * (gr[0, 2] - gr[2, 0]))
        dy -= 4 * qy * (gr[0, 0] + gr[2, 2])
        dz = 2 * (qx * (gr[0, 2] + gr[2, 0]) + qy * (gr[1, 2] + gr[2, 1]) + qw * (gr[1, 0] - gr[0, 1]))
        dz -= 4 * qz * (gr[0, 0] + gr[1, 1])
        along = dw * qw + dx * qx + dy * qy + dz * qz
        grad_quats[i, 0] = (dw - along * qw) / length
        grad_quats[i, 1] = (dx - along * qx) / length
        grad_quats[i, 2] = (dy - along * qy) / length
        grad_quats[i, 3] = (dz - along * qz) / length
