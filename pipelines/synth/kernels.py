"""numba kernels that draw one textured, lit mesh into a window of an image, at 2x2 samples a pixel.

Visibility is decided for each of the four samples; a face is shaded once for all samples of a pixel that it covers, at
their mean (multisampling). Colours are linear light until the end. Arrays are in the camera frame, metres.

Faces with a vertex nearer than NEAR are dropped: people do not sit on the lens.
"""

from __future__ import annotations

import math

import numpy as np

from model.raster.jit import kernel

NEAR = 0.02
SKIN, EYE, MOUTH, HAIR, CLOTH, LASH = 0, 1, 2, 3, 4, 5
"""Materials of faces."""

#: wrap of the red, green and blue diffuse light round the terminator, strength and exponent (2**n) of the highlight
MATERIALS = np.array(
    [
        [0.30, 0.14, 0.10, 0.10, 4.0],
        [0.20, 0.18, 0.18, 1.60, 8.0],
        [0.25, 0.15, 0.15, 0.45, 6.0],
        [0.25, 0.25, 0.25, 0.10, 3.0],
        [0.10, 0.10, 0.10, 0.01, 2.0],
        [0.20, 0.20, 0.20, 0.00, 2.0],
    ]
)


@kernel
def vertex_normals(vertices, faces, out):  # type: ignore[no-untyped-def]
    """Area-weighted unit normals (V, 3); zero for vertices of no face."""
    out[:] = 0.0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        wx, wy, wz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for v in (a, b, c):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = math.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        if length > 0:
            for k in range(3):
                out[v, k] /= length


@kernel
def project_vertices(vertices, fx, fy, cx, cy, out):  # type: ignore[no-untyped-def]
    """out (V, 3): x, y in samples of the window and inverse depth, 0 where nearer than NEAR."""
    for v in range(vertices.shape[0]):
        z = np.float64(vertices[v, 2])
        if z < NEAR:
            out[v, 0] = out[v, 1] = out[v, 2] = 0.0
        else:
            out[v, 0] = fx * vertices[v, 0] / z + cx
            out[v, 1] = fy * vertices[v, 1] / z + cy
            out[v, 2] = 1.0 / z


@kernel
def draw_faces(points, faces, first, last, nearest, ids):  # type: ignore[no-untyped-def]
    """z-buffer of faces first <= f < last: nearest (H, W) inverse depth and ids (H, W) are updated."""
    height, width = ids.shape
    for f in range(first, last):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
        if za <= 0.0 or zb <= 0.0 or zc <= 0.0:
            continue
        ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        qx, qy = points[c, 0], points[c, 1]
        left = max(0, int(math.ceil(min(ax, bx, qx) - 0.5)))
        right = min(width - 1, int(math.floor(max(ax, bx, qx) - 0.5)))
        top = max(0, int(math.ceil(min(ay, by, qy) - 0.5)))
        bottom = min(height - 1, int(math.floor(max(ay, by, qy) - 0.5)))
        if left > right or top > bottom:
            continue
        area = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
        if abs(area) < 1e-12:
            continue
        inverse = 1.0 / area
        # Barycentrics are affine in the sample's position: b_i = g_i x + h_i y + k_i.
        g0, h0 = (by - qy) * inverse, (qx - bx) * inverse
        k0 = (bx * qy - qx * by) * inverse
        g1, h1 = (qy - ay) * inverse, (ax - qx) * inverse
        k1 = (qx * ay - ax * qy) * inverse
        for y in range(top, bottom + 1):
            r0, r1 = h0 * (y + 0.5) + k0, h1 * (y + 0.5) + k1
            for x in range(left, right + 1):
                b0, b1 = g0 * (x + 0.5) + r0, g1 * (x + 0.5) + r1
                b2 = 1.0 - b0 - b1
                # A hair's breadth of overlap: no holes between neighbours, where rounding could leave one.
                if b0 >= -1e-9 and b1 >= -1e-9 and b2 >= -1e-9:
                    z = b0 * za + b1 * zb + b2 * zc
                    if z > nearest[y, x]:
                        nearest[y, x] = z
                        ids[y, x] = f


@kernel
def shadow_depths(vertices, faces, frame, origin, scale, depths):  # type: ignore[no-untyped-def]
    """Parallel projection along the light: depths (S, S) becomes the distance of the nearest surface.

    frame (3, 3) has the light's axes as rows, the third pointing from the light; scale is in texels a metre.
    """
    size = depths.shape[0]
    count = vertices.shape[0]
    points = np.empty((count, 3))
    for v in range(count):
        x, y, z = vertices[v, 0] - origin[0], vertices[v, 1] - origin[1], vertices[v, 2] - origin[2]
        points[v, 0] = (frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z) * scale + 0.5 * size
        points[v, 1] = (frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z) * scale + 0.5 * size
        points[v, 2] = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
    for y in range(size):
        for x in range(size):
            depths[y, x] = 1e9
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        qx, qy = points[c, 0], points[c, 1]
        left = max(0, int(math.ceil(min(ax, bx, qx) - 0.5)))
        right = min(size - 1, int(math.floor(max(ax, bx, qx) - 0.5)))
        top = max(0, int(math.ceil(min(ay, by, qy) - 0.5)))
        bottom = min(size - 1, int(math.floor(max(ay, by, qy) - 0.5)))
        area = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
        if left > right or top > bottom or abs(area) < 1e-12:
            continue
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5, y + 0.5
                b0 = ((bx - px) * (qy - py) - (by - py) * (qx - px)) / area
                b1 = ((qx - px) * (ay - py) - (qy - py) * (ax - px)) / area
                b2 = 1.0 - b0 - b1
                if b0 >= 0 and b1 >= 0 and b2 >= 0:
                    z = b0 * points[a, 2] + b1 * points[b, 2] + b2 * points[c, 2]
                    if z < depths[y, x]:
                        depths[y, x] = z


