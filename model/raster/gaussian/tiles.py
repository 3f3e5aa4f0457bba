"""Tiles: which Gaussians they see, the blending of the picture and its gradients, as numba kernels.

The picture is cut into tiles of 16 x 16 pixels, a tile into 16 blocks of 4 x 4, and a block is one vector
(:mod:`model.raster.gaussian.simd`). A pair is a tile and a Gaussian that touches it, with a mask of the blocks that it
touches: exactly those that the contour of the smallest visible alpha reaches, and a hundredth of a pixel more. A
Gaussian's pairs lie beside each other, and a tile's list names its pairs, nearest first. After blending, a mask holds
the blocks in which the Gaussian was drawn, and only those are looked at for gradients. Each pair has its own sums,
which are added per Gaussian in the order of the pairs, whatever the number of threads.
"""

from __future__ import annotations

import math

import numpy as np

from model.raster.gaussian.conventions import ALPHA_MAX, ALPHA_MIN, STOP
from model.raster.gaussian.projection import TILE
from model.raster.gaussian.simd import (
    any_gt,
    divide,
    exp2,
    fma,
    fnma,
    lane_x,
    lane_y,
    load,
    lowest_bit,
    merge_2,
    merge_4,
    merge_8,
    merge_16,
    minimum,
    negative_size,
    one,
    splat,
    store,
    where_ge,
    where_gt,
    zero,
)
from model.raster.jit import kernel

SIMD_VERSION = 2
"""Raised with every change of simd.py, so that kernels are compiled anew."""

PIXELS = TILE * TILE
SAVED = 2 * PIXELS
"""float32 numbers that a tile keeps for its gradients: transmittance (below 0 where a pixel was finished early, or lies
outside), then how many entries of the list each pixel needs; block by block."""
LEAST = np.float32(math.log2(ALPHA_MIN))
MOST = np.float32(ALPHA_MAX)
END = np.float32(STOP)
MARGIN = 0.01
"""Pixels by which outlines are taken too large, to be safe from rounding."""
BIG = 2.0**30


