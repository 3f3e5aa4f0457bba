"""z-buffer in numba for CPUs: one pass over the faces that keeps the nearest, one over the pixels that fills in.

The image is cut into bands of rows; a band is drawn by one thread, with all faces in ascending order, so the result
does not depend on how many threads there are. Geometry: see :mod:`model.raster.fragments`. All arithmetic is float64.
"""

from __future__ import annotations

import math

import numpy as np

from model.camera import Camera
from model.raster.fragments import DEGENERATE, NEAR
from model.raster.jit import default_threads, kernel, run_jobs


@kernel
def _edge(vertices, a, b, fx, fy, cx, cy):  # type: ignore[no-untyped-def]
    """Coefficients (A, B, C) of d . (va x vb) = A px + B py + C.

    The two faces at an edge name it in opposite directions. The product is formed from the lower to the higher index
    and its sign flipped, so both get exactly negated values and no pixel on the edge is lost between them.
    (numba's float() keeps float32, hence np.float64.)
    """
    sign = 1.0
    if a > b:
        a, b = b, a
        sign = -1.0
    ax, ay, az = np.float64(vertices[a, 0]), np.float64(vertices[a, 1]), np.float64(vertices[a, 2])
    bx, by, bz = np.float64(vertices[b, 0]), np.float64(vertices[b, 1]), np.float64(vertices[b, 2])
    nx = sign * (ay * bz - az * by) / fx
    ny = sign * (az * bx - ax * bz) / fy
    nz = sign * (ax * by - ay * bx)
    return nx, ny, nz - cx * nx - cy * ny


@kernel
def _bounds(vertices, face, near, fx, fy, cx, cy):  # type: ignore[no-untyped-def]
    """Box (x0, x1, y0, y1) in pixels of the part of a face that lies beyond the near plane; x0 > x1 if none does."""
    x0, x1, y0, y1 = math.inf, -math.inf, math.inf, -math.inf
    for i in range(3):
        j = (i + 1) % 3
        p, q = face[i], face[j]
        px, py, pz = np.float64(vertices[p, 0]), np.float64(vertices[p, 1]), np.float64(vertices[p, 2])
        qx, qy, qz = np.float64(vertices[q, 0]), np.float64(vertices[q, 1]), np.float64(vertices[q, 2])
        if pz >= near:
            u, v = fx * px / pz + cx, fy * py / pz + cy
            x0, x1, y0, y1 = min(x0, u), max(x1, u), min(y0, v), max(y1, v)
        if (pz >= near) != (qz >= near):
            s = (near - pz) / (qz - pz)
            u, v = fx * (px + s * (qx - px)) / near + cx, fy * (py + s * (qy - py)) / near + cy
            x0, x1, y0, y1 = min(x0, u), max(x1, u), min(y0, v), max(y1, v)
    return x0, x1, y0, y1


