"""The costly loops of the fit, one frame a thread: residuals, Jacobians, normal equations.

Every frame is worked on by itself, in a fixed order of operations, so results do not depend on the number of threads or
on which frames share a batch. ``reference.py`` holds the slow and obvious form of ``linearise``.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numba import prange

from model.raster.jit import FAST, compiled

_fast = partial(compiled, fastmath=FAST)
_parallel = partial(compiled, parallel=True)

_BLOCK = 8
"""Frames that share one scratch buffer; small, so that short clips still fill all cores."""
_MIN_DEPTH = 0.02
"""Metres. Landmarks nearer to the camera than this carry no weight in a step."""
NOISE_STEPS = 1
"""Reweighted least squares for the amounts of noise; what they leave undone, the elimination takes care of."""


@_fast
def _affine(rest, across, corrective, codes, turn, out):  # type: ignore[no-untyped-def]
    """Out (3 N) = rest + codes (C) across (C, 3 N) + turn (27) corrective (27, 3 N): one long sum a code."""
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


@_fast
def _turn(m, v):  # type: ignore[no-untyped-def]
    """M v."""
    return (
        m[0, 0] * v[0] + m[0, 1] * v[1] + m[0, 2] * v[2],
        m[1, 0] * v[0] + m[1, 1] * v[1] + m[1, 2] * v[2],
        m[2, 0] * v[0] + m[2, 1] * v[1] + m[2, 2] * v[2],
    )


@_fast
def _turn_back(m, v):  # type: ignore[no-untyped-def]
    """m^T v."""
    return (
        m[0, 0] * v[0] + m[1, 0] * v[1] + m[2, 0] * v[2],
        m[0, 1] * v[0] + m[1, 1] * v[1] + m[2, 1] * v[2],
        m[0, 2] * v[0] + m[1, 2] * v[1] + m[2, 2] * v[2],
    )


@_fast
def _swing(arm, pull, jacobian):  # type: ignore[no-untyped-def]
    """Derivative of pull . (turned arm) by the axis-angle: (arm x pull) J."""
    cross = (
        arm[1] * pull[2] - arm[2] * pull[1],
        arm[2] * pull[0] - arm[0] * pull[2],
        arm[0] * pull[1] - arm[1] * pull[0],
    )
    return _turn_back(jacobian, cross)


@_fast
def _write_linear(linear, k, u, v, jac, n):  # type: ignore[no-untyped-def]
    """Derivatives by the linear codes of landmark k's share (N, 3, C), into the rows n and n + 1."""
    row0, row1, row2 = linear[k, 0], linear[k, 1], linear[k, 2]
    out_u, out_v = jac[n], jac[n + 1]
    u0, u1, u2 = u
    v0, v1, v2 = v
    for c in range(row0.shape[0]):
        out_u[c] = u0 * row0[c] + u1 * row1[c] + u2 * row2[c]
        out_v[c] = v0 * row0[c] + v1 * row1[c] + v2 * row2[c]


@_fast
def _add_linear(linear, k, u, v, jac, n):  # type: ignore[no-untyped-def]
    """Like ``_write_linear``, added to what is there."""
    row0, row1, row2 = linear[k, 0], linear[k, 1], linear[k, 2]
    out_u, out_v = jac[n], jac[n + 1]
    u0, u1, u2 = u
    v0, v1, v2 = v
    for c in range(row0.shape[0]):
        out_u[c] += u0 * row0[c] + u1 * row1[c] + u2 * row2[c]
        out_v[c] += v0 * row0[c] + v1 * row1[c] + v2 * row2[c]


@_fast
def _turn_changes(turns, jacobians, changes):  # type: ignore[no-untyped-def]
    """Derivatives (27, 3) of the entries of R - I of jaw and eyes by their own axis-angles: hat(J d) R."""
    for joint in range(3):
        for line in range(3):
            first, second = (line + 1) % 3, (line + 2) % 3
            for column in range(3):
                up, down = turns[joint, second, column], turns[joint, first, column]
                for a in range(3):
                    changes[9 * joint + 3 * line + column, a] = (
                        jacobians[joint, first, a] * up - jacobians[joint, second, a] * down
                    )


