"""From the files of the stages to a judgement, and from a judgement to what is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model.fitting.fit import interpolate
from pipelines.faces.blendshapes import INDEX
from pipelines.faces.crop import picture_size
from pipelines.flame.sampling import sample
from pipelines.flame.texture import Flat, make_grid
from pipelines.flame.validity import Fitted, Judgement, Reason, Seen, judge, usable
from pipelines.flame.validity_config import FlameValidity
from rsat_data.errors import SkippedClip

_ALIEN = (Reason.LOST, Reason.MISFIT, Reason.JUMP, Reason.SWAP)
"""Reasons for which codes are no guess about this person, but about nothing or somebody else."""
_FRONTAL_DEG = 30.0
"""Frames turned further to a side do not count for how a face lies flat."""
_FRAME_CODES = ("expression", "jaw", "eyes", "rotation", "translation")


def judge_person(
    folder: Path, person: str, faces: Mapping[str, Any], codes: Mapping[str, np.ndarray], config: FlameValidity
) -> Judgement:
    """Judge the fit of one person.

    Args:
        folder: of the stage faces: ``P.npz`` and ``P.mp4``.
        person: A or B.
        faces: content of ``faces.json``.
        codes: arrays of the fit: rotation, translation, valid, reprojection_px, eye_distance_px; photometric where
            it was measured.
        config: limits.

    Raises:
        OSError, KeyError, ValueError: a file or an array is missing or of another shape.
    """
    entry = next(entry for entry in faces["persons"] if entry["person"] == person)
    crop, (width, height) = entry["crop"], picture_size(faces, entry)
    scale = float(crop["size"]) / float(crop["side"])
    left, top = -float(crop["x0"]) * scale, -float(crop["y0"]) * scale
    picture = (left, top, left + width * scale, top + height * scale)
    with np.load(folder / f"{person}.npz", allow_pickle=False) as stored:
        seen = Seen(
            stored["landmarks"],
            stored["valid"],
            stored["matrix"],
            stored["confidence"],
            stored["blur"],
            stored["yaw_deg"],
            stored["blendshapes"][:, INDEX["jawOpen"]],
            picture,
        )
    names = ("valid", "rotation", "translation", "reprojection_px", "eye_distance_px")
    arrays = [np.asarray(codes[name]) for name in names]
    fitted = Fitted(arrays[0], arrays[1], arrays[2], arrays[3], arrays[4], codes.get("photometric"))
    found = usable(seen)
    steady = found & (np.abs(seen.yaw_deg) < _FRONTAL_DEG)
    if not steady.any():
        steady = found
    places = np.where(found[:, None, None], seen.landmarks, 0.0)
    grid = make_grid(places, seen.matrix, steady) if found.any() else None
    colours, texture = sample(folder / f"{person}.mp4", seen.landmarks, grid, picture)
    flat = None if grid is None or texture is None else Flat(texture, grid)
    return judge(seen, fitted, colours, config, flat=flat)


def require_enough(judgement: Judgement, config: FlameValidity) -> None:
    """Refuse a person of whom too little is left.

    Raises:
        SkippedClip: naming how many frames are valid, and what the others are.
    """
    valid, count = int(judgement.valid.sum()), len(judgement.valid)
    if valid >= config.min_frames and valid >= config.min_share * count:
        return
    why = ", ".join(f"{name} {share:.0%}" for name, share in sorted(judgement.shares().items(), key=lambda x: -x[1]))
    raise SkippedClip(
        f"{valid} of {count} frames can be trusted; the others: {why}",
        hint=f"{config.min_frames} frames and {config.min_share:.0%} of the clip are needed; see flame.validity.",
    )


def reprojection_of(codes: Mapping[str, np.ndarray], judgement: Judgement) -> float:
    """Median over valid frames of the mean landmark error, as a share of the distance between the eyes."""
    valid = judgement.valid
    return float(np.median(codes["reprojection_px"][valid] / codes["eye_distance_px"][valid]))


def judged_arrays(codes: Mapping[str, np.ndarray], judgement: Judgement) -> dict[str, np.ndarray]:
    """The arrays of the fit with valid, reason and confidence of the judgement.

    Codes of frames that are lost, misfitted, in a jump or of another person are interpolated from valid ones; those of
    other invalid frames (hidden, turned, blurred ...) stay the fit's guess. All are finite.

    Args:
        codes: expression (T, E), jaw, eyes, rotation, translation and whatever else the fit gives.
        judgement: with at least one valid frame.
    """
    out = dict(codes)
    parts = [np.asarray(codes[name], np.float64) for name in _FRAME_CODES]
    stacked = np.concatenate(parts, axis=1)
    alien = np.isin(judgement.reason, _ALIEN) | ~np.isfinite(stacked).all(axis=1)
    if (alien & ~judgement.valid).any():
        filled = interpolate(np.where(alien[:, None], 0.0, stacked), judgement.valid)
        stacked = np.where(alien[:, None], filled, stacked)
        edges = np.cumsum([part.shape[1] for part in parts])[:-1]
        for name, part in zip(_FRAME_CODES, np.split(stacked, edges, axis=1), strict=True):
            out[name] = part.astype(np.float32)
    out |= {"valid": judgement.valid, "reason": judgement.reason, "confidence": judgement.confidence}
    return out