@kernel
def _lit(depths, frame, origin, scale, bias, x, y, z):  # type: ignore[no-untyped-def]
    """Share of the light that reaches a point: 2x2 texels of the shadow map, bilinear."""
    size = depths.shape[0]
    x, y, z = x - origin[0], y - origin[1], z - origin[2]
    u = (frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z) * scale + 0.5 * size - 0.5
    v = (frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z) * scale + 0.5 * size - 0.5
    d = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z - bias
    i, j = int(math.floor(u)), int(math.floor(v))
    if i < 1 or j < 1 or i >= size - 2 or j >= size - 2:
        return 1.0
    p, q = u - i, v - j
    # 3x3 tent: each of four neighbouring 2x2 lookups shares its texels.
    total = 0.0
    for dj in range(-1, 3):
        wy = (1 - q) if dj == -1 else (q if dj == 2 else 1.0)
        for di in range(-1, 3):
            wx = (1 - p) if di == -1 else (p if di == 2 else 1.0)
            if depths[j + dj, i + di] > d:
                total += wx * wy
    return total / 9.0


@kernel
def _texel(texels, base, resolution, b0, b1, channel_out):  # type: ignore[no-untyped-def]
    """Interpolated texel (4 channels, 0..1, still square-root encoded) of a face at barycentrics b0, b1."""
    u, v = max(0.0, b0) * resolution, max(0.0, b1) * resolution
    i = min(int(u), resolution - 1)
    j = min(int(v), resolution - 1 - i)
    p, q = min(1.0, u - i), min(1.0, v - j)
    n10 = base + (i + 1) * (2 * resolution + 3 - (i + 1)) // 2 + j
    n00 = base + i * (2 * resolution + 3 - i) // 2 + j
    n01 = n00 + 1
    if p + q <= 1.0 or i + j + 2 > resolution:
        total = max(1.0, p + q)
        w10, w01 = p / total, q / total
        w = 1.0 - w10 - w01
        n = n00
    else:
        w, w10, w01 = p + q - 1.0, 1.0 - q, 1.0 - p
        n = n10 + 1
    for c in range(4):
        channel_out[c] = (w * texels[n, c] + w10 * texels[n10, c] + w01 * texels[n01, c]) * (1.0 / 255.0)


