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
        [0.26, 0.12, 0.08, 0.11, 4.0],
        [0.20, 0.18, 0.18, 1.60, 8.0],
        [0.25, 0.15, 0.15, 0.45, 6.0],
        [0.25, 0.25, 0.25, 0.10, 3.0],
        [0.10, 0.10, 0.10, 0.01, 2.0],
        [0.20, 0.20, 0.20, 0.00, 2.0],
    ]
)


@kernel
def project_vertices(vertices, fx, fy, cx, cy, out):  # type: ignore[no-untyped-def]
    """Write out (V, 3): x, y in samples of the window and inverse depth, 0 where nearer than NEAR."""
    for v in range(vertices.shape[0]):
        z = np.float64(vertices[v, 2])
        if z < NEAR:
            out[v, 0] = out[v, 1] = out[v, 2] = 0.0
        else:
            out[v, 0] = fx * vertices[v, 0] / z + cx
            out[v, 1] = fy * vertices[v, 1] / z + cy
            out[v, 2] = 1.0 / z


@kernel
def _span(start, end, slope, rest):  # type: ignore[no-untyped-def]
    """Shorten [start, end] (sample centres) to where slope * x + rest >= 0."""
    if slope > 0.0:
        start = max(start, -rest / slope)
    elif slope < 0.0:
        end = min(end, -rest / slope)
    elif rest < 0.0:
        end = start - 1.0
    return start, end


@kernel
def draw_faces(points, faces, material, veil, nearest, ids, darkness):  # type: ignore[no-untyped-def]
    """z-buffer: nearest (H, W) float32 inverse depth and ids (H, W) are updated.

    Skin, eyeballs and cloth are closed surfaces: their faces that look away are left out. Lashes, which come last, hide
    nothing: where they lie before the rest, they leave ``veil`` (V,) of their vertices in darkness (H, W).
    """
    height, width = ids.shape
    margin = 1e-6  # of a sample: an overlap, so that rounding leaves no hole between neighbours
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = points[a, 2], points[b, 2], points[c, 2]
        if za <= 0.0 or zb <= 0.0 or zc <= 0.0:
            continue
        ax, ay, bx, by = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
        qx, qy = points[c, 0], points[c, 1]
        area = (bx - ax) * (qy - ay) - (by - ay) * (qx - ax)
        if abs(area) < 1e-12:
            continue
        kind = material[f]
        if area > 0.0 and (kind == SKIN or kind == EYE or kind == CLOTH):
            continue
        top = max(0, int(math.ceil(min(ay, by, qy) - 0.5)))
        bottom = min(height - 1, int(math.floor(max(ay, by, qy) - 0.5)))
        low, high = max(0.5, min(ax, bx, qx)), min(width - 0.5, max(ax, bx, qx))
        if low > high or top > bottom:
            continue
        inverse = 1.0 / area
        # Barycentrics are affine in the sample's position: b_i = g_i x + h_i y + k_i.
        g0, h0 = (by - qy) * inverse, (qx - bx) * inverse
        k0 = (bx * qy - qx * by) * inverse
        g1, h1 = (qy - ay) * inverse, (ax - qx) * inverse
        k1 = (qx * ay - ax * qy) * inverse
        slope = g0 * (za - zc) + g1 * (zb - zc)
        for y in range(top, bottom + 1):
            r0, r1 = h0 * (y + 0.5) + k0, h1 * (y + 0.5) + k1
            start, end = _span(low, high, g0, r0)
            start, end = _span(start, end, g1, r1)
            start, end = _span(start, end, -g0 - g1, 1.0 - r0 - r1)
            first, last = int(math.ceil(start - 0.5 - margin)), int(math.floor(end - 0.5 + margin))
            z = zc + r0 * (za - zc) + r1 * (zb - zc)
            for x in range(max(first, 0), min(last, width - 1) + 1):
                inverse_depth = np.float32(z + slope * (x + 0.5))
                if kind == LASH:
                    if inverse_depth > nearest[y, x]:
                        darkness[y, x] = max(darkness[y, x], np.float32(veil[a]))
                elif inverse_depth > nearest[y, x]:
                    nearest[y, x] = inverse_depth
                    ids[y, x] = f


