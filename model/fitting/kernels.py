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
def _rows(  # type: ignore[no-untyped-def]
    turns, jacobians, origin, observed, weights, s, cc, intrinsics, num_linear,
    root, root_linear, root_entries, root_bends,
    jaw_index, jaw, jaw_linear, jaw_entries, jaw_bends,
    eye_index, eye_side, eye, eye_linear, eye_entries, eye_bends,
    points, derive, jac, res, factors, changes,
):  # fmt: skip
    """Weighted residuals and Jacobian rows of the landmarks of one frame; returns their cost.

    ``root``, ``jaw`` and ``eye`` are the landmarks' shares (3 N), flat, before any turn.
    """
    one, nil = np.float32(1.0), np.float32(0.0)
    jaw0, eye0, rot0, org0 = num_linear, num_linear + 3, num_linear + 9, num_linear + 12
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    r_jaw, r_all = turns[0], turns[3]
    total = 0.0
    if derive:
        _turn_changes(turns, jacobians, changes)
    for l in range(weights.shape[0]):  # noqa: E741
        x0, x1, x2 = root[3 * l], root[3 * l + 1], root[3 * l + 2]
        jl, el, side = jaw_index[l], eye_index[l], eye_side[l]
        arm = eye_arm = (nil, nil, nil)
        if jl >= 0:
            arm = _turn(r_jaw, (jaw[3 * jl], jaw[3 * jl + 1], jaw[3 * jl + 2]))
        if el >= 0:
            eye_arm = _turn(turns[1 + side], (eye[3 * el], eye[3 * el + 1], eye[3 * el + 2]))
        whole = _turn(r_all, (x0 + arm[0] + eye_arm[0], x1 + arm[1] + eye_arm[1], x2 + arm[2] + eye_arm[2]))
        depth = whole[2] + origin[2]
        iz = one / max(depth, np.float32(_MIN_DEPTH))
        xn, yn = (whole[0] + origin[0]) * iz, (whole[1] + origin[1]) * iz
        points[l, 0] = fx * xn + cx
        points[l, 1] = fy * yn + cy
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
        res[n], res[n + 1] = f * ru, f * rv
        fi, fj = f * fi, f * fj
        if derive:
            for half in range(2):
                row_i, row_j, out = jac[2 * i + half], jac[2 * j + half], jac[n + half]
                for c in range(out.shape[0]):
                    out[c] = fi * row_i[c] - fj * row_j[c]
    return total


@_fast
def _normal(jac, res, gradient, hessian, square):  # type: ignore[no-untyped-def]
    """Gradient = J^T r and hessian = J^T J; rows padded to a multiple of 4 and columns of 16 with zeros.

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
    for i in range(p):
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
    w cauchy^2 / 2 log(1 + s) and enters the normal equations with the weight w / (1 + s).
    """
    num_frames, num_points = weights.shape
    num_linear = codes.shape[1]
    cc = cauchy * cauchy
    rows = (2 * (num_points + pairs.shape[0]) + 3) // 4 * 4
    columns = (num_linear + 15 + 15) // 16 * 16
    for block in prange((num_frames + _BLOCK - 1) // _BLOCK):
        jac = np.zeros((rows if derive else 2, columns), np.float32)
        square = np.zeros((columns, columns), np.float32)
        res, factors = np.zeros(rows, np.float32), np.zeros(num_points, np.float32)
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
            total = _rows(
                turns[t], jacobians[t], origins[t], observed[t], weights[t], scale[t], cc, intrinsics, num_linear,
                root, root_linear, root_entries, root_bends,
                jaw_index, jaw, jaw_linear, jaw_entries, jaw_bends,
                eye_index, eye_side, eye, eye_linear, eye_entries, eye_bends,
                points[t], derive, jac, res, factors, changes,
            )  # fmt: skip
            total += _pair_rows(pairs, pair_weights[t], cc, num_points, derive, jac, res, factors)
            cost[t] = total
            if derive:
                _normal(jac, res, gradient[t], hessian[t], square)