@kernel
def shade(
    vertices, normals, occlusion, points, faces, material, resolution, offset, texels, materials,
    sh, light, light_colour, depths, frame, origin, scale, sample_focal, ids, row0, row1, image, alpha,
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Shade pixel rows row0 <= y < row1 of the window: image (H, W, 3) linear, premultiplied; alpha (H, W).

    vertices, normals (V, 3); occlusion (V,) 1 = open; points (V, 3) from project_vertices; ids (2H, 2W).
    sh (9, 3) irradiance coefficients over pi; light (3,) unit vector towards the key light.
    """
    width = image.shape[1]
    texel = np.empty(4)
    for y in range(row0, row1):
        for x in range(width):
            red = green = blue = 0.0
            covered = 0
            for s in range(4):
                f = ids[2 * y + (s >> 1), 2 * x + (s & 1)]
                if f < 0:
                    continue
                covered += 1
                seen = False
                for r in range(s):
                    if ids[2 * y + (r >> 1), 2 * x + (r & 1)] == f:
                        seen = True
                if seen:
                    continue
                count, sx, sy = 0, 0.0, 0.0
                for r in range(s, 4):
                    if ids[2 * y + (r >> 1), 2 * x + (r & 1)] == f:
                        count += 1
                        sx += 2 * x + (r & 1) + 0.5
                        sy += 2 * y + (r >> 1) + 0.5
                sx, sy = sx / count, sy / count
                a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                ax, ay, bx, by = points[a, 0] - sx, points[a, 1] - sy, points[b, 0] - sx, points[b, 1] - sy
                qx, qy = points[c, 0] - sx, points[c, 1] - sy
                w0, w1 = (bx * qy - by * qx) * points[a, 2], (qx * ay - qy * ax) * points[b, 2]
                w2 = (ax * by - ay * bx) * points[c, 2]
                total = w0 + w1 + w2
                if total == 0.0:
                    continue
                w0, w1 = w0 / total, w1 / total
                w2 = 1.0 - w0 - w1
                px = w0 * vertices[a, 0] + w1 * vertices[b, 0] + w2 * vertices[c, 0]
                py = w0 * vertices[a, 1] + w1 * vertices[b, 1] + w2 * vertices[c, 1]
                pz = w0 * vertices[a, 2] + w1 * vertices[b, 2] + w2 * vertices[c, 2]
                nx = w0 * normals[a, 0] + w1 * normals[b, 0] + w2 * normals[c, 0]
                ny = w0 * normals[a, 1] + w1 * normals[b, 1] + w2 * normals[c, 1]
                nz = w0 * normals[a, 2] + w1 * normals[b, 2] + w2 * normals[c, 2]
                norm = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-20)
                nx, ny, nz = nx * norm, ny * norm, nz * norm
                far = 1.0 / math.sqrt(px * px + py * py + pz * pz)
                vx, vy, vz = -px * far, -py * far, -pz * far
                nv = nx * vx + ny * vy + nz * vz
                kind = material[f]
                if nv < 0.0 and (kind == HAIR or kind == CLOTH):
                    nx, ny, nz, nv = -nx, -ny, -nz, -nv
                _texel(texels, offset[f], resolution[f], w0, w1, texel)
                open_ = w0 * occlusion[a] + w1 * occlusion[b] + w2 * occlusion[c]
                key = 1.0
                if kind == EYE:
                    # The upper lid and its lashes shade the eyeball: is there something else just above?
                    step = 0.0011 * sample_focal / pz
                    hidden = 0.0
                    for k in range(1, 4):
                        up = int(sy - k * step)
                        if up >= 0:
                            g = ids[up, int(sx)]
                            if g >= 0 and material[g] != EYE:
                                hidden += 1.0
                        side = int(sx + k * step)
                        if side < ids.shape[1]:
                            g = ids[int(sy), side]
                            if g >= 0 and material[g] != EYE:
                                hidden += 0.3
                        side = int(sx - k * step)
                        if side >= 0:
                            g = ids[int(sy), side]
                            if g >= 0 and material[g] != EYE:
                                hidden += 0.3
                    open_ = 1.0 - 0.17 * hidden
                    key = open_
                # The smooth normal pushes the point out of its own flat facet's shadow.
                lit = key * _lit(depths, frame, origin, scale, 0.004, px + 0.003 * nx, py + 0.003 * ny, pz + 0.003 * nz)
                nl = nx * light[0] + ny * light[1] + nz * light[2]
                hx, hy, hz = light[0] + vx, light[1] + vy, light[2] + vz
                h = (nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
                shine = max(0.0, h)
                for _ in range(int(materials[kind, 4])):
                    shine *= shine
                shine *= materials[kind, 3] * lit * texel[3] * 2.0
                if nl < 0.0:
                    shine = 0.0
                edge = (1.0 - max(0.0, nv)) ** 4 * 0.22 * texel[3] * open_
                xx, yy, zz = nx * nx, ny * ny, nz * nz
                for k in range(3):
                    ambient = (
                        sh[0, k] + sh[1, k] * ny + sh[2, k] * nz + sh[3, k] * nx
                        + sh[4, k] * nx * ny + sh[5, k] * ny * nz + sh[6, k] * (3 * zz - 1)
                        + sh[7, k] * nx * nz + sh[8, k] * (xx - yy)
                    )  # fmt: skip
                    # Light that bounces within a crease takes on the surface's colour.
                    albedo = texel[k] * texel[k]
                    shut = open_ / (1.0 - 0.6 * albedo * (1.0 - open_))
                    wrap = materials[kind, k]
                    direct = max(0.0, nl + wrap) / (1.0 + wrap)
                    direct *= lit + (1.0 - lit) * 0.25 * wrap
                    value = albedo * (max(0.0, ambient) * shut + light_colour[k] * direct * (0.35 + 0.65 * open_))
                    value += light_colour[k] * shine + max(0.0, ambient) * edge * (0.3 + albedo)
                    if k == 0:
                        red += value * count
                    elif k == 1:
                        green += value * count
                    else:
                        blue += value * count
            image[y, x, 0], image[y, x, 1], image[y, x, 2] = 0.25 * red, 0.25 * green, 0.25 * blue
            alpha[y, x] = 0.25 * covered


@kernel
def composite(image, alpha, background, table, x0, y0, out):  # type: ignore[no-untyped-def]
    """Put the window over background (H, W, 3) linear at (x0, y0), in place, and encode it into out (H, W, 3) uint8.

    table: output value for sqrt(linear / 2) in steps of 1 / (len - 1).
    """
    last = table.shape[0] - 1
    for y in range(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            a = alpha[y, x]
            if a == 0.0:
                continue
            for c in range(3):
                value = image[y, x, c] + (1.0 - a) * background[y0 + y, x0 + x, c]
                background[y0 + y, x0 + x, c] = value
                place = math.sqrt(max(0.0, 0.5 * value)) * last + 0.5
                out[y0 + y, x0 + x, c] = table[min(last, int(place))]
