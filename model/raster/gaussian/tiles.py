"""Tiles: which Gaussians they see, the blending of the picture and its gradients, as numba kernels.

The picture is cut into tiles of TILE x TILE pixels. A tile's list names the pairs (tile, Gaussian) it blends, nearest
first. Gaussians are numbered by depth (their rank) and pairs by rank, so a Gaussian's pairs lie beside each other: each
pair has its own gradients, and they are summed per Gaussian in that order, whatever the number of threads.
"""

from __future__ import annotations

import math

import numpy as np

from model.raster.gaussian.conventions import ALPHA_MAX, ALPHA_MIN, STOP
from model.raster.gaussian.projection import GRADIENTS
from model.raster.jit import kernel

TILE = 16
"""Side of a tile, pixels."""


@kernel
def _box(packed, g, tiles_x, tiles_y):  # type: ignore[no-untyped-def]
    """Tiles x0 <= x < x1, y0 <= y < y1 that the box of a Gaussian touches."""
    x0 = int(max(0.0, math.floor((packed[g, 0] - packed[g, 10]) / TILE)))
    x1 = int(min(np.float64(tiles_x), math.floor((packed[g, 0] + packed[g, 10]) / TILE) + 1))
    y0 = int(max(0.0, math.floor((packed[g, 1] - packed[g, 11]) / TILE)))
    y1 = int(min(np.float64(tiles_y), math.floor((packed[g, 1] + packed[g, 11]) / TILE) + 1))
    return x0, x1, y0, y1


@kernel
def count_pairs(packed, order, tiles_x, tiles_y, pair_start, tile_start):  # type: ignore[no-untyped-def]
    """pair_start (n + 1,): first pair of each rank; tile_start (tiles + 1,): first list entry of each tile."""
    tile_start[:] = 0
    pair_start[0] = 0
    for rank in range(order.shape[0]):
        x0, x1, y0, y1 = _box(packed, order[rank], tiles_x, tiles_y)
        for ty in range(y0, y1):
            for tx in range(x0, x1):
                tile_start[ty * tiles_x + tx + 1] += 1
        pair_start[rank + 1] = pair_start[rank] + max(0, x1 - x0) * max(0, y1 - y0)
    for tile in range(tiles_x * tiles_y):
        tile_start[tile + 1] += tile_start[tile]


@kernel
def list_pairs(packed, order, tiles_x, tiles_y, tile_start, fill, lists, ranks):  # type: ignore[no-untyped-def]
    """lists (pairs,): pairs of the tiles; ranks (pairs,): Gaussian of each pair. fill (tiles,) is for scratch."""
    fill[:] = tile_start[:-1]
    pair = 0
    for rank in range(order.shape[0]):
        x0, x1, y0, y1 = _box(packed, order[rank], tiles_x, tiles_y)
        for ty in range(y0, y1):
            for tx in range(x0, x1):
                tile = ty * tiles_x + tx
                lists[fill[tile]] = pair
                fill[tile] += 1
                ranks[pair] = rank
                pair += 1