@kernel
def list_blocks(first, packed, width, height, tiles_x, pair, pair_start, pair_end, pair_tile, pair_mask, pair_owner):  # type: ignore[no-untyped-def]  # fmt: skip
    """Write the pairs of Gaussians first <= i < first + len(packed), from number ``pair`` on.

    pair_start, pair_end (n,): range of each Gaussian; pair_tile, pair_mask, pair_owner (pairs,).
    """
    masks = np.zeros(tiles_x, np.int64)
    for i in range(packed.shape[0]):
        pair_start[i] = pair_end[i] = pair
        half_x, half_y = np.float64(packed[i, 10]), np.float64(packed[i, 11])
        if half_x < 0:
            continue
        mx, my = np.float64(packed[i, 0]), np.float64(packed[i, 1])
        k, p, s = np.float64(packed[i, 2]), np.float64(packed[i, 3]), np.float64(packed[i, 4])
        level, lean = packed[i, 5] - LEAST, np.float64(packed[i, 12])
        row0 = int(max(0.0, math.ceil(my - half_y - 0.5 - MARGIN)))
        row1 = int(min(height - 1.0, math.floor(my + half_y - 0.5 + MARGIN)))
        for tile_y in range(row0 // 16, row1 // 16 + 1):
            tile0, tile1 = tiles_x, -1
            for block_y in range(max(row0 // 4, 4 * tile_y), min(row1 // 4, 4 * tile_y + 3) + 1):
                # The ellipse reaches farthest to either side at +-lean, or as near to it as these rows come.
                top, bottom = max(4 * block_y + 0.5 - my, -half_y), min(4 * block_y + 3.5 - my, half_y)
                right = min(max(lean, top), bottom)
                left = min(max(-lean, top), bottom)
                x1 = mx - k * right + math.sqrt(max(0.0, level - s * right * right) / p)
                x0 = mx - k * left - math.sqrt(max(0.0, level - s * left * left) / p)
                column0 = int(max(0.0, math.ceil(min(x0 - 0.5 - MARGIN, BIG))))
                column1 = int(min(width - 1.0, math.floor(max(x1 - 0.5 + MARGIN, -BIG))))
                if column0 > column1:
                    continue
                block0, block1 = column0 // 4, column1 // 4
                for tile_x in range(block0 // 4, block1 // 4 + 1):
                    low, high = max(block0 - 4 * tile_x, 0), min(block1 - 4 * tile_x, 3)
                    masks[tile_x] |= ((2 << high) - (1 << low)) << (4 * (block_y - 4 * tile_y))
                tile0, tile1 = min(tile0, block0 // 4), max(tile1, block1 // 4)
            for tile_x in range(tile0, tile1 + 1):
                if masks[tile_x] != 0:
                    pair_tile[pair] = tile_y * tiles_x + tile_x
                    pair_mask[pair] = masks[tile_x]
                    pair_owner[pair] = first + i
                    masks[tile_x] = 0
                    pair += 1
        pair_end[i] = pair


@kernel
def sort_by_depth(keys, radii, order, scratch):  # type: ignore[no-untyped-def]
    """Fill order (n,) with the Gaussians with radii > 0 by ascending keys (n,), equal ones in their order; count them.

    keys: depths as the bits of positive float32, which are ordered as integers. Radix sort, 11 bits at a time.
    """
    count = 0
    for i in range(radii.shape[0]):
        if radii[i] > 0:
            order[count] = i
            count += 1
    buckets = np.empty(2049, np.int64)
    source, target = order, scratch
    for shift in (0, 11, 22):
        buckets[:] = 0
        for j in range(count):
            buckets[((keys[source[j]] >> shift) & 2047) + 1] += 1
        if buckets.max() == count:  # all alike in these bits
            continue
        for j in range(2048):
            buckets[j + 1] += buckets[j]
        for j in range(count):
            bucket = (keys[source[j]] >> shift) & 2047
            target[buckets[bucket]] = source[j]
            buckets[bucket] += 1
        source, target = target, source
    order[:count] = source[:count]
    return count


@kernel
def list_tiles(keys, radii, order, scratch, pair_start, pair_end, pair_tile, tile_start, lists):  # type: ignore[no-untyped-def]  # fmt: skip
    """tile_start (tiles + 1,): where each tile's list begins in lists (pairs,), which names pairs, nearest first."""
    count = sort_by_depth(keys, radii, order, scratch)
    tile_start[:] = 0
    for j in range(count):
        for pair in range(pair_start[order[j]], pair_end[order[j]]):
            tile_start[pair_tile[pair] + 1] += 1
    for tile in range(tile_start.shape[0] - 1):
        tile_start[tile + 1] += tile_start[tile]
    fill = tile_start.copy()
    for j in range(count):
        for pair in range(pair_start[order[j]], pair_end[order[j]]):
            tile = pair_tile[pair]
            lists[fill[tile]] = pair
            fill[tile] += 1


@kernel
def _aligned(size):  # type: ignore[no-untyped-def]
    """An empty float32 array (size,) that begins at a multiple of 64 bytes."""
    room = np.empty(size + 16, np.float32)
    skip = ((64 - room.ctypes.data % 64) % 64) // 4
    return room[skip : skip + size]


@kernel
def blend(  # type: ignore[no-untyped-def]
    first, last, tiles_x, packed, tile_start, lists, pair_owner, pair_mask, background, rgb, alpha, depth, saved
):  # fmt: skip
    """Draw tiles first <= tile < last: rgb (H, W, 3), alpha (H, W), depth (H, W), saved (tiles * SAVED,).

    background is (H * W, 3), or (1, 3) for one colour. pair_mask (pairs,) is cut down to the blocks in which a pair was
    drawn.
    """
    height, width = alpha.shape
    state = _aligned(4 * PIXELS)
    for tile in range(first, last):
        top, side = tile // tiles_x * TILE, tile % tiles_x * TILE
        here = tile * SAVED
        alive = 0xFFFF
        for block in range(16):
            store(saved, here + 16 * block, one())
            store(saved, here + PIXELS + 16 * block, zero())
            for field in range(4):
                store(state, field * PIXELS + 16 * block, zero())
        if top + TILE > height or side + TILE > width:
            alive = 0
            for y in range(TILE):
                for x in range(TILE):
                    block = (y // 4) * 4 + x // 4
                    if top + y < height and side + x < width:
                        alive |= 1 << block
                    else:
                        saved[here + 16 * block + (y % 4) * 4 + x % 4] = -1.0
        begin = tile_start[tile]
        for entry in range(begin, tile_start[tile + 1]):
            pair = lists[entry]
            todo = pair_mask[pair] & alive
            drawn = 0
            if todo != 0:
                i = pair_owner[pair]
                k = packed[i, 2]
                p, s, level = splat(packed[i, 3]), splat(packed[i, 4]), splat(packed[i, 5])
                red, green, blue, z = splat(packed[i, 6]), splat(packed[i, 7]), splat(packed[i, 8]), splat(packed[i, 9])
                number = splat(np.float32(entry + 1 - begin))
                offset_x, offset_y = np.float32(side + 0.5) - packed[i, 0], np.float32(top + 0.5) - packed[i, 1]
                lanes_u = fma(splat(k), lane_y(), lane_x())
                while todo != 0:
                    block = lowest_bit(todo)
                    todo &= todo - 1
                    at = 16 * block
                    y = np.float32((block >> 2) * 4) + offset_y
                    x = np.float32((block & 3) * 4) + offset_x
                    u, v = lanes_u + splat(x + k * y), lane_y() + splat(y)
                    log_alpha = fnma(p * u, u, fnma(s * v, v, level))
                    value = minimum(exp2(log_alpha), splat(MOST))
                    value = where_ge(log_alpha, splat(LEAST), value, zero())
                    before = load(saved, here + at)
                    after = fnma(before, value, before)
                    # Finished pixels have a transmittance below zero, so they stay below END.
                    value = where_gt(after, splat(END), value, zero())
                    if any_gt(value, zero()):
                        drawn |= 1 << block
                        weight = before * value
                        store(state, at, fma(weight, red, load(state, at)))
                        store(state, PIXELS + at, fma(weight, green, load(state, PIXELS + at)))
                        store(state, 2 * PIXELS + at, fma(weight, blue, load(state, 2 * PIXELS + at)))
                        store(state, 3 * PIXELS + at, fma(weight, z, load(state, 3 * PIXELS + at)))
                        count = load(saved, here + PIXELS + at)
                        store(saved, here + PIXELS + at, where_gt(value, zero(), number, count))
                    after = where_gt(after, splat(END), after, negative_size(before))
                    store(saved, here + at, after)
                    if not any_gt(after, zero()):
                        alive &= ~(1 << block)
            pair_mask[pair] = drawn
        for y in range(min(TILE, height - top)):
            for x in range(min(TILE, width - side)):
                at = 16 * ((y // 4) * 4 + x // 4) + (y % 4) * 4 + x % 4
                left = abs(saved[here + at])
                pixel = ((top + y) * width + side + x) % background.shape[0]
                for c in range(3):
                    rgb[top + y, side + x, c] = state[c * PIXELS + at] + left * background[pixel, c]
                alpha[top + y, side + x] = np.float32(1.0) - left
                depth[top + y, side + x] = state[3 * PIXELS + at]


@kernel
def blend_backward(  # type: ignore[no-untyped-def]
    first, last, tiles_x, packed, tile_start, lists, pair_owner, pair_mask, background, saved,
    grad_rgb, grad_alpha, grad_depth, deep, sums,
):  # fmt: skip
    """Write sums (pairs * SUMS,) of the tiles' pairs whose mask is not 0.

    grad_rgb (H, W, 3), grad_alpha (H, W); grad_depth (H, W) is read if ``deep``.
    """
    height, width = grad_alpha.shape
    state = _aligned(6 * PIXELS)  # transmittance, what lies behind, gradients of red, green, blue, depth
    for tile in range(first, last):
        if tile_start[tile] == tile_start[tile + 1]:
            continue
        top, side = tile // tiles_x * TILE, tile % tiles_x * TILE
        here = tile * SAVED
        state[:] = 0.0
        for y in range(min(TILE, height - top)):
            for x in range(min(TILE, width - side)):
                at = 16 * ((y // 4) * 4 + x // 4) + (y % 4) * 4 + x % 4
                state[at] = abs(saved[here + at])
                # What is seen where nothing is in front, as far as the loss cares: background, and alpha = 1 - left.
                behind = -grad_alpha[top + y, side + x]
                pixel = ((top + y) * width + side + x) % background.shape[0]
                for c in range(3):
                    gradient = grad_rgb[top + y, side + x, c]
                    state[(2 + c) * PIXELS + at] = gradient
                    behind += gradient * background[pixel, c]
                state[PIXELS + at] = behind
                if deep:
                    state[5 * PIXELS + at] = grad_depth[top + y, side + x]
        begin = tile_start[tile]
        for back in range(tile_start[tile + 1] - begin):
            entry = tile_start[tile + 1] - 1 - back
            pair = lists[entry]
            todo = pair_mask[pair]
            if todo == 0:
                continue
            i = pair_owner[pair]
            k = packed[i, 2]
            p, s, level = splat(packed[i, 3]), splat(packed[i, 4]), splat(packed[i, 5])
            red, green, blue, z = splat(packed[i, 6]), splat(packed[i, 7]), splat(packed[i, 8]), splat(packed[i, 9])
            number = splat(np.float32(entry + 1 - begin))
            offset_x, offset_y = np.float32(side + 0.5) - packed[i, 0], np.float32(top + 0.5) - packed[i, 1]
            lanes_u = fma(splat(k), lane_y(), lane_x())
            sum_w, sum_u, sum_v, sum_uu, sum_uv, sum_vv = zero(), zero(), zero(), zero(), zero(), zero()
            sum_r, sum_g, sum_b, sum_z = zero(), zero(), zero(), zero()
            while todo != 0:
                block = lowest_bit(todo)
                todo &= todo - 1
                at = 16 * block
                y = np.float32((block >> 2) * 4) + offset_y
                x = np.float32((block & 3) * 4) + offset_x
                u, v = lanes_u + splat(x + k * y), lane_y() + splat(y)
                log_alpha = fnma(p * u, u, fnma(s * v, v, level))
                raw = exp2(log_alpha)
                raw = where_ge(log_alpha, splat(LEAST), raw, zero())
                raw = where_ge(load(saved, here + PIXELS + at), number, raw, zero())
                value = minimum(raw, splat(MOST))
                before = divide(load(state, at), one() - value)
                store(state, at, before)
                weight = value * before
                gr, gg, gb = load(state, 2 * PIXELS + at), load(state, 3 * PIXELS + at), load(state, 4 * PIXELS + at)
                own = fma(blue, gb, fma(green, gg, red * gr))
                sum_r, sum_g, sum_b = fma(weight, gr, sum_r), fma(weight, gg, sum_g), fma(weight, gb, sum_b)
                if deep:
                    gz = load(state, 5 * PIXELS + at)
                    own = fma(z, gz, own)
                    sum_z = fma(weight, gz, sum_z)
                behind = load(state, PIXELS + at)
                own = own - behind
                store(state, PIXELS + at, fma(value, own, behind))
                change = where_gt(raw, splat(MOST), zero(), weight * own)
                change_u, change_v = change * u, change * v
                sum_w, sum_u, sum_v = sum_w + change, sum_u + change_u, sum_v + change_v
                sum_uu, sum_uv = fma(change_u, u, sum_uu), fma(change_u, v, sum_uv)
                sum_vv = fma(change_v, v, sum_vv)
            # Sixteen sums of sixteen lanes each, folded together: two by two, then four by four ...
            low = merge_8(merge_16(sum_w, sum_u), merge_16(sum_v, sum_uu))
            middle = merge_8(merge_16(sum_uv, sum_vv), merge_16(sum_r, sum_g))
            high = merge_8(merge_16(sum_b, sum_z), zero())
            store(sums, 16 * pair, merge_2(merge_4(low, middle), merge_4(high, zero())))