@kernel
def vertex_light(normals, sh, out):  # type: ignore[no-untyped-def]
    """Light from all round (V, 3) that a white surface with these normals (V, 3) sends back; sh (9, 3)."""
    for v in range(normals.shape[0]):
        nx, ny, nz = normals[v, 0], normals[v, 1], normals[v, 2]
        for k in range(3):
            out[v, k] = max(
                0.0,
                sh[0, k] + sh[1, k] * ny + sh[2, k] * nz + sh[3, k] * nx + sh[4, k] * nx * ny + sh[5, k] * ny * nz
                + sh[6, k] * (3 * nz * nz - 1) + sh[7, k] * nx * nz + sh[8, k] * (nx * nx - ny * ny),
            )  # fmt: skip


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
def _lit_coarse(depths, frame, origin, scale, bias, x, y, z):  # type: ignore[no-untyped-def]
    """As _lit, bilinear between four texels only."""
    size = depths.shape[0]
    x, y, z = x - origin[0], y - origin[1], z - origin[2]
    u = (frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z) * scale + 0.5 * size - 0.5
    v = (frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z) * scale + 0.5 * size - 0.5
    d = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z - bias
    i, j = int(math.floor(u)), int(math.floor(v))
    if i < 0 or j < 0 or i >= size - 1 or j >= size - 1:
        return 1.0
    p, q = u - i, v - j
    upper = (1 - p) * (depths[j, i] > d) + p * (depths[j, i + 1] > d)
    lower = (1 - p) * (depths[j + 1, i] > d) + p * (depths[j + 1, i + 1] > d)
    return (1 - q) * upper + q * lower


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
def shade(  # type: ignore[no-untyped-def]
    vertices, normals, occlusion, around, points, faces, material, resolution, offset, texels, materials,
    light, light_colour, depths, frame, origin, scale, sample_focal, ids, darkness, row0, row1, image, alpha,
):  # fmt: skip
    """Shade pixel rows row0 <= y < row1 of the window: image (H, W, 3) linear, premultiplied; alpha (H, W).

    vertices, normals (V, 3); occlusion (V,) 1 = open; points (V, 3) from project_vertices; ids, darkness (2H, 2W).
    around (V, 3) from vertex_light; light (3,) unit vector towards the key light.
    """
    width = image.shape[1]
    texel = np.empty(4)
    here = np.empty(4, np.int32)
    for y in range(row0, row1):
        for x in range(width):
            red = green = blue = 0.0
            covered = 0
            for k in range(4):
                here[k] = ids[2 * y + (k >> 1), 2 * x + (k & 1)]
            for s in range(4):
                f = here[s]
                if f < 0:
                    continue
                count, sx, sy = 0, 0.0, 0.0
                for r in range(s, 4):
                    if here[r] == f:  # its later samples are shaded with this one, so they are struck off
                        here[r] = -1
                        count += 1
                        sx += 2 * x + (r & 1) + 0.5
                        sy += 2 * y + (r >> 1) + 0.5
                covered += count
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
                                hidden += 0.2
                        side = int(sx - k * step)
                        if side >= 0:
                            g = ids[int(sy), side]
                            if g >= 0 and material[g] != EYE:
                                hidden += 0.2
                    open_ = max(0.45, 1.0 - 0.13 * hidden)
                    key = open_
                # The smooth normal pushes the point out of its own flat facet's shadow.
                nl = nx * light[0] + ny * light[1] + nz * light[2]
                lit = 0.0
                if kind == CLOTH:  # no highlights, a plain cosine: half the image at a quarter of the cost
                    if nl > 0.0:
                        lit = nl * _lit_coarse(depths, frame, origin, scale, 0.008, px, py, pz)
                    for k in range(3):
                        ambient = w0 * around[a, k] + w1 * around[b, k] + w2 * around[c, k]
                        value = count * texel[k] * texel[k] * (ambient * open_ + light_colour[k] * lit)
                        if k == 0:
                            red += value
                        elif k == 1:
                            green += value
                        else:
                            blue += value
                    continue
                if nl > -materials[kind, 0]:
                    lit = _lit(depths, frame, origin, scale, 0.004, px + 0.003 * nx, py + 0.003 * ny, pz + 0.003 * nz)
                    lit *= key
                hx, hy, hz = light[0] + vx, light[1] + vy, light[2] + vz
                h = (nx * hx + ny * hy + nz * hz) / math.sqrt(hx * hx + hy * hy + hz * hz + 1e-12)
                shine = max(0.0, h)
                for _ in range(int(materials[kind, 4])):
                    shine *= shine
                shine *= materials[kind, 3] * lit * texel[3] * 2.0
                if nl < 0.0:
                    shine = 0.0
                edge = (1.0 - max(0.0, nv)) ** 4 * 0.22 * texel[3] * open_
                for k in range(3):
                    ambient = w0 * around[a, k] + w1 * around[b, k] + w2 * around[c, k]
                    # Light that bounces within a crease takes on the surface's colour.
                    albedo = texel[k] * texel[k]
                    shut = open_ / (1.0 - 0.6 * albedo * (1.0 - open_))
                    wrap = materials[kind, k]
                    direct = max(0.0, nl + wrap) / (1.0 + wrap)
                    direct *= lit + (1.0 - lit) * 0.25 * wrap
                    value = albedo * (ambient * shut + light_colour[k] * direct * (0.35 + 0.65 * open_))
                    value += light_colour[k] * shine + ambient * edge * (0.3 + albedo)
                    if k == 0:
                        red += value * count
                    elif k == 1:
                        green += value * count
                    else:
                        blue += value * count
            veil = darkness[2 * y, 2 * x] + darkness[2 * y, 2 * x + 1]
            veil = 0.25 - 0.0625 * (veil + darkness[2 * y + 1, 2 * x] + darkness[2 * y + 1, 2 * x + 1])
            image[y, x, 0], image[y, x, 1], image[y, x, 2] = veil * red, veil * green, veil * blue
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
