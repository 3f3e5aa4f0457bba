"""How well an avatar shows each row it was fitted to: PSNR over frames spread evenly over the row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from model.avatar.draw import draw
from model.avatar.footage import Footage, Frame, pictures
from model.avatar.light import light_of
from model.avatar.posing import rest_pose
from model.head import HeadModel
from model.metrics.image import mean_over_frames, psnr

ALL_FRAMES, ROW_FRAMES, LEAST = 600, 40, 4
"""Frames drawn in all, of a row, and of a row at least."""


def rest_of(row: Footage) -> Tensor:
    """(6,) where the torso stands in a row: the mean pose of the head."""
    rotation, translation = (torch.from_numpy(row.codes[name]) for name in ("rotation", "translation"))
    return rest_pose(torch.nan_to_num(rotation), torch.nan_to_num(translation), torch.from_numpy(row.usable()))


def show(
    avatar: Avatar, head: HeadModel, row: Footage, times: Sequence[int], size: int, background: Tensor, threads: int
) -> Tensor:
    """(n, size, size, 3) in [0, 1]: the avatar at some frames of a row, codes as tracked, on the CPU."""
    codes = {name: values[list(times)] for name, values in row.codes.items()}
    rgb, _ = draw(
        avatar, head, codes, row.camera,
        size=(size, size), background=background, rest=rest_of(row), light=light_of(avatar, row.row_id),
        threads=threads,
    )  # fmt: skip
    return rgb.cpu()


def judge_rows(
    avatar: Avatar, head: HeadModel, footage: Sequence[Footage], size: int, threads: int
) -> dict[str, dict[str, float | None]]:
    """row_id -> psnr (dB, foreground, mean over frames; None where nothing of the person is seen) and frames judged.

    Truth and avatar are composited on black with the truth's matte, as for the held-out figures.
    """
    count = max(LEAST, min(ROW_FRAMES, ALL_FRAMES // max(len(footage), 1)))
    found: dict[str, dict[str, float | None]] = {}
    for number, row in enumerate(footage):
        times = spread(np.flatnonzero(row.usable()), count)
        shown = show(avatar, head, row, times, size, torch.zeros(3), threads)
        figures = []
        for index, picture in pictures(footage, [Frame(number, time) for time in times], size, threads):
            image = torch.from_numpy(picture.astype(np.float32) / 255)
            truth, matte = image[..., :3] * image[..., 3:], image[..., 3] > 0.5
            figures.append(psnr(shown[index][None], truth[None], matte[None]))
        value = mean_over_frames(torch.cat(figures)) if figures else math.nan
        found[row.row_id] = {"psnr": round(value, 3) if math.isfinite(value) else None, "frames": len(times)}
    return found


def spread(frames: np.ndarray, count: int) -> list[int]:
    """``count`` of the frames, or all where they are fewer, evenly spread."""
    if count >= len(frames):
        return [int(frame) for frame in frames]
    return [int(frames[int((i + 0.5) / count * len(frames))]) for i in range(count)]
