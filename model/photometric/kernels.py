"""The costly loops of the photometric refinement: colours of surface points, their derivatives, rendering.

Every job covers some frames and writes to these alone, in a fixed order of operations, so results do not depend on the
number of threads (``model.raster.jit.run_jobs``). ``reference.py`` holds the slow and obvious forms.

The small functions of turns and affine forms stand in ``model/fitting/kernels.py`` too: numba would not notice a change
of a kernel in another file (``model.raster.jit``).

Pictures are (T, H, W, 4) uint8: RGB and the matte. They are read bilinearly, and held at their edges.
"""

from __future__ import annotations

import math

import numpy as np

from model.raster.jit import fast_kernel

_CHUNK = 64
"""Samples whose rows are held at once: 128 rows of 64 numbers stay in the first-level cache."""
_MIN_DEPTH = 0.02
"""Metres. Points nearer to the camera than this are not compared."""


@fast_kernel
def vertex_normals(first, last, vertices, faces, out):  # type: ignore[no-untyped-def]
    """Unit normals (T, V, 3) of vertices (T, V, 3): mean of the faces round a vertex, weighted by area."""
    for t in range(first, last):
        for v in range(vertices.shape[1]):
            out[t, v, 0] = out[t, v, 1] = out[t, v, 2] = 0
        for f in range(faces.shape[0]):
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            p0, p1, p2 = vertices[t, a, 0], vertices[t, a, 1], vertices[t, a, 2]
            e0, e1, e2 = vertices[t, b, 0] - p0, vertices[t, b, 1] - p1, vertices[t, b, 2] - p2
            g0, g1, g2 = vertices[t, c, 0] - p0, vertices[t, c, 1] - p1, vertices[t, c, 2] - p2
            n0, n1, n2 = e1 * g2 - e2 * g1, e2 * g0 - e0 * g2, e0 * g1 - e1 * g0
            for k in range(3):
                v = faces[f, k]
                out[t, v, 0] += n0
                out[t, v, 1] += n1
                out[t, v, 2] += n2
        for v in range(vertices.shape[1]):
            n0, n1, n2 = out[t, v, 0], out[t, v, 1], out[t, v, 2]
            size = math.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
            if size > 1e-20:
                out[t, v, 0], out[t, v, 1], out[t, v, 2] = n0 / size, n1 / size, n2 / size


@fast_kernel
def _place(x, y, width, height):  # type: ignore[no-untyped-def]
    """Pixel to the upper left (column, row), and the shares of its right and lower neighbours, of a point."""
    x, y = min(max(x - np.float32(0.5), np.float32(0)), np.float32(width - 1)), y - np.float32(0.5)
    y = min(max(y, np.float32(0)), np.float32(height - 1))
    i, j = min(int(x), width - 2), min(int(y), height - 2)
    return i, j, x - np.float32(i), y - np.float32(j)


