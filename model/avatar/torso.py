"""Tracking where a subject's shoulders are: two numbers a frame, for rows whose pictures are at hand.

Tracking of the face says nothing of the torso, and a torso moves much less, and otherwise, than the head. Its shift in
the picture plane is found by comparing the shoulders of one frame with every other frame, for all shifts at once
(masked sum of squared differences), then smoothed over time. Like the head's own codes it is read off every frame that
is drawn; nothing else of the pictures is used.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d, median_filter

from model.avatar.footage import Footage, Frame, pictures
from model.avatar.posing import SPREAD, Torso, pose_on_torso
from model.avatar.track import make_track
from model.head import HeadModel
from model.raster import rasterize

SIZE = 128
"""Side of the pictures that are compared, pixels."""
REACH = 14
"""Largest shift that is looked for, pixels of these."""
_LEAST_PIXELS = 0.02
"""Share of the picture that shoulders must cover."""
_ROOT = 0.6
"""Skinning weight of the root joint from which a vertex counts as torso."""
_STAY = 0.0005
"""Rise of the mean squared difference (of values in [0, 1]) at ``REACH`` that makes small shifts the likelier ones."""
_SMOOTH = 1.0
"""Standard deviation in time, frames."""


def track_torso(head: HeadModel, footage: Footage, threads: int = 1) -> np.ndarray:
    """Shift of the torso of one row.

    Args:
        head: the codes' own.
        footage: the row.
        threads: for decoding.

    Returns:
        (T, 6) float32 in units of ``SPREAD``, as ``codes["torso"]``: how far the torso is from the row's mean head
        pose; only the shift in x and y differ from 0. All zero where no shoulders are seen.
    """
    usable = np.flatnonzero(footage.usable())
    found = np.zeros((len(footage), 6), np.float32)
    if not len(usable):
        return found
    frames = [Frame(0, int(t)) for t in usable]
    track = make_track([footage], frames)
    poses = torch.cat([track.codes["rotation"], track.codes["translation"]], dim=1)
    away = ((poses - track.rest) / torch.tensor(SPREAD)).abs().sum(1)
    reference = int(away.argmin())
    picture = next(iter(pictures([footage], [frames[reference]], SIZE, threads)))[1]
    rest = head.shaped(torch.from_numpy(np.array(footage.shape)))
    mask = shoulders(head, rest, footage, frames[reference], picture)
    if mask.mean() < _LEAST_PIXELS:
        return found
    shifts = np.zeros((len(frames), 2))
    for index, shift in _shifts(footage, frames, picture, mask, threads):
        shifts[index] = shift
    shifts = gaussian_filter1d(median_filter(shifts, (3, 1), mode="nearest"), _SMOOTH, axis=0, mode="nearest")
    pivot = rest[1][0, 0] + track.rest[reference, 3:]
    camera = track.camera(reference, SIZE)
    metres = shifts * float(pivot[2]) / np.array([camera.fx, camera.fy])
    found[usable, 3:5] = metres / np.array(SPREAD[3:5])
    return found


def shoulders(
    head: HeadModel, rest: tuple[torch.Tensor, torch.Tensor], footage: Footage, frame: Frame, picture: np.ndarray
) -> np.ndarray:
    """(S, S) bool: foreground of a picture (S, S, 4) that is nearer to the mesh's torso than to its rest."""
    track = make_track([footage], [Frame(0, frame.time)])  # wherever the row stands among the subject's
    codes = track.at(0)
    with torch.no_grad():
        vertices = pose_on_torso(head, rest, codes, Torso.still().pose(codes, track.rest))
    face_id = rasterize(vertices, head.faces, track.camera(0, len(picture))).face_id[0].numpy()
    rooted = (head.weights[:, 0] > _ROOT)[head.faces].all(1).numpy()
    covered = face_id >= 0
    torso = covered & rooted[np.maximum(face_id, 0)]
    if not torso.any():
        return np.zeros(face_id.shape, bool)
    to_torso = cv2.distanceTransform((~torso).astype(np.uint8), cv2.DIST_L2, 5)
    to_head = cv2.distanceTransform((~(covered & ~torso)).astype(np.uint8), cv2.DIST_L2, 5)
    near = cv2.dilate((picture[..., 3] > 127).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    # A rim of background belongs to it: shoulders of one colour are told by their outline.
    return near & (to_torso < to_head)


def _composite(picture: np.ndarray) -> np.ndarray:
    """(S, S, 3) float32 in [0, 1] on grey."""
    matte = picture[..., 3:].astype(np.float32) / 255
    return (picture[..., :3].astype(np.float32) / 255 - 0.5) * matte + 0.5


def _shifts(
    footage: Footage, frames: list[Frame], picture: np.ndarray, mask: np.ndarray, threads: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Index and shift (2,) in pixels, x and y, of every frame's shoulders against those of ``picture``."""
    rows, columns = np.nonzero(mask)
    top, left = rows.min(), columns.min()
    box = (slice(top, rows.max() + 1), slice(left, columns.max() + 1))
    template = np.ascontiguousarray(_composite(picture)[box])
    weight = np.repeat(mask[box].astype(np.float32)[..., None], 3, 2)
    height, width = template.shape[:2]
    x, y = np.meshgrid(np.arange(-REACH, REACH + 1), np.arange(-REACH, REACH + 1))
    stay = _STAY * (x * x + y * y) / REACH**2
    for index, other in pictures([footage], frames, SIZE, threads):
        wide = cv2.copyMakeBorder(_composite(other), REACH, REACH, REACH, REACH, cv2.BORDER_REPLICATE)
        window = np.ascontiguousarray(wide[top : top + height + 2 * REACH, left : left + width + 2 * REACH])
        cost = cv2.matchTemplate(window, template, cv2.TM_SQDIFF, mask=weight) / weight.sum() + stay
        row, column = divmod(int(cost.argmin()), cost.shape[1])
        yield index, np.array([column + _vertex(cost[row], column), row + _vertex(cost[:, column], row)]) - REACH


def _vertex(values: np.ndarray, at: int) -> float:
    """Where the parabola through three values has its least one, against the middle one."""
    if not 0 < at < len(values) - 1:
        return 0.0
    a, b, c = (float(value) for value in values[at - 1 : at + 2])
    bend = a - 2 * b + c
    return 0.5 * (a - c) / bend if bend > 1e-12 else 0.0