@_fast
def _add_corrective(entries, bends, k, u, v, changes, jac, n, start):  # type: ignore[no-untyped-def]
    """Derivatives by jaw and eye angles through the correctives (N, 27, 3) of landmark k."""
    u0, u1, u2 = u
    v0, v1, v2 = v
    for joint in range(entries.shape[1] // 9):
        if not bends[k, joint]:
            continue
        du0 = du1 = du2 = dv0 = dv1 = dv2 = np.float32(0.0)
        for entry in range(9 * joint, 9 * joint + 9):
            c0, c1, c2 = entries[k, entry, 0], entries[k, entry, 1], entries[k, entry, 2]
            along_u = c0 * u0 + c1 * u1 + c2 * u2
            along_v = c0 * v0 + c1 * v1 + c2 * v2
            d0, d1, d2 = changes[entry, 0], changes[entry, 1], changes[entry, 2]
            du0, du1, du2 = du0 + along_u * d0, du1 + along_u * d1, du2 + along_u * d2
            dv0, dv1, dv2 = dv0 + along_v * d0, dv1 + along_v * d1, dv2 + along_v * d2
        c = start + 3 * joint
        jac[n, c] += du0
        jac[n, c + 1] += du1
        jac[n, c + 2] += du2
        jac[n + 1, c] += dv0
        jac[n + 1, c + 1] += dv1
        jac[n + 1, c + 2] += dv2


@_fast
def _place(  # type: ignore[no-untyped-def]
    turns, origin, intrinsics, root, jaw_index, jaw, eye_index, eye_side, eye, arms, points
):  # fmt: skip
    """Turn the landmarks of one frame and project them.

    ``root``, ``jaw`` and ``eye`` are the landmarks' shares (3 N), flat, before any turn. ``arms`` (L, 9): the jaw's
    and the eye's share turned with their joint, and all together turned with the head.
    """
    one, nil = np.float32(1.0), np.float32(0.0)
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    r_jaw, r_all = turns[0], turns[3]
    for l in range(points.shape[0]):  # noqa: E741
        x0, x1, x2 = root[3 * l], root[3 * l + 1], root[3 * l + 2]
        jl, el, side = jaw_index[l], eye_index[l], eye_side[l]
        arm = eye_arm = (nil, nil, nil)
        if jl >= 0:
            arm = _turn(r_jaw, (jaw[3 * jl], jaw[3 * jl + 1], jaw[3 * jl + 2]))
        if el >= 0:
            eye_arm = _turn(turns[1 + side], (eye[3 * el], eye[3 * el + 1], eye[3 * el + 2]))
        whole = _turn(r_all, (x0 + arm[0] + eye_arm[0], x1 + arm[1] + eye_arm[1], x2 + arm[2] + eye_arm[2]))
        arms[l, 0], arms[l, 1], arms[l, 2] = arm
        arms[l, 3], arms[l, 4], arms[l, 5] = eye_arm
        arms[l, 6], arms[l, 7], arms[l, 8] = whole
        iz = one / max(whole[2] + origin[2], np.float32(_MIN_DEPTH))
        points[l, 0] = fx * ((whole[0] + origin[0]) * iz) + cx
        points[l, 1] = fy * ((whole[1] + origin[1]) * iz) + cy


@_fast
def _rows(  # type: ignore[no-untyped-def]
    turns, jacobians, origin, arms, points, observed, weights, s, cc, intrinsics, num_linear,
    root_linear, root_entries, root_bends,
    jaw_index, jaw_linear, jaw_entries, jaw_bends,
    eye_index, eye_side, eye_linear, eye_entries, eye_bends,
    derive, jac, res, factors, changes,
):  # fmt: skip
    """Weighted residuals and Jacobian rows of the landmarks of one frame, placed by ``_place``; returns their cost."""
    one, nil = np.float32(1.0), np.float32(0.0)
    jaw0, eye0, rot0, org0 = num_linear, num_linear + 3, num_linear + 9, num_linear + 12
    fx, fy = intrinsics[0], intrinsics[1]
    r_jaw, r_all = turns[0], turns[3]
    total = 0.0
    if derive:
        _turn_changes(turns, jacobians, changes)
    for l in range(weights.shape[0]):  # noqa: E741
        jl, el, side = jaw_index[l], eye_index[l], eye_side[l]
        arm, eye_arm = (arms[l, 0], arms[l, 1], arms[l, 2]), (arms[l, 3], arms[l, 4], arms[l, 5])
        whole = (arms[l, 6], arms[l, 7], arms[l, 8])
        depth = whole[2] + origin[2]
        iz = one / max(depth, np.float32(_MIN_DEPTH))
        xn, yn = (whole[0] + origin[0]) * iz, (whole[1] + origin[1]) * iz
        ru, rv = (points[l, 0] - observed[l, 0]) * s, (points[l, 1] - observed[l, 1]) * s
        weight = weights[l]
        if depth < np.float32(_MIN_DEPTH) or weight <= nil:
            weight = ru = rv = nil
        ratio = (ru * ru + rv * rv) / cc
        total += 0.5 * weight * cc * np.log1p(ratio)
        f = np.float32(math.sqrt(weight / (one + ratio)))
        n = 2 * l
        factors[l] = f
        res[n], res[n + 1] = f * ru, f * rv
        if not derive:
            continue
        if f <= nil:
            for c in range(org0 + 3):
                jac[n, c] = jac[n + 1, c] = nil
            continue
        # Pulls: derivatives of the weighted residual by a displacement, in the camera's, head's and joints' frames.
        k = f * s * iz
        gu, gv = (k * fx, nil, -k * fx * xn), (nil, k * fy, -k * fy * yn)
        hu, hv = _turn_back(r_all, gu), _turn_back(r_all, gv)
        _write_linear(root_linear, l, hu, hv, jac, n)
        for c in range(jaw0, rot0):
            jac[n, c] = jac[n + 1, c] = nil
        if jl >= 0:
            ku, kv = _turn_back(r_jaw, hu), _turn_back(r_jaw, hv)
            _add_linear(jaw_linear, jl, ku, kv, jac, n)
            jac[n, jaw0], jac[n, jaw0 + 1], jac[n, jaw0 + 2] = _swing(arm, hu, jacobians[0])
            jac[n + 1, jaw0], jac[n + 1, jaw0 + 1], jac[n + 1, jaw0 + 2] = _swing(arm, hv, jacobians[0])
        if el >= 0:
            eu, ev = _turn_back(turns[1 + side], hu), _turn_back(turns[1 + side], hv)
            _add_linear(eye_linear, el, eu, ev, jac, n)
            e = eye0 + 3 * side
            jac[n, e], jac[n, e + 1], jac[n, e + 2] = _swing(eye_arm, hu, jacobians[1 + side])
            jac[n + 1, e], jac[n + 1, e + 1], jac[n + 1, e + 2] = _swing(eye_arm, hv, jacobians[1 + side])
        _add_corrective(root_entries, root_bends, l, hu, hv, changes, jac, n, jaw0)
        if jl >= 0:
            ku, kv = _turn_back(r_jaw, hu), _turn_back(r_jaw, hv)
            _add_corrective(jaw_entries, jaw_bends, jl, ku, kv, changes, jac, n, jaw0)
        if el >= 0:
            eu, ev = _turn_back(turns[1 + side], hu), _turn_back(turns[1 + side], hv)
            _add_corrective(eye_entries, eye_bends, el, eu, ev, changes, jac, n, jaw0)
        jac[n, rot0], jac[n, rot0 + 1], jac[n, rot0 + 2] = _swing(whole, gu, jacobians[3])
        jac[n + 1, rot0], jac[n + 1, rot0 + 1], jac[n + 1, rot0 + 2] = _swing(whole, gv, jacobians[3])
        jac[n, org0], jac[n, org0 + 1], jac[n, org0 + 2] = gu
        jac[n + 1, org0], jac[n + 1, org0 + 1], jac[n + 1, org0 + 2] = gv
    return total


@_fast
def _pair_rows(pairs, pair_weights, cc, num_points, derive, jac, res, factors):  # type: ignore[no-untyped-def]
    """Rows of the vectors between paired landmarks, from the landmarks' own rows; returns their cost."""
    one, nil = np.float32(1.0), np.float32(0.0)
    total = 0.0
    for q in range(pairs.shape[0]):
        i, j, n = pairs[q, 0], pairs[q, 1], 2 * (num_points + q)
        fi, fj, weight = factors[i], factors[j], pair_weights[q]
        if fi <= nil or fj <= nil:
            fi = fj = one
            weight = nil
        fi, fj = one / fi, one / fj
        ru, rv = fi * res[2 * i] - fj * res[2 * j], fi * res[2 * i + 1] - fj * res[2 * j + 1]
        ratio = (ru * ru + rv * rv) / cc
        total += 0.5 * weight * cc * np.log1p(ratio)
        f = np.float32(math.sqrt(weight / (one + ratio)))
        factors[num_points + q] = f
        res[n], res[n + 1] = f * ru, f * rv
        fi, fj = f * fi, f * fj
        if derive:
            for half in range(2):
                row_i, row_j, out = jac[2 * i + half], jac[2 * j + half], jac[n + half]
                for c in range(out.shape[0]):
                    out[c] = fi * row_i[c] - fj * row_j[c]
    return total


@_fast
def _see_noise(sway, modes, pairs, noise):  # type: ignore[no-untyped-def]
    """Modes of noise (K, 3, L), metres in the head's frame, as residuals of a head that stands so (2, 3).

    ``noise`` (K, 2 N), N = L + Q: across for all landmarks and pairs, then down for all.
    """
    num, half = modes.shape[2], noise.shape[1] // 2
    for k in range(modes.shape[0]):
        x, y, z = modes[k, 0], modes[k, 1], modes[k, 2]
        for side in range(2):
            a, b, c = sway[side, 0], sway[side, 1], sway[side, 2]
            out = noise[k, side * half : (side + 1) * half]
            for l in range(num):  # noqa: E741
                out[l] = a * x[l] + b * y[l] + c * z[l]
            for q in range(pairs.shape[0]):
                out[num + q] = out[pairs[q, 0]] - out[pairs[q, 1]]


@_fast
def _noise_precision(rows, noise, root):  # type: ignore[no-untyped-def]
    """Lower Cholesky factor (K, K) of 1 + rows noise^T, both (K, 2 N): the precision of the amounts, codes given."""
    num, nil = rows.shape[0], np.float32(0.0)
    for i in range(num):
        a = rows[i]
        for j in range(0, i + 1, 4):
            # Four products at once share the loads of ``a``; those beyond the diagonal are not used.
            b0, b1 = noise[j], noise[min(j + 1, num - 1)]
            b2, b3 = noise[min(j + 2, num - 1)], noise[min(j + 3, num - 1)]
            t0 = t1 = t2 = t3 = nil
            for n in range(a.shape[0]):
                t0 += a[n] * b0[n]
                t1 += a[n] * b1[n]
                t2 += a[n] * b2[n]
                t3 += a[n] * b3[n]
            root[i, j] = t0
            if j + 1 < num:
                root[i, j + 1] = t1
            if j + 2 < num:
                root[i, j + 2] = t2
            if j + 3 < num:
                root[i, j + 3] = t3
        root[i, i] += np.float32(1.0)
    for i in range(num):
        for j in range(i + 1):
            total = root[i, j]
            for k in range(j):
                total -= root[i, k] * root[j, k]
            root[i, j] = total / root[j, j] if j < i else np.float32(math.sqrt(total))


@_fast
def _find_noise(noise, raw, weights, cc, at, rows, root, amount):  # type: ignore[no-untyped-def]
    """Amounts (K) of the modes of noise at raw residuals (2 N) with weights (N): reweighted least squares from 0."""
    one, nil = np.float32(1.0), np.float32(0.0)
    half, count = weights.shape[0], noise.shape[0]
    amount[:] = nil
    for step in range(NOISE_STEPS):
        for n in range(2 * half):
            at[n] = raw[n]
        if step:
            for k in range(count):
                a, row = amount[k], noise[k]
                for n in range(2 * half):
                    at[n] += a * row[n]
        for n in range(half):
            u, v = at[n], at[half + n]
            w = weights[n] / (one + (u * u + v * v) / cc)
            at[n] = at[half + n] = w
        for k in range(count):
            row, out, total = noise[k], rows[k], nil
            for n in range(2 * half):
                out[n] = at[n] * row[n]
                total -= out[n] * raw[n]
            amount[k] = total
        _noise_precision(rows, noise, root)
        for k in range(count):
            for m in range(k):
                amount[k] -= root[k, m] * amount[m]
            amount[k] /= root[k, k]
        for k in range(count - 1, -1, -1):
            for m in range(k + 1, count):
                amount[k] -= root[m, k] * amount[m]
            amount[k] /= root[k, k]


@_fast
def _four(rows, k, n, half):  # type: ignore[no-untyped-def]
    """Two neighbouring points' entries of row k, or of the last."""
    k = min(k, rows.shape[0] - 1)
    return rows[k, n], rows[k, half + n], rows[k, n + 1], rows[k, half + n + 1]


@_fast
def _eliminate_noise(jac, res, noise, factors, amount, rows, root, cross, gradient, square):  # type: ignore[no-untyped-def]
    """Take the amounts of noise out of the normal equations: Schur complement, in place of codes of their own.

    Their own gradient, nearly 0 at the most probable amounts, is eliminated with them. ``amount`` is used up.
    """
    p, count, half = gradient.shape[0], noise.shape[0], factors.shape[0]
    width = cross.shape[1]
    nil = np.float32(0.0)
    for k in range(count):
        row, out = noise[k], rows[k]
        for n in range(half):
            out[n] = factors[n] * row[n]
            out[half + n] = factors[n] * row[half + n]
    _noise_precision(rows, rows, root)
    cross[:] = nil
    for n in range(0, half - 1, 2):
        if factors[n] == nil and factors[n + 1] == nil:
            continue
        j0, j1, j2, j3 = jac[2 * n], jac[2 * n + 1], jac[2 * n + 2], jac[2 * n + 3]
        r0, r1, r2, r3 = res[2 * n], res[2 * n + 1], res[2 * n + 2], res[2 * n + 3]
        for k in range(count):
            amount[k] += rows[k, n] * r0 + rows[k, half + n] * r1 + rows[k, n + 1] * r2 + rows[k, half + n + 1] * r3
        for k in range(0, count, 4):  # cross has rows to spare
            a0, a1, a2, a3 = _four(rows, k, n, half)
            b0, b1, b2, b3 = _four(rows, k + 1, n, half)
            c0, c1, c2, c3 = _four(rows, k + 2, n, half)
            d0, d1, d2, d3 = _four(rows, k + 3, n, half)
            row_a, row_b, row_c, row_d = cross[k], cross[k + 1], cross[k + 2], cross[k + 3]
            for j in range(width):
                w, x, y, z = j0[j], j1[j], j2[j], j3[j]
                row_a[j] += a0 * w + a1 * x + a2 * y + a3 * z
                row_b[j] += b0 * w + b1 * x + b2 * y + b3 * z
                row_c[j] += c0 * w + c1 * x + c2 * y + c3 * z
                row_d[j] += d0 * w + d1 * x + d2 * y + d3 * z
    if half % 2:
        n = half - 1
        for k in range(count):
            a0, a1 = rows[k, n], rows[k, half + n]
            row = cross[k]
            amount[k] += a0 * res[2 * n] + a1 * res[2 * n + 1]
            for j in range(width):
                row[j] += a0 * jac[2 * n, j] + a1 * jac[2 * n + 1, j]
    for k in range(count):
        row, total = cross[k], amount[k]
        for m in range(k):
            a, before = root[k, m], cross[m]
            total -= a * amount[m]
            for j in range(width):
                row[j] -= a * before[j]
        a = np.float32(1.0) / root[k, k]
        amount[k] = total * a
        for j in range(width):
            row[j] *= a
    for k in range(count):
        row, a = cross[k], amount[k]
        for i in range(p):
            b, out = row[i], square[i]
            gradient[i] -= a * b
            for j in range((i // 16 + 1) * 16):
                out[j] -= b * row[j]


@_fast
def _normal(jac, res, gradient, square):  # type: ignore[no-untyped-def]
    """Gradient = J^T r and, lower half, square = J^T J; rows padded to a multiple of 4 and columns of 16 with zeros.

    Four rows at a time: a quarter of the traffic on the matrix. Expressions are local, so most products are zero.
    """
    nil = np.float32(0.0)
    p = gradient.shape[0]
    square[:] = nil
    gradient[:] = nil
    for n in range(0, jac.shape[0], 4):
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


@_fast
def _mirror(square, hessian):  # type: ignore[no-untyped-def]
    """The whole symmetric matrix from its lower half."""
    for i in range(hessian.shape[0]):
        for j in range(i + 1):
            hessian[i, j] = square[i, j]
            hessian[j, i] = square[i, j]


@_parallel
def linearise(  # type: ignore[no-untyped-def]
    codes,  # (T, C) float32 linear codes
    turns,  # (T, 4, 3, 3) float32: R_jaw, R_left_eye, R_right_eye, R
    jacobians,  # (T, 4, 3, 3) float32: their left Jacobians
    origins,  # (T, 3) float32
    observed,  # (T, L, 2) float32 pixels
    weights,  # (T, L) float32, 0 to ignore
    pairs,  # (Q, 2) int64 landmarks
    pair_weights,  # (T, Q) float32
    scale,  # (T,) float32: 1 / standard deviation in pixels
    cauchy,  # float32
    intrinsics,  # (4,) float32: fx, fy, cx, cy
    sway,  # (T, 2, 3) float32: what a metre in the head's frame adds to a residual
    modes,  # (K, 3, L) float32 metres: noise that neighbouring landmarks share, of amounts ~ N(0, 1); K may be 0
    # Each part of the landmark model: rest (3 N), across (C, 3 N), linear (N, 3, C), corrective (27 or 0, 3 N),
    # entries (N, 27 or 0, 3), bends (N, 3).
    root_rest, root_across, root_linear, root_corrective, root_entries, root_bends,
    jaw_index, jaw_rest, jaw_across, jaw_linear, jaw_corrective, jaw_entries, jaw_bends,
    eye_index, eye_side, eye_rest, eye_across, eye_linear, eye_corrective, eye_entries, eye_bends,
    points,  # out (T, L, 2) float32: projections, pixels
    cost,  # out (T,) float64
    gradient,  # out (T, P) float32
    hessian,  # out (T, P, P) float32
    derive,  # bool: fill gradient and hessian too
):  # fmt: skip
    """Cost, gradient and Gauss-Newton matrix of the landmarks and pairs of all frames.

    With s = |r|^2 / cauchy^2 and r the residual over its standard deviation, a landmark costs
    w cauchy^2 / 2 log(1 + s) and enters the normal equations with the weight w / (1 + s). Modes of noise move the
    residuals by the amounts z that leave the lowest cost, |z|^2 / 2 included; they are eliminated frame by frame.
    """
    num_frames, num_points = weights.shape
    num_linear, num_modes = codes.shape[1], modes.shape[0]
    half = num_points + pairs.shape[0]
    cc = cauchy * cauchy
    rows = (2 * (num_points + pairs.shape[0]) + 3) // 4 * 4
    columns = (num_linear + 15 + 15) // 16 * 16
    for block in prange((num_frames + _BLOCK - 1) // _BLOCK):
        jac = np.zeros((rows if derive else 2, columns), np.float32)
        square = np.zeros((columns, columns), np.float32)
        res, factors = np.zeros(rows, np.float32), np.zeros(half, np.float32)
        arms, clean = np.zeros((num_points, 9), np.float32), np.zeros((num_points, 2), np.float32)
        noise, noise_rows = np.zeros((num_modes, 2 * half), np.float32), np.zeros((num_modes, 2 * half), np.float32)
        noise_root, amount = np.zeros((num_modes, num_modes), np.float32), np.zeros(num_modes, np.float32)
        raw, at, share = np.zeros(2 * half, np.float32), np.zeros(2 * half, np.float32), np.zeros(half, np.float32)
        cross = np.zeros(((num_modes + 3) // 4 * 4, columns), np.float32)
        root = np.zeros(root_rest.shape[0], np.float32)
        jaw = np.zeros(jaw_rest.shape[0], np.float32)
        eye = np.zeros(eye_rest.shape[0], np.float32)
        turn = np.zeros(27, np.float32)
        changes = np.zeros((27, 3), np.float32)
        for t in range(block * _BLOCK, min(num_frames, (block + 1) * _BLOCK)):
            for a in range(27):
                turn[a] = turns[t, a // 9, a // 3 % 3, a % 3]
            for a in range(9):
                turn[9 * (a // 3) + 4 * (a % 3)] -= np.float32(1.0)
            _affine(root_rest, root_across, root_corrective, codes[t], turn, root)
            _affine(jaw_rest, jaw_across, jaw_corrective, codes[t], turn, jaw)
            _affine(eye_rest, eye_across, eye_corrective, codes[t], turn, eye)
            _place(
                turns[t], origins[t], intrinsics, root, jaw_index, jaw, eye_index, eye_side, eye, arms, points[t]
            )
            total = 0.0
            for l in range(num_points):  # noqa: E741
                clean[l] = observed[t, l]
            if num_modes:
                s = scale[t]
                for l in range(num_points):  # noqa: E741
                    share[l] = weights[t, l]
                    raw[l] = (points[t, l, 0] - observed[t, l, 0]) * s
                    raw[half + l] = (points[t, l, 1] - observed[t, l, 1]) * s
                for q in range(half - num_points):
                    i, j, n = pairs[q, 0], pairs[q, 1], num_points + q
                    usable = share[i] > np.float32(0.0) and share[j] > np.float32(0.0)
                    share[n] = pair_weights[t, q] if usable else np.float32(0.0)
                    raw[n], raw[half + n] = raw[i] - raw[j], raw[half + i] - raw[half + j]
                _see_noise(sway[t], modes, pairs, noise)
                _find_noise(noise, raw, share, cc, at, noise_rows, noise_root, amount)
                for k in range(num_modes):
                    total += 0.5 * amount[k] * amount[k]
                    a = amount[k] / s
                    for l in range(num_points):  # noqa: E741
                        clean[l, 0] -= a * noise[k, l]
                        clean[l, 1] -= a * noise[k, half + l]
            total += _rows(
                turns[t], jacobians[t], origins[t], arms, points[t], clean, weights[t], scale[t], cc, intrinsics,
                num_linear, root_linear, root_entries, root_bends,
                jaw_index, jaw_linear, jaw_entries, jaw_bends,
                eye_index, eye_side, eye_linear, eye_entries, eye_bends,
                derive, jac, res, factors, changes,
            )  # fmt: skip
            total += _pair_rows(pairs, pair_weights[t], cc, num_points, derive, jac, res, factors)
            cost[t] = total
            if derive:
                _normal(jac, res, gradient[t], square)
                if num_modes:
                    _eliminate_noise(
                        jac, res, noise, factors, amount, noise_rows, noise_root, cross, gradient[t], square
                    )
                _mirror(square, hessian[t])
