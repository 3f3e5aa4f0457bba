"""How a subject's torso goes with its head, measured on training pictures before the fit.

The shoulders of each picture are registered to those of one of them (a shift and a turn in the picture plane; enhanced
correlation of Evangelidis and Psarakis, IEEE TPAMI 30(10), 2008, as OpenCV has it), and what is found is explained by
the tracked head pose by ridge regression. Frames outside of training only ever use the result and their own codes.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from model.avatar.posing import SPREAD, Torso, pose_on_torso
from model.avatar.prepare import Material
from model.raster import rasterize

_FRAMES = 80
_LEAST = 0.6
"""Correlation below which a registration is not believed."""
_LEAST_PIXELS = 0.01
"""Share of the picture that shoulders must cover to be registered."""
_RIDGE = 0.001
"""Pull towards a torso at rest, as a share of the frames."""
_ROOT = 0.6
"""Skinning weight of the root joint from which a vertex counts as torso."""


def shoulders(material: Material, index: int, size: int) -> np.ndarray:
    """(size, size) bool: foreground of a training frame nearer to the torso's part of the mesh than to the head's."""
    head, track = material.head.to("cpu"), material.train.to("cpu")
    codes = track.at(index)
    body = Torso.still().pose(codes["rotation"], codes["translation"], track.rest[index : index + 1])
    rest = (material.rest[0].cpu(), material.rest[1].cpu())
    with torch.no_grad():
        vertices = pose_on_torso(head, rest, codes, body)
    face_id = rasterize(vertices, head.faces, track.camera(index, size)).face_id[0].numpy()
    rooted = (head.weights[:, 0] > _ROOT)[head.faces].all(1).numpy()
    covered = face_id >= 0
    torso = covered & rooted[np.maximum(face_id, 0)]
    if not torso.any():
        return np.zeros((size, size), bool)
    to_torso = cv2.distanceTransform((~torso).astype(np.uint8), cv2.DIST_L2, 5)
    to_head = cv2.distanceTransform((~(covered & ~torso)).astype(np.uint8), cv2.DIST_L2, 5)
    return (material.picture(index, size)[..., 3] > 127) & (to_torso < to_head)


def measure_torso(material: Material, size: int) -> Torso:
    """The torso of a subject; one that stands still where no shoulders can be registered.

    Args:
        material: of the fit.
        size: of the pictures, pixels.
    """
    track = material.train.to("cpu")
    device = material.rest[0].device
    poses = torch.cat([track.codes["rotation"], track.codes["translation"]], dim=1)
    away = ((poses - track.rest) / torch.tensor(SPREAD)).numpy().astype(np.float64)
    frames = np.unique(np.linspace(0, len(track) - 1, _FRAMES).round().astype(int))
    rows = np.array([frame.row for frame in track.frames])
    wanted, given = [], []
    for row in np.unique(rows[frames]):
        here = frames[rows[frames] == row]
        reference = int(here[np.argmin(np.abs(away[here]).sum(axis=1))])
        mask = shoulders(material, reference, size)
        if mask.mean() < _LEAST_PIXELS or len(here) < 8:
            continue
        camera = track.camera(reference, size)
        pivot = material.rest[1][0, 0].cpu().numpy() + track.rest[reference, 3:].numpy()
        at = np.array([camera.fx * pivot[0] / pivot[2] + camera.cx, camera.fy * pivot[1] / pivot[2] + camera.cy])
        fixed = _grey(material.picture(reference, size))
        for index in here:
            found = _register(fixed, _grey(material.picture(int(index), size)), mask)
            if found is None:
                continue
            moved = found[:, :2] @ at + found[:, 2] - at
            turn = float(np.arctan2(found[1, 0], found[0, 0]))
            metres = moved * pivot[2] / np.array([camera.fx, camera.fy])
            wanted.append([turn / SPREAD[2], metres[0] / SPREAD[3], metres[1] / SPREAD[4]])
            given.append(away[index] - away[reference])
    torso = Torso.still(device)
    if len(wanted) < 12:
        return torso
    design, values = np.array(given), np.array(wanted)
    middle, centre = design.mean(axis=0), values.mean(axis=0)
    design, values = design - middle, values - centre
    weight = np.ones(len(values))
    for _ in range(3):  # hands and misses lose weight
        matrix = (design * weight[:, None]).T @ design + _RIDGE * len(values) * np.eye(6)
        follow = np.linalg.solve(matrix, (design * weight[:, None]).T @ values).T
        left = np.linalg.norm(values - design @ follow.T, axis=1)
        weight = 1 / (1 + np.square(left / (2 * np.median(left) + 1e-6)))
    torso.follow[[2, 3, 4]] = torch.from_numpy(follow).float().to(device)
    return torso


def _grey(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(np.ascontiguousarray(picture[..., :3]), cv2.COLOR_RGB2GRAY)


def _register(fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """(2, 3) what takes pixels (corner origin) of ``fixed`` under ``mask`` to ``moving``; None if it is not found."""
    warp = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    # OpenCV's mask lies on the picture that moves. Swapped roles give the inverse motion of the masked part.
    try:
        correlation, warp = cv2.findTransformECC(
            moving, fixed, warp, cv2.MOTION_EUCLIDEAN, criteria, mask.astype(np.uint8) * 255, 5
        )
    except cv2.error:
        return None
    if not correlation >= _LEAST or not np.isfinite(warp).all():
        return None
    # OpenCV's pixel centres lie at whole numbers; ours at halves.
    centre = warp.astype(np.float64)
    centre[:, 2] += 0.5 - centre[:, :2] @ np.array([0.5, 0.5])
    inverse = np.linalg.inv(np.vstack([centre, [0, 0, 1]]))
    return inverse[:2]
