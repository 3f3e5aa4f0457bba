"""Gaussians drawn on the CPU by numba kernels, with their gradients as an autograd function.

Projection in float64, blending in float32. Work is cut into parts of fixed size that write to places of their own, and
sums run in a fixed order: results are the same bytes whatever the number of threads. First derivatives only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from model.camera import Camera
from model.raster.gaussian import projection, tiles
from model.raster.gaussian.projection import FIELDS, SUMS, TILE
from model.raster.gaussian.tiles import SAVED
from model.raster.jit import run_jobs

CHUNK = 2048
"""Gaussians that are projected in one job. Fixed, so that the order of summation does not follow the machine."""
MOST_PAIRS = 2**31 - 2**20
"""Pairs of a tile and a Gaussian are counted in int32."""


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _behind(background: torch.Tensor | None, batch: int) -> np.ndarray:
    """(B, P, 3) float32: the background's pixels, or one for all (P = 1)."""
    if background is None:
        return np.zeros((batch, 1, 3), np.float32)
    if background.stride(1) == background.stride(2) == 0:
        background = background[:, :1, :1]
    return _array(background.flatten(1, 2).to(torch.float32))


def _spans(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(count, start + size)) for start in range(0, count, size)]


@dataclass(frozen=True)
class _Pairs:
    """The pairs of a tile and a Gaussian of one picture; see :mod:`model.raster.gaussian.tiles`."""

    start: np.ndarray
    """(N,) int32: first pair of each Gaussian."""
    end: np.ndarray
    """(N,) int32: the end of its pairs."""
    tile: np.ndarray
    """(P,) int32, row by row."""
    mask: np.ndarray
    """(P,) int32: blocks, bit by bit."""
    owner: np.ndarray
    """(P,) int32: the Gaussian."""
    tile_start: np.ndarray
    """(tiles + 1,) int32: first entry of each tile's list."""
    lists: np.ndarray
    """(P,) int32: pairs, tile by tile."""

    @staticmethod
    def empty(count: int, room: int, tiles: int) -> _Pairs:
        """Room for ``room`` pairs, nothing filled in."""
        return _Pairs(*(np.empty(n, np.int32) for n in (count, count, room, room, room, tiles + 1, room)))


