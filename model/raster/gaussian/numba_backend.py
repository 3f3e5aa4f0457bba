"""Gaussians drawn on the CPU by numba kernels, with their gradients as an autograd function.

Projection in float64, blending in float32. Work is cut into parts of fixed size that write to places of their own, and
sums run in a fixed order: results are the same bytes whatever the number of threads. First derivatives only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from model.camera import Camera
from model.raster.gaussian import projection, tiles
from model.raster.gaussian.projection import FIELDS, GRADIENTS
from model.raster.gaussian.tiles import TILE
from model.raster.jit import run_jobs

CHUNK = 2048
"""Gaussians that are projected in one job. Fixed, so that the order of summation does not follow the machine."""


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _spans(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(count, start + size)) for start in range(0, count, size)]


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
        behind = np.zeros((), given[0].dtype) if background is None else background.detach().numpy()
        behind = np.broadcast_to(behind, (batch, height, width, 3))
        intrinsics = tuple(float(v) for v in (camera.fx, camera.fy, camera.cx, camera.cy, width, height))
        packed = np.empty((batch, count, FIELDS), np.float32)
        radii = np.empty((batch, count), np.int32)
        spans = _spans(count, CHUNK)
        run_jobs(
            projection.project,
            [
                (*(t[b, i:j] for t in given), shift[b, i:j], views[b], intrinsics, packed[b, i:j], radii[b, i:j])
                for b in range(batch)
                for i, j in spans
            ],
            threads,
        )
        tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
        rgb = np.empty((batch, height, width, 3), np.float32)
        left = np.empty((batch, height, width), np.float32)
        depth = np.empty((batch, height, width), np.float32)
        ends = np.empty((batch, height, width), np.int32)
        lists, jobs = [], []
        for b in range(batch):
            visible = np.flatnonzero(radii[b])
            order = visible[np.argsort(packed[b, visible, 9], kind="stable")].astype(np.int32)
            pair_start = np.empty(len(order) + 1, np.int32)
            tile_start = np.empty(tiles_x * tiles_y + 1, np.int32)
            tiles.count_pairs(packed[b], order, tiles_x, tiles_y, pair_start, tile_start)
            entries, ranks = np.empty(tile_start[-1], np.int32), np.empty(tile_start[-1], np.int32)
            tiles.list_pairs(
                packed[b], order, tiles_x, tiles_y, tile_start, np.empty_like(tile_start[1:]), entries, ranks
            )
            lists.append((packed[b], order, tile_start, entries, ranks, pair_start))
            jobs += [
                (
                    i, j, tiles_x, packed[b], order, tile_start, entries, ranks, behind[b], rgb[b], left[b], depth[b],
                    ends[b],
                )
                for i, j in _spans(tiles_x * tiles_y, tiles_x)
            ]  # fmt: skip
        run_jobs(tiles.blend, jobs, threads)
        ctx.save_for_backward(means, quats, scales, view, background)
        ctx.kept = (lists, left, ends, views, intrinsics, tiles_x, tiles_y, threads)
        ctx.set_materialize_grads(False)
        outputs = [torch.from_numpy(a).to(means.dtype) for a in (rgb, 1 - left, depth)]
        marks = torch.from_numpy(radii)
        ctx.mark_non_differentiable(marks)
        return *outputs, marks

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_rgb, grad_alpha, grad_depth, _):  # type: ignore[no-untyped-def, override]
        """Gradients to all eight tensors."""
        means, quats, scales, view, background = ctx.saved_tensors
        lists, left, ends, views, intrinsics, tiles_x, tiles_y, threads = ctx.kept
        batch, count = means.shape[:2]
        dtype = means.dtype
        shape = left.shape
        rgb = np.zeros((*shape, 3), np.float32) if grad_rgb is None else _array(grad_rgb.float())
        through = np.zeros(shape, np.float32) if grad_alpha is None else -_array(grad_alpha.float())
        deep = np.zeros(shape, np.float32) if grad_depth is None else _array(grad_depth.float())
        grad_background = None
        if background is not None:
            through = through + np.einsum("bhwc,bhwc->bhw", rgb, background.detach().float().numpy())
            if ctx.needs_input_grad[7]:
                grad_background = torch.from_numpy(rgb * left[..., None]).to(dtype)
        grad_packed = np.zeros((batch, count, GRADIENTS), np.float32)
        jobs, sums = [], []
        for b in range(batch):
            packed, order, tile_start, entries, ranks, pair_start = lists[b]
            grads = np.zeros((len(entries), GRADIENTS), np.float32)
            jobs += [
                (
                    i, j, tiles_x, packed, order, tile_start, entries, ranks, left[b], ends[b], rgb[b], through[b],
                    deep[b], grads,
                )
                for i, j in _spans(tiles_x * tiles_y, tiles_x)
            ]  # fmt: skip
            sums += [(i, j, order, pair_start, grads, grad_packed[b]) for i, j in _spans(len(order), CHUNK)]
        run_jobs(tiles.blend_backward, jobs, threads)
        run_jobs(tiles.sum_pairs, sums, threads)
        arrays = [_array(t) for t in (means, quats, scales)]
        grads_3d = [np.empty_like(a) for a in arrays]
        spans = _spans(count, CHUNK)
        grad_view = np.zeros((batch, len(spans), 4, 4))
        run_jobs(
            projection.project_backward,
            [
                (
                    *(a[b, i:j] for a in arrays), views[b], intrinsics, lists[b][0][i:j], grad_packed[b, i:j],
                    *(g[b, i:j] for g in grads_3d), grad_view[b, part],
                )
                for b in range(batch)
                for part, (i, j) in enumerate(spans)
            ],
            threads,
        )  # fmt: skip
        flat = torch.from_numpy(grad_packed).to(dtype)
        return (
            *(torch.from_numpy(g) for g in grads_3d), flat[..., 5], flat[..., 6:9],
            torch.from_numpy(grad_view.sum(1)).to(dtype), flat[..., :2], grad_background, None, None,
        )  # fmt: skip


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