@kernel
def blend(first, last, tiles_x, packed, order, tile_start, lists, ranks, background, rgb, left, depth, ends):  # type: ignore[no-untyped-def]  # fmt: skip
    """Draw tiles first <= tile < last: rgb (H, W, 3), left (H, W), depth (H, W), ends (H, W): entries looked at."""
    height, width = left.shape
    for tile in range(first, last):
        top, side = tile // tiles_x * TILE, tile % tiles_x * TILE
        for y in range(top, min(height, top + TILE)):
            for x in range(side, min(width, side + TILE)):
                t, r, g, b, d = 1.0, 0.0, 0.0, 0.0, 0.0
                end = tile_start[tile]
                for entry in range(tile_start[tile], tile_start[tile + 1]):
                    i = order[ranks[lists[entry]]]
                    dx, dy = x + 0.5 - packed[i, 0], y + 0.5 - packed[i, 1]
                    sigma = 0.5 * (packed[i, 2] * dx * dx + packed[i, 4] * dy * dy) + packed[i, 3] * dx * dy
                    alpha = min(ALPHA_MAX, packed[i, 5] * math.exp(-sigma))
                    if sigma < 0 or alpha < ALPHA_MIN:
                        continue
                    after = t * (1.0 - alpha)
                    if after <= STOP:
                        break
                    r += t * alpha * packed[i, 6]
                    g += t * alpha * packed[i, 7]
                    b += t * alpha * packed[i, 8]
                    d += t * alpha * packed[i, 9]
                    t = after
                    end = entry + 1
                rgb[y, x, 0] = r + t * background[y, x, 0]
                rgb[y, x, 1] = g + t * background[y, x, 1]
                rgb[y, x, 2] = b + t * background[y, x, 2]
                left[y, x], depth[y, x], ends[y, x] = t, d, end


@kernel
def blend_backward(first, last, tiles_x, packed, order, tile_start, lists, ranks, left, ends, grad_rgb, grad_left, grad_depth, grads):  # type: ignore[no-untyped-def]  # fmt: skip
    """Write grads (pairs, GRADIENTS) of the tiles' pairs. grad_left holds the background's part already."""
    height, width = left.shape
    for tile in range(first, last):
        top, side = tile // tiles_x * TILE, tile % tiles_x * TILE
        for y in range(top, min(height, top + TILE)):
            for x in range(side, min(width, side + TILE)):
                t = np.float64(left[y, x])
                gr, gg, gb, gd = grad_rgb[y, x, 0], grad_rgb[y, x, 1], grad_rgb[y, x, 2], grad_depth[y, x]
                behind = np.float64(grad_left[y, x])  # what lies behind, seen through nothing
                for back in range(ends[y, x] - tile_start[tile]):
                    pair = lists[ends[y, x] - 1 - back]
                    i = order[ranks[pair]]
                    dx, dy = x + 0.5 - packed[i, 0], y + 0.5 - packed[i, 1]
                    sigma = 0.5 * (packed[i, 2] * dx * dx + packed[i, 4] * dy * dy) + packed[i, 3] * dx * dy
                    raw = packed[i, 5] * math.exp(-sigma)
                    alpha = min(ALPHA_MAX, raw)
                    if sigma < 0 or alpha < ALPHA_MIN:
                        continue
                    t /= 1.0 - alpha
                    own = gr * packed[i, 6] + gg * packed[i, 7] + gb * packed[i, 8] + gd * packed[i, 9]
                    weight = alpha * t
                    grads[pair, 6] += weight * gr
                    grads[pair, 7] += weight * gg
                    grads[pair, 8] += weight * gb
                    grads[pair, 9] += weight * gd
                    change = t * (own - behind)
                    behind = alpha * own + (1.0 - alpha) * behind
                    if raw > ALPHA_MAX:
                        continue
                    grads[pair, 5] += change * raw / packed[i, 5]
                    s = -raw * change
                    grads[pair, 0] -= s * (packed[i, 2] * dx + packed[i, 3] * dy)
                    grads[pair, 1] -= s * (packed[i, 3] * dx + packed[i, 4] * dy)
                    grads[pair, 2] += 0.5 * s * dx * dx
                    grads[pair, 3] += s * dx * dy
                    grads[pair, 4] += 0.5 * s * dy * dy


@kernel
def sum_pairs(first, last, order, pair_start, grads, grad_packed):  # type: ignore[no-untyped-def]
    """grad_packed (N, GRADIENTS) of the Gaussians with first <= rank < last."""
    for rank in range(first, last):
        for k in range(GRADIENTS):
            total = 0.0
            for pair in range(pair_start[rank], pair_start[rank + 1]):
                total += grads[pair, k]
            grad_packed[order[rank], k] = total