class _Draw(torch.autograd.Function):
    """(means, quats, scales, opacities, colours, view, screen, background) -> (rgb, alpha, depth sum, radii)."""

    @staticmethod
    def forward(ctx, means, quats, scales, opacities, colours, view, screen, background, camera, threads):  # type: ignore[no-untyped-def, override]  # fmt: skip
        """Draw; see :func:`draw`."""
        given = [_array(t) for t in (means, quats, scales, opacities, colours)]
        batch, count = given[3].shape
        height, width = camera.height, camera.width
        views = _array(view).astype(np.float64)
        shift = np.zeros((batch, 0, 2), given[0].dtype) if screen is None else _array(screen)
        behind = _behind(background, batch)
        intrinsics = tuple(float(v) for v in (camera.fx, camera.fy, camera.cx, camera.cy, width, height))
        packed = np.empty((batch, count, FIELDS), np.float32)
        radii = np.empty((batch, count), np.int32)
        spans = _spans(count, CHUNK)
        room = np.zeros((batch, len(spans) + 1), np.int64)
        jobs = [(b, part, i, j) for b in range(batch) for part, (i, j) in enumerate(spans)]
        run_jobs(
            projection.project,
            [
                (
                    *(t[b, i:j] for t in given), shift[b, i:j], views[b], intrinsics, packed[b, i:j], radii[b, i:j],
                    room[b, part + 1 : part + 2],
                )
                for b, part, i, j in jobs
            ],
            threads,
        )  # fmt: skip
        np.cumsum(room, axis=1, out=room)
        if room.max() > MOST_PAIRS:
            raise ValueError(
                f"{count} Gaussians cover {room.max()} tiles of the picture, at most {MOST_PAIRS} can be listed: "
                "most of them are far too large"
            )
        across, down = -(-width // TILE), -(-height // TILE)
        pairs = [_Pairs.empty(count, int(room[b, -1]), across * down) for b in range(batch)]
        run_jobs(
            tiles.list_blocks,
            [
                (
                    i, packed[b, i:j], width, height, across, int(room[b, part]), pairs[b].start[i:j],
                    pairs[b].end[i:j], pairs[b].tile, pairs[b].mask, pairs[b].owner,
                )
                for b, part, i, j in jobs
            ],
            threads,
        )  # fmt: skip
        depths = packed.view(np.uint32)[..., 9]
        run_jobs(
            tiles.list_tiles,
            [
                (depths[b], radii[b], *np.empty((2, count), np.int32), p.start, p.end, p.tile, p.tile_start, p.lists)
                for b, p in enumerate(pairs)
            ],
            threads,
        )
        rgb = np.empty((batch, height, width, 3), np.float32)
        alpha = np.empty((batch, height, width), np.float32)
        depth = np.empty((batch, height, width), np.float32)
        saved = np.empty((batch, across * down * SAVED), np.float32)
        run_jobs(
            tiles.blend,
            [
                (
                    row * across, (row + 1) * across, across, packed[b], p.tile_start, p.lists, p.owner, p.mask,
                    behind[b], rgb[b], alpha[b], depth[b], saved[b],
                )
                for b, p in enumerate(pairs)
                for row in range(down)
            ],
            threads,
        )  # fmt: skip
        # The inputs go through torch, which notices when they are overwritten before the gradients are taken.
        ctx.save_for_backward(means, quats, scales, opacities, background)
        left = 1 - alpha if ctx.needs_input_grad[7] else None
        ctx.kept = (packed, pairs, saved, left, views, intrinsics, threads)
        ctx.set_materialize_grads(False)
        marks = torch.from_numpy(radii)
        ctx.mark_non_differentiable(marks)
        return *(torch.from_numpy(a).to(means.dtype) for a in (rgb, alpha, depth)), marks

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_rgb, grad_alpha, grad_depth, _):  # type: ignore[no-untyped-def, override]
        """Gradients to all eight tensors."""
        means, quats, scales, opacities, background = ctx.saved_tensors
        packed, pairs, saved, left, views, intrinsics, threads = ctx.kept
        batch, count = opacities.shape
        behind = _behind(background, batch)
        dtype, width, height = means.dtype, int(intrinsics[4]), int(intrinsics[5])
        across, down = -(-width // TILE), -(-height // TILE)
        shape = (batch, height, width)
        rgb, through, deep = (
            np.zeros(size, np.float32) if grad is None else _array(grad.to(torch.float32))
            for grad, size in ((grad_rgb, (*shape, 3)), (grad_alpha, shape), (grad_depth, shape))
        )
        sums = [np.empty(len(p.tile) * SUMS, np.float32) for p in pairs]
        run_jobs(
            tiles.blend_backward,
            [
                (
                    row * across, (row + 1) * across, across, packed[b], p.tile_start, p.lists, p.owner, p.mask,
                    behind[b], saved[b], rgb[b], through[b], deep[b], grad_depth is not None, sums[b],
                )
                for b, p in enumerate(pairs)
                for row in range(down)
            ],
            threads,
        )  # fmt: skip
        given = [_array(t) for t in (means, quats, scales, opacities)]
        grads = [np.empty((batch, count, *size), given[0].dtype) for size in ((3,), (4,), (3,), (), (3,), (2,))]
        spans = _spans(count, CHUNK)
        grad_view = np.zeros((batch, len(spans), 4, 4))
        run_jobs(
            projection.project_backward,
            [
                (
                    *(t[b, i:j] for t in given), views[b], intrinsics, packed[b, i:j], pairs[b].start[i:j],
                    pairs[b].end[i:j], pairs[b].mask, sums[b].reshape(-1, SUMS), *(g[b, i:j] for g in grads),
                    grad_view[b, part],
                )
                for b in range(batch)
                for part, (i, j) in enumerate(spans)
            ],
            threads,
        )  # fmt: skip
        grad_background = None
        if left is not None:
            grad_background = torch.from_numpy(rgb * left[..., None]).to(dtype)
        tensors = [torch.from_numpy(g) for g in grads]
        view_grad = torch.from_numpy(grad_view.sum(axis=1)).to(dtype)
        results = (*tensors[:5], view_grad, tensors[5], grad_background, None, None)
        return tuple(g if needed else None for g, needed in zip(results, ctx.needs_input_grad, strict=True))


def draw(
    means: torch.Tensor, quats: torch.Tensor, scales: torch.Tensor, opacities: torch.Tensor, colours: torch.Tensor,
    camera: Camera, view: torch.Tensor, screen: torch.Tensor | None, background: torch.Tensor | None,
    threads: int | None = None,
) -> Any:  # fmt: skip
    """Colours (B, H, W, 3) over the background, alpha (B, H, W), weighted depth (B, H, W), radii (B, N) int32.

    Args:
        means: (B, N, 3); quats (B, N, 4); scales (B, N, 3); opacities (B, N); colours (B, N, 3), on the CPU.
        camera: intrinsics and size.
        view: (B, 4, 4), world to camera.
        screen: (B, N, 2) or None, added to the projected means.
        background: (B, H, W, 3) or None.
        threads: None for torch's setting.
    """
    return _Draw.apply(means, quats, scales, opacities, colours, view, screen, background, camera, threads)
