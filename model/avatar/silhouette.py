"""Footage without a matte: the outline of the tracked mesh stands in for it, and for everything that reads mattes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from model.avatar.footage import Footage, Frame
from model.avatar.posing import Torso, pose_on_torso
from model.avatar.track import make_track
from model.head import HeadModel
from model.raster import rasterize


def with_silhouettes(head: HeadModel, row: Footage) -> Footage:
    """The row with mattes, its own or the mesh's outlines; ``matte`` says which.

    An outline shows head, neck and shoulders of the mesh on a torso that stands at the row's mean head pose: hair
    counts only where it lies on the scalp, and whatever else stands before the background is background.

    Args:
        head: the codes' own, on any device; everything is computed on the CPU.
        row: left as it is where it has mattes.

    Raises:
        HeadMismatch, DatasetError: the codes do not belong to the head.
    """
    if row.mattes is not None:
        return row
    row.check(head)
    head = head.to("cpu")
    rest = head.shaped(torch.from_numpy(np.array(row.shape)))
    usable = row.usable()
    size = (row.camera.height, row.camera.width)

    def outlines(start: int, stop: int) -> np.ndarray:
        found = np.zeros((stop - start, *size), np.uint8)
        there = [t for t in range(start, stop) if usable[t]]
        if not there:
            return found
        track = make_track([row], [Frame(0, t) for t in there])
        body = Torso.still().pose(track.codes, track.rest)
        with torch.no_grad():
            vertices = pose_on_torso(head, rest, track.codes, body)
        covered = rasterize(vertices, head.faces, row.camera).face_id.numpy() >= 0
        found[[t - start for t in there]] = covered.astype(np.uint8) * 255
        return found

    # What such outlines stand on does not move: there is nothing to track.
    still = np.zeros((len(row), 6), np.float32)
    return replace(row, mattes=outlines, matte="mesh", codes={**row.codes, "torso": still})