@fast_kernel
def observe(  # type: ignore[no-untyped-def]
    first, last,
    image,  # (T, H, W, 4) uint8
    vertices,  # (T, V, 3) float32
    normals,  # (T, V, 3) float32
    face_id,  # (T, H, W) int32
    depth,  # (T, H, W) float32
    skin,  # (F,) bool
    corners, bary, is_skin,  # (K, 3) int64, (K, 3) float32, (K,) bool
    intrinsics, facing,
    colour,  # out (T, K, 3) float32 in [0, 1]
    normal,  # out (T, K, 3) float32
    weight,  # out (T, K) float32, 0 where hidden, turned away or out of the picture
):  # fmt: skip
    """Colours and normals of surface points as the pictures show them.

    Skin is visible where it is no farther than the nearest surface, up to the change of depth within a pixel; an
    eyeball where the pixel shows an eyeball, because closed lids are too thin for a test of depth.
    """
    height, width = image.shape[1], image.shape[2]
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    byte = np.float32(1 / 255)
    for t in range(first, last):
        for k in range(corners.shape[0]):
            p0 = p1 = p2 = n0 = n1 = n2 = np.float32(0)
            for m in range(3):
                v, b = corners[k, m], bary[k, m]
                p0 += b * vertices[t, v, 0]
                p1 += b * vertices[t, v, 1]
                p2 += b * vertices[t, v, 2]
                n0 += b * normals[t, v, 0]
                n1 += b * normals[t, v, 1]
                n2 += b * normals[t, v, 2]
            size = math.sqrt(n0 * n0 + n1 * n1 + n2 * n2) + 1e-12
            n0, n1, n2 = np.float32(n0 / size), np.float32(n1 / size), np.float32(n2 / size)
            normal[t, k, 0], normal[t, k, 1], normal[t, k, 2] = n0, n1, n2
            weight[t, k] = 0
            colour[t, k, 0] = colour[t, k, 1] = colour[t, k, 2] = 0
            if not p2 > _MIN_DEPTH:
                continue
            cosine = -(n0 * p0 + n1 * p1 + n2 * p2) / math.sqrt(p0 * p0 + p1 * p1 + p2 * p2)
            x, y = fx * p0 / p2 + cx, fy * p1 / p2 + cy
            if not (cosine > facing and 0.5 <= x <= width - 0.5 and 0.5 <= y <= height - 0.5):
                continue
            i, j, s, q = _place(np.float32(x), np.float32(y), width, height)
            slack = np.float32(0.002) + np.float32(1.5) * p2 / fx / np.float32(cosine)
            seen = False
            if is_skin[k]:
                farthest = np.float32(0)
                for row in range(j, j + 2):
                    for column in range(i, i + 2):
                        here = depth[t, row, column]
                        if face_id[t, row, column] < 0:
                            here = np.float32(1e9)
                        farthest = max(farthest, here)
                seen = p2 <= farthest + slack
            else:
                shown = face_id[t, min(int(y), height - 1), min(int(x), width - 1)]
                seen = shown >= 0 and not skin[shown]
            if not seen:
                continue
            weight[t, k] = (cosine - facing) / (1 - facing)
            for c in range(3):
                upper = image[t, j, i, c] * (1 - s) + image[t, j, i + 1, c] * s
                lower = image[t, j + 1, i, c] * (1 - s) + image[t, j + 1, i + 1, c] * s
                colour[t, k, c] = (upper * (1 - q) + lower * q) * byte


@fast_kernel
def _affine(rest, across, corrective, codes, turn, out):  # type: ignore[no-untyped-def]
    """Out (3 N) = rest + codes (C) across (C, 3 N) + turn (27) corrective (27 or 0, 3 N)."""
    num = out.shape[0]
    for i in range(num):
        out[i] = rest[i]
    for c in range(codes.shape[0]):
        b, row = codes[c], across[c]
        for i in range(num):
            out[i] += b * row[i]
    for k in range(corrective.shape[0]):
        b, row = turn[k], corrective[k]
        for i in range(num):
            out[i] += b * row[i]


@fast_kernel
def _turn(m, x, y, z):  # type: ignore[no-untyped-def]
    return (
        m[0, 0] * x + m[0, 1] * y + m[0, 2] * z,
        m[1, 0] * x + m[1, 1] * y + m[1, 2] * z,
        m[2, 0] * x + m[2, 1] * y + m[2, 2] * z,
    )


@fast_kernel
def _turn_back(m, v):  # type: ignore[no-untyped-def]
    return (
        m[0, 0] * v[0] + m[1, 0] * v[1] + m[2, 0] * v[2],
        m[0, 1] * v[0] + m[1, 1] * v[1] + m[2, 1] * v[2],
        m[0, 2] * v[0] + m[1, 2] * v[1] + m[2, 2] * v[2],
    )


@fast_kernel
def _swing(arm, pull, jacobian):  # type: ignore[no-untyped-def]
    """Derivative of pull . (turned arm) by the axis-angle: (arm x pull) J."""
    cross = (
        arm[1] * pull[2] - arm[2] * pull[1],
        arm[2] * pull[0] - arm[0] * pull[2],
        arm[0] * pull[1] - arm[1] * pull[0],
    )
    return _turn_back(jacobian, cross)


@fast_kernel
def _changes(turns, jacobians, out):  # type: ignore[no-untyped-def]
    """Derivatives (27, 3) of the entries of R - I of jaw and eyes by their own axis-angles: hat(J d) R."""
    for joint in range(3):
        for line in range(3):
            one, two = (line + 1) % 3, (line + 2) % 3
            for column in range(3):
                up, down = turns[joint, two, column], turns[joint, one, column]
                for a in range(3):
                    out[9 * joint + 3 * line + column, a] = (
                        jacobians[joint, one, a] * up - jacobians[joint, two, a] * down
                    )


