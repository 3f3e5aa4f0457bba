"""Pictures as the kernels read them: reduced, with the matte as a fourth channel."""

from __future__ import annotations

import numpy as np
import torch

from model.photometric import kernels
from model.photometric.term import blocks
from model.raster.jit import run_jobs


def _reduced(frames: np.ndarray, size: int, out: np.ndarray, channel: int, threads: int) -> None:
    """Write frames (T, H, W, C) uint8, averaged to size x size, into channels of ``out``."""
    height, width = frames.shape[1:3]
    if height == width and height % size == 0:
        fixed = (np.ascontiguousarray(frames), height // size, channel, out)
        run_jobs(kernels.shrink, [(first, last, *fixed) for first, last in blocks(len(frames))], threads)
        return
    for t, frame in enumerate(frames):
        image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
        small = torch.nn.functional.interpolate(image, (size, size), mode="area")[0].permute(1, 2, 0)
        out[t, :, :, channel : channel + frames.shape[3]] = small.add(0.5).clamp(0, 255).to(torch.uint8).numpy()


def stack(frames: np.ndarray, mattes: np.ndarray | None, size: int, threads: int = 1) -> np.ndarray:
    """Reduce pictures and mattes.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        mattes: (T, H, W) uint8, 255 where the person is, or None for everywhere.
        size: side of the result, pixels.
        threads: jobs at a time.

    Returns:
        (T, size, size, 4) uint8.
    """
    out = np.full((len(frames), size, size, 4), 255, np.uint8)
    _reduced(frames, size, out, 0, threads)
    if mattes is not None:
        _reduced(mattes[..., None], size, out, 3, threads)
    return out


def halve(images: np.ndarray, threads: int = 1) -> np.ndarray:
    """Pictures (T, S, S, 4) at half their size."""
    out = np.empty((len(images), images.shape[1] // 2, images.shape[2] // 2, 4), np.uint8)
    _reduced(images[:, : 2 * out.shape[1], : 2 * out.shape[2]], out.shape[1], out, 0, threads)
    return out
