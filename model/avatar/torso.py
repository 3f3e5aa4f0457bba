"""Tracking where a subject's shoulders are: a pose of six numbers a frame, for rows whose pictures are at hand.

Tracking of the face says nothing of the torso, and a torso moves otherwise than the head. The shoulders of one frame
are compared with every other frame: first for all shifts in the picture plane at once (masked sum of squared
differences of small pictures), then as a rigid body that also turns and leans (:mod:`model.avatar.alignment`), smoothed
over time. Like the head's own codes it is read off every frame that is drawn; nothing else of the pictures is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d, median_filter

from model.avatar.alignment import Body, Level, cost, refine, sample
from model.avatar.footage import Footage, Frame, pictures
from model.avatar.posing import SPREAD, Torso, pose_on_torso
from model.avatar.track import Track, make_track
from model.camera import unproject
from model.head import HeadModel
from model.raster import rasterize

SIZE = 128
"""Side of the pictures that are compared, pixels."""
REACH = 4
"""Largest shift that is looked for, pixels of the coarse pictures."""
_COARSE = 32
"""Side of the pictures that all shifts are tried on, pixels."""
_LEVELS = (32, 64, 128)
"""Sides of the pictures that the pose is refined on."""
_POINTS = 1000
"""Points of the torso that are followed, at most."""
_SIGMA = np.array([0.1, 0.1, 0.1, 0.03, 0.03, 0.03])
"""Usual size of a torso's turns and shifts, radians and metres."""
_LEAST_PIXELS = 0.02
"""Share of the picture that shoulders must cover."""
_ROOT = 0.6
"""Skinning weight of the root joint from which a vertex counts as torso."""
_STAY = 0.0005
"""Rise of the mean squared difference (of values in [0, 1]) at ``REACH`` that makes small shifts the likelier ones."""
_SMOOTH = 1.0
"""Standard deviation in time, frames."""


def track_torso(head: HeadModel, footage: Footage, threads: int = 1) -> np.ndarray:
    """Pose of the torso of one row in every usable frame.

    Args:
        head: the codes' own.
        footage: the row.
        threads: for decoding.

    Returns:
        (T, 6) float32 in units of ``SPREAD``, as ``codes["torso"]``: turn and shift of the torso against the row's mean
        head pose. All zero where no shoulders are seen.
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
    body = _body(head, rest, track, reference, picture, mask)
    moves = np.zeros((len(frames), 6))
    metres = float(body.pivot[2]) / np.array([body.levels[0].camera.fx, body.levels[0].camera.fy])
    template = _small(picture, _COARSE), cv2.resize(mask.astype(np.float32), (_COARSE, _COARSE)) > 0.5
    before = np.zeros(6)
    for index, other in pictures([footage], frames, SIZE, threads):
        shifted = np.zeros(6)
        shifted[3:5] = _shift(*template, _small(other, _COARSE)) * metres * (_LEVELS[0] / _COARSE)
        before = moves[index] = _followed(body, other, (before, shifted))
    moves = gaussian_filter1d(median_filter(moves, (3, 1), mode="nearest"), _SMOOTH, axis=0, mode="nearest")
    found[usable] = moves / np.array(SPREAD)
    return found


def _followed(body: Body, picture: np.ndarray, starts: Sequence[np.ndarray]) -> np.ndarray:
    """Pose (6,) of the body in a picture (S, S, 4): the best start at the coarsest level, refined on all."""
    first = _small(picture, _LEVELS[0])
    tried = [refine(body, body.levels[0], first, start) for start in starts]
    pose = min(tried, key=lambda pose: cost(body, body.levels[0], first, pose))
    for level in body.levels[1:]:
        pose = refine(body, level, _small(picture, level.camera.width), pose)
    return pose


def _body(
    head: HeadModel, rest: tuple[torch.Tensor, torch.Tensor], track: Track, index: int, picture: np.ndarray,
    mask: np.ndarray,
) -> Body:  # fmt: skip
    """Points of the torso in a frame, as far away as the mesh there, or as the nearest part of it."""
    codes, mean = track.at(index), track.rest[index : index + 1]
    with torch.no_grad():
        vertices = pose_on_torso(head, rest, codes, Torso.still().pose(codes, mean))
    camera = track.camera(index, SIZE)
    fragments = rasterize(vertices, head.faces, camera)
    on, depth = fragments.face_id[0].numpy() >= 0, fragments.depth[0].numpy()
    _, labels = cv2.distanceTransformWithLabels(
        (~on).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(labels.max() + 1)
    table[labels[on]] = depth[on]
    ys, xs = np.nonzero(mask)
    pixels = np.stack([xs + 0.5, ys + 0.5], axis=1)
    points = unproject(pixels, table[labels[ys, xs]], camera)
    levels = []
    for size in _LEVELS:
        # As many as that picture can tell apart, spread evenly.
        count = min(_POINTS, max(200, round(len(points) * (size / SIZE) ** 2)), len(points))
        chosen = np.linspace(0, len(points) - 1, count).round().astype(int)
        values = sample(_small(picture, size), pixels[chosen] * (size / SIZE))
        levels.append(Level(track.camera(index, size), points[chosen], values))
    pose = mean[0].double().numpy()
    pivot = (rest[1][0, 0].double() + mean[0, 3:]).numpy()
    return Body(pivot, pose[:3], levels, _SIGMA)


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


def _small(picture: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) float32 in [0, 1] of a picture (S, S, 4) on grey."""
    matte = picture[..., 3:].astype(np.float32) / 255
    shown = (picture[..., :3].astype(np.float32) / 255 - 0.5) * matte + 0.5
    return shown if size == len(picture) else cv2.resize(shown, (size, size), interpolation=cv2.INTER_AREA)


def _shift(template: np.ndarray, mask: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Shift (2,) in pixels, x and y, of what ``mask`` (S, S) shows of the template in a picture of its size."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return np.zeros(2)
    box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    small = np.ascontiguousarray(template[box])
    weight = np.repeat(mask[box].astype(np.float32)[..., None], 3, 2)
    x, y = np.meshgrid(np.arange(-REACH, REACH + 1), np.arange(-REACH, REACH + 1))
    stay = _STAY * (x * x + y * y) / REACH**2
    wide = cv2.copyMakeBorder(picture, REACH, REACH, REACH, REACH, cv2.BORDER_REPLICATE)
    window = wide[rows.min() : rows.max() + 1 + 2 * REACH, columns.min() : columns.max() + 1 + 2 * REACH]
    cost_of = cv2.matchTemplate(np.ascontiguousarray(window), small, cv2.TM_SQDIFF, mask=weight) / weight.sum() + stay
    row, column = divmod(int(cost_of.argmin()), cost_of.shape[1])
    return np.array([column, row], float) - REACH
