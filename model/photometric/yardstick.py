"""How sharp a picture of a face codes allow: a texture learnt from some frames, rendered in others.

A stand-in for the quality of an avatar that is bound to the mesh: whatever slips between code and picture blurs the
texture and shifts it against frames it was not made from. It is no avatar: nothing moves between mesh and texture, the
mouth's inside, hair and ears are left out, and light is nine harmonics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.camera import Camera
from model.fitting.fit import FitResult
from model.photometric import pictures, view
from model.photometric.config import PhotometricConfig
from model.photometric.refine import Frames, choose_keyframes
from model.photometric.surface import make_surface

if TYPE_CHECKING:
    from model.head import HeadModel

_BATCH = 64
"""Frames in memory at once."""
_TRAINED = 128
"""Frames, spread over the training part, that the texture is made from."""


@dataclass(frozen=True)
class HeldOut:
    """Quality of rendered frames that the texture was not made from."""

    psnr_db: float
    """10 log10(1 / mean squared error) of colours in [0, 1] over all compared pixels of all frames held out."""
    residual: float
    """Mean absolute difference of colours over the same pixels, in [0, 1]."""
    frames: int
    """How many frames were held out and compared."""


def held_out(
    head: HeadModel,
    results: dict[str, FitResult],
    frames: Frames,
    camera: Camera,
    *,
    train: float = 0.7,
    config: PhotometricConfig | None = None,
    threads: int = 1,
) -> dict[str, HeldOut]:
    """Texture and light from the first frames of a clip, the last frames rendered with them, for several sets of codes.

    Every set of codes gets a texture, a light and an exposure of its own by the same procedure. Pixels are compared
    where all sets show skin or eyes and the texture is known, so that no set gains by covering less.

    Args:
        head: the head of all codes.
        results: name -> codes of the same T frames.
        frames: pictures of the frames (n, H, W, 3) uint8; called with growing starts, twice.
        camera: of these pictures.
        train: share of the frames, from the start, that texture and light are made from.
        config: size of the pictures, and what counts as seen.
        threads: jobs at a time.

    Raises:
        ValueError: no frame is valid in all sets in one of the two parts, or no pixel can be compared.
    """
    config = config or PhotometricConfig()
    surface = make_surface(head, config.samples, config.texel_m)
    small = camera.scaled(config.size, config.size)
    valid = np.logical_and.reduce([result.valid for result in results.values()])
    num = len(valid)
    cut = round(train * num)
    keys = choose_keyframes(valid[:cut], _TRAINED) if valid[:cut].any() else np.zeros(0, int)
    tested = cut + np.flatnonzero(valid[cut:])
    if not len(keys) or not len(tested):
        raise ValueError(f"Of {num} frames none is valid among the first {cut}, or none among the rest")
    shown = np.empty((len(keys), config.size, config.size, 4), np.uint8)
    for first in range(0, cut, _BATCH):
        last = min(first + _BATCH, cut)
        inside = np.flatnonzero((keys >= first) & (keys < last))
        if len(inside):
            shown[inside] = pictures.stack(frames(first, last), None, config.size, threads)[keys[inside] - first]
    skins = {}
    for name, result in results.items():
        vertices = surface.pose(result.shape, result.codes[keys], result.root_joint)
        skins[name] = view.describe(surface, vertices, shown, small, config.facing, threads=threads)[1]
    squares, absolutes, counts = dict.fromkeys(results, 0.0), dict.fromkeys(results, 0.0), 0
    for first in range(cut, num, _BATCH):
        last = min(first + _BATCH, num)
        part = tested[(tested >= first) & (tested < last)]
        if not len(part):
            continue
        images = pictures.stack(frames(first, last)[part - first], None, config.size, threads)
        wanted = images[..., :3].astype(np.float32) / 255
        rendered, everywhere = {}, np.ones(images.shape[:3], bool)
        for name, result in results.items():
            skin = skins[name]
            assert skin is not None
            posed = view.pose(
                surface, surface.pose(result.shape, result.codes[part], result.root_joint), small, threads
            )
            gain = view.exposure(surface, posed, images, small, skin, config.facing, threads)
            rendered[name], covered = view.render(surface, posed, skin, gain, small, threads)
            everywhere &= covered
        counts += int(everywhere.sum())
        for name, image in rendered.items():
            left = (image - wanted)[everywhere].astype(np.float64)
            squares[name] += float(np.square(left).mean(axis=1).sum())
            absolutes[name] += float(np.abs(left).mean(axis=1).sum())
    if not counts:
        raise ValueError("No pixel of the face is seen in the frames held out")
    return {
        name: HeldOut(float(-10 * np.log10(max(squares[name] / counts, 1e-12))), absolutes[name] / counts, len(tested))
        for name in results
    }