@kernel
def _draw_band(vertices, faces, fx, fy, cx, cy, near, degenerate, row0, row1, face_id, bary, depth):  # type: ignore[no-untyped-def]
    """Draw rows row0 <= y < row1 of one image.

    vertices (V, 3), faces (F, 3) in; face_id (H, W), bary (H, W, 3), depth (H, W) out.
    """
    width = face_id.shape[1]
    nearest = np.zeros((row1 - row0, width), np.float64)  # inverse depth; 0 is infinitely far
    largest = 1.0 / near
    for y in range(row0, row1):
        for x in range(width):
            face_id[y, x] = -1
    screen = np.empty((vertices.shape[0], 2))
    for v in range(vertices.shape[0]):
        pz = np.float64(vertices[v, 2])
        screen[v, 0] = fx * vertices[v, 0] / pz + cx
        screen[v, 1] = fy * vertices[v, 1] / pz + cy
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if vertices[a, 2] >= near and vertices[b, 2] >= near and vertices[c, 2] >= near:
            y0 = min(screen[a, 1], screen[b, 1], screen[c, 1])
            y1 = max(screen[a, 1], screen[b, 1], screen[c, 1])
            x0 = min(screen[a, 0], screen[b, 0], screen[c, 0])
            x1 = max(screen[a, 0], screen[b, 0], screen[c, 0])
        else:
            x0, x1, y0, y1 = _bounds(vertices, faces[f], near, fx, fy, cx, cy)
        # Pixel centres lie at +0.5; the margin forgives rounding in the box, the edge tests below decide.
        if not (x0 <= x1 and x1 >= 0.0 and x0 <= width and y1 >= row0 and y0 <= row1):
            continue
        left = max(0, int(math.ceil(max(x0, 0.0) - 0.501)))
        right = min(width - 1, int(math.floor(min(x1, width) - 0.499)))
        top = max(row0, int(math.ceil(max(y0, row0) - 0.501)))
        bottom = min(row1 - 1, int(math.floor(min(y1, row1) - 0.499)))
        if left > right or top > bottom:
            continue
        a0, b0, c0 = _edge(vertices, b, c, fx, fy, cx, cy)
        a1, b1, c1 = _edge(vertices, c, a, fx, fy, cx, cy)
        a2, b2, c2 = _edge(vertices, a, b, fx, fy, cx, cy)
        ax, ay, az = np.float64(vertices[a, 0]), np.float64(vertices[a, 1]), np.float64(vertices[a, 2])
        bx, by, bz = np.float64(vertices[b, 0]), np.float64(vertices[b, 1]), np.float64(vertices[b, 2])
        qx, qy, qz = np.float64(vertices[c, 0]), np.float64(vertices[c, 1]), np.float64(vertices[c, 2])
        det = ax * (by * qz - bz * qy) + ay * (bz * qx - bx * qz) + az * (bx * qy - by * qx)
        size = math.sqrt((ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz) * (qx * qx + qy * qy + qz * qz))
        if not abs(det) > degenerate * size:  # also true for NaN
            continue
        flip = 1.0 if det > 0 else -1.0
        za, zb, zc = (a0 + a1 + a2) / det, (b0 + b1 + b2) / det, (c0 + c1 + c2) / det
        for y in range(top, bottom + 1):
            py = y + 0.5
            r0, r1, r2, rz = b0 * py + c0, b1 * py + c1, b2 * py + c2, zb * py + zc
            for x in range(left, right + 1):
                px = x + 0.5
                if (a0 * px + r0) * flip >= 0 and (a1 * px + r1) * flip >= 0 and (a2 * px + r2) * flip >= 0:
                    inverse = za * px + rz
                    if nearest[y - row0, x] < inverse <= largest:
                        nearest[y - row0, x] = inverse
                        face_id[y, x] = f
    for y in range(row0, row1):
        py = y + 0.5
        for x in range(width):
            f = face_id[y, x]
            if f < 0:
                bary[y, x, 0] = bary[y, x, 1] = bary[y, x, 2] = 0.0
                depth[y, x] = 0.0
                continue
            px = x + 0.5
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            a0, b0, c0 = _edge(vertices, b, c, fx, fy, cx, cy)
            a1, b1, c1 = _edge(vertices, c, a, fx, fy, cx, cy)
            a2, b2, c2 = _edge(vertices, a, b, fx, fy, cx, cy)
            e0, e1, e2 = a0 * px + (b0 * py + c0), a1 * px + (b1 * py + c1), a2 * px + (b2 * py + c2)
            total = e0 + e1 + e2
            bary[y, x, 0], bary[y, x, 1], bary[y, x, 2] = e0 / total, e1 / total, e2 / total
            depth[y, x] = 1.0 / nearest[y - row0, x]


def rasterize_arrays(
    vertices: np.ndarray, faces: np.ndarray, camera: Camera, near: float = NEAR, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rasterise a batch of poses of one mesh, in numpy arrays.

    Args:
        vertices: (B, V, 3) float32 or float64, camera frame, metres. Faces with a NaN in a vertex are skipped.
        faces: (F, 3) int32 or int64, indices below V (not checked here).
        camera: intrinsics and image size.
        near: surfaces nearer than this (metres) are cut away.
        threads: how many threads; None for torch's setting. The result does not depend on it.

    Returns:
        face_id (B, H, W) int32, bary (B, H, W, 3) and depth (B, H, W) in the dtype of ``vertices``.
    """
    batch, height, width = vertices.shape[0], camera.height, camera.width
    vertices, faces = np.ascontiguousarray(vertices), np.ascontiguousarray(faces)
    face_id = np.empty((batch, height, width), np.int32)
    bary = np.empty((batch, height, width, 3), vertices.dtype)
    depth = np.empty((batch, height, width), vertices.dtype)
    count = default_threads() if threads is None else max(1, threads)
    # Enough bands to even out threads, few enough that passing over all faces per band stays cheap.
    bands = 1 if count == 1 or batch >= 2 * count else min(height, 2 * count)
    edges = np.linspace(0, height, bands + 1).astype(int)
    fixed = (float(camera.fx), float(camera.fy), float(camera.cx), float(camera.cy), float(near), DEGENERATE)
    jobs = [
        (vertices[i], faces, *fixed, int(edges[j]), int(edges[j + 1]), face_id[i], bary[i], depth[i])
        for i in range(batch)
        for j in range(bands)
    ]
    run_jobs(_draw_band, jobs, count)
    return face_id, bary, depth