@fast_kernel
def _along(linear, k, pull, out):  # type: ignore[no-untyped-def]
    """Add derivatives by the linear codes of sample k's share (N, 3, C) to a row."""
    row0, row1, row2 = linear[k, 0], linear[k, 1], linear[k, 2]
    u0, u1, u2 = pull
    for c in range(row0.shape[0]):
        out[c] += u0 * row0[c] + u1 * row1[c] + u2 * row2[c]


@fast_kernel
def _bend(entries, bends, k, pull, changes, out, start):  # type: ignore[no-untyped-def]
    """Add derivatives by jaw and eye angles through the correctives (N, 27 or 0, 3) of sample k to a row."""
    u0, u1, u2 = pull
    for joint in range(entries.shape[1] // 9):
        if not bends[k, joint]:
            continue
        d0 = d1 = d2 = np.float32(0)
        for entry in range(9 * joint, 9 * joint + 9):
            along = entries[k, entry, 0] * u0 + entries[k, entry, 1] * u1 + entries[k, entry, 2] * u2
            d0 += along * changes[entry, 0]
            d1 += along * changes[entry, 1]
            d2 += along * changes[entry, 2]
        c = start + 3 * joint
        out[c] += d0
        out[c + 1] += d1
        out[c + 2] += d2


@fast_kernel
def _collect(jac, res, rows, p, gradient, square):  # type: ignore[no-untyped-def]
    """Add J^T r and the lower triangle of J^T J of the first ``rows`` rows (rounded up to 4; the rest must be 0)."""
    nil = np.float32(0)
    for n in range(0, (rows + 3) // 4 * 4, 4):
        j0, j1, j2, j3 = jac[n], jac[n + 1], jac[n + 2], jac[n + 3]
        r0, r1, r2, r3 = res[n], res[n + 1], res[n + 2], res[n + 3]
        for i in range(p):
            a0, a1, a2, a3 = j0[i], j1[i], j2[i], j3[i]
            if a0 == nil and a1 == nil and a2 == nil and a3 == nil:
                continue
            gradient[i] += a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3
            row = square[i]
            for j in range((i // 16 + 1) * 16):
                row[j] += a0 * j0[j] + a1 * j1[j] + a2 * j2[j] + a3 * j3[j]


@fast_kernel
def data_term(  # type: ignore[no-untyped-def]
    first, last,
    codes,  # (T, C) float32 linear codes
    turns,  # (T, 4, 3, 3) float32: R_jaw, R_left_eye, R_right_eye, R
    jacobians,  # (T, 4, 3, 3) float32: their left Jacobians
    origins,  # (T, 3) float32
    image,  # (T, H, W, 4) uint8
    target,  # (T, K, 3) float32: colours expected
    weight,  # (T, K) float32
    scale,  # float32: 1 / standard deviation of a channel
    cauchy,  # float32
    matte_weight,  # float32
    intrinsics,  # (4,) float32: fx, fy, cx, cy
    # Each part of the point model: rest (3 N), across (C, 3 N), linear (N, 3, C), corrective (27 or 0, 3 N),
    # entries (N, 27 or 0, 3), bends (N, 3).
    root_rest, root_across, root_linear, root_corrective, root_entries, root_bends,
    jaw_index, jaw_rest, jaw_across, jaw_linear, jaw_corrective, jaw_entries, jaw_bends,
    eye_index, eye_side, eye_rest, eye_across, eye_linear, eye_corrective, eye_entries, eye_bends,
    cost,  # out (T,) float64
    gradient,  # out (T, P) float32
    hessian,  # out (T, P, P) float32
):  # fmt: skip
    """Cost, gradient and Gauss-Newton matrix of the colours of all samples.

    A sample with residual r over three channels costs w cauchy^2 / 2 log(1 + |r|^2 / cauchy^2), plus
    w m / 2 (1 - matte)^2 / deviation^2. Its channels' gradients g (one 2-vector each, by the place in the picture)
    enter as the 2 x 2 matrix A = f sum g g^T: with A = L L^T two rows of the Jacobian stand for all four channels.
    """
    one, nil = np.float32(1), np.float32(0)
    byte = np.float32(1 / 255)
    height, width = image.shape[1], image.shape[2]
    num_linear = codes.shape[1]
    p = num_linear + 15
    jaw0, eye0, rot0, org0 = num_linear, num_linear + 3, num_linear + 9, num_linear + 12
    columns = (p + 15) // 16 * 16
    jac = np.zeros((2 * _CHUNK, columns), np.float32)
    res = np.zeros(2 * _CHUNK, np.float32)
    square = np.zeros((columns, columns), np.float32)
    root = np.zeros(root_rest.shape[0], np.float32)
    jaw = np.zeros(jaw_rest.shape[0], np.float32)
    eye = np.zeros(eye_rest.shape[0], np.float32)
    turn = np.zeros(27, np.float32)
    changes = np.zeros((27, 3), np.float32)
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    cc = cauchy * cauchy
    pulls = np.zeros((2, 3), np.float32)
    for t in range(first, last):
        for a in range(27):
            turn[a] = turns[t, a // 9, a // 3 % 3, a % 3]
        for a in range(9):
            turn[9 * (a // 3) + 4 * (a % 3)] -= one
        _affine(root_rest, root_across, root_corrective, codes[t], turn, root)
        _affine(jaw_rest, jaw_across, jaw_corrective, codes[t], turn, jaw)
        _affine(eye_rest, eye_across, eye_corrective, codes[t], turn, eye)
        _changes(turns[t], jacobians[t], changes)
        r_all = turns[t, 3]
        square[:] = nil
        for i in range(p):
            gradient[t, i] = nil
        total = 0.0
        rows = 0
        for k in range(weight.shape[1]):
            w = weight[t, k]
            if not w > nil:
                continue
            jl, el, side = jaw_index[k], eye_index[k], eye_side[k]
            arm = eye_arm = (nil, nil, nil)
            if jl >= 0:
                arm = _turn(turns[t, 0], jaw[3 * jl], jaw[3 * jl + 1], jaw[3 * jl + 2])
            if el >= 0:
                eye_arm = _turn(turns[t, 1 + side], eye[3 * el], eye[3 * el + 1], eye[3 * el + 2])
            whole = _turn(
                r_all,
                root[3 * k] + arm[0] + eye_arm[0],
                root[3 * k + 1] + arm[1] + eye_arm[1],
                root[3 * k + 2] + arm[2] + eye_arm[2],
            )
            depth = whole[2] + origins[t, 2]
            if not depth > np.float32(_MIN_DEPTH):
                total += 0.5 * w * cc * np.log1p(1 / cc * scale * scale)
                continue
            iz = one / depth
            xn, yn = (whole[0] + origins[t, 0]) * iz, (whole[1] + origins[t, 1]) * iz
            x, y = fx * xn + cx, fy * yn + cy
            i, j, s, q = _place(x, y, width, height)
            h11 = h12 = h22 = b1 = b2 = squared = nil
            inside_x = one if np.float32(0.5) < x < np.float32(width - 0.5) else nil
            inside_y = one if np.float32(0.5) < y < np.float32(height - 0.5) else nil
            m11 = m12 = m22 = d1 = d2 = matte = nil
            for c in range(4):
                i00, i10 = np.float32(image[t, j, i, c]), np.float32(image[t, j, i + 1, c])
                i01, i11 = np.float32(image[t, j + 1, i, c]), np.float32(image[t, j + 1, i + 1, c])
                upper, lower = i00 + s * (i10 - i00), i01 + s * (i11 - i01)
                value = (upper + q * (lower - upper)) * byte
                gu = ((one - q) * (i10 - i00) + q * (i11 - i01)) * byte * scale * inside_x
                gv = (lower - upper) * byte * scale * inside_y
                if c < 3:
                    r = (value - target[t, k, c]) * scale
                    squared += r * r
                    h11, h12, h22 = h11 + gu * gu, h12 + gu * gv, h22 + gv * gv
                    b1, b2 = b1 + gu * r, b2 + gv * r
                else:
                    matte = (value - one) * scale
                    m11, m12, m22 = gu * gu, gu * gv, gv * gv
                    d1, d2 = gu * matte, gv * matte
            ratio = squared / cc
            total += 0.5 * w * (cc * np.log1p(ratio) + matte_weight * matte * matte)
            f, m = w / (one + ratio), w * matte_weight
            h11, h12, h22 = f * h11 + m * m11, f * h12 + m * m12, f * h22 + m * m22
            b1, b2 = f * b1 + m * d1, f * b2 + m * d2
            if not h11 + h22 > np.float32(1e-12):
                continue
            # h = L L^T, and L y = b.
            l11 = np.float32(math.sqrt(max(h11, np.float32(1e-6) * h22)))
            l21 = h12 / l11
            l22 = h22 - l21 * l21
            y1 = b1 / l11
            y2 = nil
            if l22 > np.float32(1e-5) * h22:
                l22 = np.float32(math.sqrt(l22))
                y2 = (b2 - l21 * y1) / l22
            else:
                l22 = nil
            ku, kv = iz * fx, iz * fy
            pulls[0, 0], pulls[0, 1] = l11 * ku, l21 * kv
            pulls[0, 2] = -(l11 * ku * xn + l21 * kv * yn)
            pulls[1, 0], pulls[1, 1], pulls[1, 2] = nil, l22 * kv, -l22 * kv * yn
            for half in range(2):
                row = jac[rows]
                res[rows] = y1 if half == 0 else y2
                rows += 1
                pull = (pulls[half, 0], pulls[half, 1], pulls[half, 2])
                for c in range(columns):
                    row[c] = nil
                back = _turn_back(r_all, pull)
                _along(root_linear, k, back, row)
                _bend(root_entries, root_bends, k, back, changes, row, jaw0)
                if jl >= 0:
                    own = _turn_back(turns[t, 0], back)
                    _along(jaw_linear, jl, own, row)
                    _bend(jaw_entries, jaw_bends, jl, own, changes, row, jaw0)
                    swing = _swing(arm, back, jacobians[t, 0])
                    row[jaw0] += swing[0]
                    row[jaw0 + 1] += swing[1]
                    row[jaw0 + 2] += swing[2]
                if el >= 0:
                    own = _turn_back(turns[t, 1 + side], back)
                    _along(eye_linear, el, own, row)
                    _bend(eye_entries, eye_bends, el, own, changes, row, jaw0)
                    swing = _swing(eye_arm, back, jacobians[t, 1 + side])
                    e = eye0 + 3 * side
                    row[e] += swing[0]
                    row[e + 1] += swing[1]
                    row[e + 2] += swing[2]
                row[rot0], row[rot0 + 1], row[rot0 + 2] = _swing(whole, pull, jacobians[t, 3])
                row[org0], row[org0 + 1], row[org0 + 2] = pull
            if rows == 2 * _CHUNK:
                _collect(jac, res, rows, p, gradient[t], square)
                rows = 0
        for n in range(rows, (rows + 3) // 4 * 4):
            res[n] = nil
            jac[n, :] = nil
        _collect(jac, res, rows, p, gradient[t], square)
        cost[t] = total
        for i in range(p):
            for j in range(i + 1):
                hessian[t, i, j] = square[i, j]
                hessian[t, j, i] = square[i, j]


@fast_kernel
def shade(  # type: ignore[no-untyped-def]
    first, last,
    normals,  # (T, V, 3) float32
    faces,  # (F, 3) int64
    face_id,  # (T, H, W) int32
    bary,  # (T, H, W, 3) float32
    resolution, offset,  # (F,) int64
    albedo,  # (N, 3) float32
    known,  # (N,) bool
    light,  # (9, 3) float32: factors of the polynomials 1, y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2
    gain,  # (T, 3) float32
    intrinsics, facing,
    out,  # out (T, H, W, 3) float32
    covered,  # out (T, H, W) bool
):  # fmt: skip
    """Render: texture x light x gain where a face is seen from outside and its texels are known."""
    shine = np.zeros(3, np.float32)
    for t in range(first, last):
        for y in range(face_id.shape[1]):
            for x in range(face_id.shape[2]):
                covered[t, y, x] = False
                f = face_id[t, y, x]
                if f < 0:
                    continue
                n0 = n1 = n2 = np.float32(0)
                for m in range(3):
                    v, b = faces[f, m], bary[t, y, x, m]
                    n0 += b * normals[t, v, 0]
                    n1 += b * normals[t, v, 1]
                    n2 += b * normals[t, v, 2]
                size = np.float32(math.sqrt(n0 * n0 + n1 * n1 + n2 * n2) + 1e-12)
                n0, n1, n2 = n0 / size, n1 / size, n2 / size
                d0, d1 = (x + 0.5 - intrinsics[2]) / intrinsics[0], (y + 0.5 - intrinsics[3]) / intrinsics[1]
                if not -(n0 * d0 + n1 * d1 + n2) > facing * math.sqrt(d0 * d0 + d1 * d1 + 1.0):
                    continue
                r = resolution[f]
                u, v = max(bary[t, y, x, 0], np.float32(0)) * r, max(bary[t, y, x, 1], np.float32(0)) * r
                i, j = min(int(u), r - 1), min(int(v), r - 1)
                if i + j > r - 1:
                    j = r - 1 - i
                su, sv = min(u - i, np.float32(1)), min(v - j, np.float32(1))
                start, after = offset[f], offset[f] + (i + 1) * (2 * r + 2 - i) // 2 + j
                here = start + i * (2 * r + 3 - i) // 2 + j
                if su + sv <= 1 or i + j + 2 > r:
                    a, b, c = here, after, here + 1
                    wa, wb, wc = max(1 - su - sv, np.float32(0)), su, sv
                else:
                    a, b, c = after + 1, here + 1, after
                    wa, wb, wc = su + sv - 1, 1 - su, 1 - sv
                if not (known[a] and known[b] and known[c]):
                    continue
                for k in range(3):
                    shine[k] = (
                        light[0, k] + light[1, k] * n1 + light[2, k] * n2 + light[3, k] * n0
                        + light[4, k] * n0 * n1 + light[5, k] * n1 * n2 + light[6, k] * (3 * n2 * n2 - 1)
                        + light[7, k] * n0 * n2 + light[8, k] * (n0 * n0 - n1 * n1)
                    )  # fmt: skip
                    colour = wa * albedo[a, k] + wb * albedo[b, k] + wc * albedo[c, k]
                    out[t, y, x, k] = colour * max(shine[k], np.float32(0)) * gain[t, k]
                covered[t, y, x] = True


@fast_kernel
def shrink(first, last, image, times, channel, out):  # type: ignore[no-untyped-def]
    """Mean over blocks of ``times`` x ``times`` pixels of (T, H, W, C) uint8 into channels from ``channel`` on."""
    half, area = times * times // 2, times * times
    for t in range(first, last):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                for c in range(image.shape[3]):
                    total = half
                    for j in range(times * y, times * y + times):
                        for i in range(times * x, times * x + times):
                            total += image[t, j, i, c]
                    out[t, y, x, channel + c] = total // area


@fast_kernel
def unlight(first, last, light, gain, colour, normal, weight):  # type: ignore[no-untyped-def]
    """Divide colours (T, K, 3) by what a white surface with these normals shows; weights (T, K) follow, in place.

    ``light`` (9, 3) are factors of the polynomials, as in ``shade``. ``normal`` (T, K, 3) is overwritten with what a
    white surface shows.
    """
    for t in range(first, last):
        for k in range(weight.shape[1]):
            x, y, z = normal[t, k, 0], normal[t, k, 1], normal[t, k, 2]
            power = np.float32(0)
            for c in range(3):
                lit = (
                    light[0, c] + light[1, c] * y + light[2, c] * z + light[3, c] * x + light[4, c] * x * y
                    + light[5, c] * y * z + light[6, c] * (3 * z * z - 1) + light[7, c] * x * z
                    + light[8, c] * (x * x - y * y)
                )  # fmt: skip
                lit = max(lit, np.float32(0.05)) * gain[t, c]
                normal[t, k, c] = lit
                colour[t, k, c] /= lit
                power += lit * lit
            weight[t, k] *= power / 3


@fast_kernel
def robust_mean(first, last, values, weight, noise, rounds, out):  # type: ignore[no-untyped-def]
    """Means (K, 3) over T of values (T, K, 3) with weights (T, K): Cauchy, its scale halved from round to round."""
    for k in range(first, last):
        a0 = a1 = a2 = np.float32(0)
        for step in range(rounds + 1):
            scale = 3 * (2 * noise * 2.0 ** (rounds - step)) ** 2
            s0 = s1 = s2 = total = 0.0
            for t in range(values.shape[0]):
                w = weight[t, k]
                if not w > 0:
                    continue
                v0, v1, v2 = values[t, k, 0], values[t, k, 1], values[t, k, 2]
                if step > 0:
                    w /= 1 + ((v0 - a0) ** 2 + (v1 - a1) ** 2 + (v2 - a2) ** 2) / scale
                s0 += w * v0
                s1 += w * v1
                s2 += w * v2
                total += w
            if total > 0:
                a0, a1, a2 = np.float32(s0 / total), np.float32(s1 / total), np.float32(s2 / total)
        out[k, 0], out[k, 1], out[k, 2] = a0, a1, a2
