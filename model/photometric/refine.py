"""Codes of a clip refined by its pictures: the profile `full`.

The landmark fit places every point of the face within a pixel or two, and its errors change from frame to frame. Here
texture and light of the clip are estimated with those codes, then the codes are solved again with the colours of some
thousand points of the face as a further term beside landmarks, priors and smoothing, and so in turn. Everything but the
last step runs on key frames only; the last goes over all frames once, window by window, so memory does not grow with
the clip's length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from model.camera import Camera
from model.fitting.config import FitConfig
from model.fitting.fit import FitResult, fit_landmarks
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.photometric import view
from model.photometric.appearance import Appearance
from model.photometric.backend import backend_for
from model.photometric.config import PhotometricConfig
from model.photometric.operations import Backend, Images, Subject
from model.photometric.surface import Surface, make_surface
from model.photometric.view import Skin
from rsat_data.errors import SkippedClip

if TYPE_CHECKING:
    from model.head import HeadModel

Frames = Callable[[int, int], np.ndarray]
_UNSMOOTHED = 1e4
"""Factor on the standard deviations of second differences between frames that are no neighbours."""


@dataclass(frozen=True)
class Landmarks:
    """What the landmark fit was given."""

    points: np.ndarray
    """(T, 478, 2) pixels of the camera's image."""
    valid: np.ndarray
    """(T,) bool."""
    blendshapes: np.ndarray | None = None
    """(T, N)."""
    names: tuple[str, ...] = ()
    """Names of the blendshapes."""

    def select(self, frames: np.ndarray | slice) -> Landmarks:
        """The same for some frames."""
        scores = None if self.blendshapes is None else self.blendshapes[frames]
        return Landmarks(self.points[frames], self.valid[frames], scores, self.names)


@dataclass(frozen=True)
class PhotometricFit:
    """Refined codes of one person in T frames, and what they were refined with."""

    codes: FitResult
    """As the landmark fit gives them."""
    skin: Skin
    """Texture at the surface's texels, and light."""
    surface: Surface
    """Where these texels lie."""
    light: np.ndarray
    """(9, 3) float32 spherical harmonics of the incoming light, camera frame."""
    gain: np.ndarray
    """(T, 3) float32 exposure of each frame."""
    residual: np.ndarray
    """(T,) float32 mean absolute difference of colours over visible skin, in [0, 1]; 0 in frames that are not valid."""
    residual_before: np.ndarray | None
    """(T,) the same for the codes given, with a texture and a light of their own; None unless asked for."""
    keyframes: np.ndarray
    """(K,) frames that texture and light were made from; all others are held out."""

    def texture(self, size: int) -> np.ndarray:
        """(size, size, 3) uint8 in the head's own layout; (0, 0, 3) for a head without one."""
        return view.texture_image(self.surface, self.skin, size)


@lru_cache(maxsize=2)
def _surface(head: HeadModel, samples: int, texel_m: float) -> tuple[Surface, LandmarkModel]:
    return make_surface(head, samples, texel_m), landmark_model(head)


def choose_keyframes(valid: np.ndarray, count: int) -> np.ndarray:
    """At most ``count`` valid frames, evenly spread."""
    frames = np.flatnonzero(valid)
    at = (np.arange(min(count, len(frames))) + 0.5) / max(1, min(count, len(frames))) * len(frames)
    return frames[at.astype(int)]


def windows(num: int, window: int, overlap: int) -> list[tuple[slice, slice]]:
    """Spans of frames to fit, and the part of each to keep; the parts follow each other without gap."""
    spans, first, kept = [], 0, 0
    while True:
        last = min(num, first + window)
        until = num if last == num else last - overlap // 2
        spans.append((slice(first, last), slice(kept, until)))
        if last == num:
            return spans
        first, kept = last - overlap, until


@dataclass(frozen=True)
class _Solver:
    """Everything that stays the same while the codes of a clip are refined."""

    backend: Backend
    landmarks: LandmarkModel
    shape: np.ndarray
    offsets: np.ndarray
    """Of the detector, as the landmark fit found them: windows must not each have their own."""
    camera: Camera
    """Of the landmarks."""
    fit: FitConfig
    smooth: float
    """``PhotometricConfig.smooth``."""

    def solve(
        self,
        marks: Landmarks,
        codes: np.ndarray,
        images: Images,
        appearance: Appearance,
        iterations: int,
        smooth: bool,
    ) -> FitResult:
        """Codes of some frames, given texture and light of the sample points at the size of these images.

        Raises:
            SkippedClip: none of the frames can be used.
        """
        term = self.backend.term(codes, images, self.camera.scaled(images.shape[2], images.shape[1]), appearance)
        factor = self.smooth if smooth else _UNSMOOTHED
        scaled = {name: factor * value for name, value in vars(self.fit).items() if name.startswith("smooth_")}
        fit = replace(
            self.fit,
            iterations=iterations,
            window=max(len(codes), 2) + 1,
            overlap=1,
            offsets=len(self.offsets),
            **scaled,
        )
        return fit_landmarks(
            self.landmarks, marks.points, marks.valid, self.camera, blendshapes=marks.blendshapes,
            blendshape_names=marks.names, config=fit, shape=self.shape, offsets=self.offsets, start=codes,
            extra=lambda _: term, solve=self.backend.solve,
        )  # fmt: skip


def refine(
    head: HeadModel,
    result: FitResult,
    landmarks: Landmarks,
    frames: Frames,
    mattes: Frames | None,
    camera: Camera,
    *,
    fit: FitConfig | None = None,
    config: PhotometricConfig | None = None,
    compare: bool = False,
    device: str = "cpu",
    threads: int = 1,
    progress: Callable[[float], None] = lambda share: None,
) -> PhotometricFit:
    """Refine the codes of one person in one clip by its pictures.

    Args:
        head: the head of these codes.
        result: codes of the landmark fit.
        landmarks: what that fit was given.
        frames: ``frames(start, stop)`` gives the pictures (n, H, W, 3) uint8 RGB of some frames. It is called with
            growing starts, twice through the clip.
        mattes: the same for mattes (n, H, W) uint8; None if there are none.
        camera: camera of the landmarks and of the pictures at full size.
        fit: settings of the landmark fit.
        config: settings of the refinement.
        compare: measure the residual of the codes given as well.
        device: ``cpu`` for numba, or where torch works it out; see ``backend_for``.
        threads: jobs at a time; the result does not depend on it.
        progress: called with the share done.

    Raises:
        SkippedClip: the face is seen in no key frame.
        ConfigError: no such device.
    """
    config, fit = config or PhotometricConfig(), fit or FitConfig()
    surface, model = _surface(head, config.samples, config.texel_m)
    backend = backend_for(device, Subject(surface, result.shape, result.root_joint, config), threads)
    solver = _Solver(backend, model, result.shape, result.offsets, camera, fit, config.smooth)
    small = camera.scaled(config.size, config.size)
    codes = result.codes
    num = len(codes)
    spans = windows(num, config.window, config.overlap)
    keys = choose_keyframes(result.valid, config.keyframes)

    def load(part: slice) -> Images:
        matte = None if mattes is None else mattes(part.start, part.stop)
        return backend.load(frames(part.start, part.stop), matte, config.size)

    parts = []
    for number, (_, kept) in enumerate(spans):
        inside = np.flatnonzero((keys >= kept.start) & (keys < kept.stop))
        if len(inside):
            parts.append(load(kept)[keys[inside] - kept.start])
        progress(0.15 * (number + 1) / len(spans))
    if not parts:
        raise _unseen()
    images = backend.join(parts)

    def describe(at: np.ndarray, shown: Images, texels: bool) -> tuple[Appearance, Skin | None]:
        try:
            return backend.describe(at, shown, camera.scaled(shown.shape[2], shown.shape[1]), texels)
        except ValueError as error:
            raise _unseen() from error

    before = describe(codes[keys], images, True)[1] if compare else None
    at, marks = codes[keys], landmarks.select(keys)
    marks = replace(marks, valid=np.ones(len(keys), bool))
    coarse = backend.halve(images) if config.coarse_rounds else images
    for number in range(config.rounds):
        shown = coarse if number < config.coarse_rounds else images
        appearance, _ = describe(at, shown, False)
        at = solver.solve(marks, at, shown, appearance, config.iterations, smooth=False).codes
        progress(0.15 + 0.25 * (number + 1) / config.rounds)
    appearance, skin = describe(at, images, True)
    rough = describe(at, coarse, False)[0] if config.coarse_rounds else None
    assert skin is not None

    refined = [result.codes.copy(), result.valid.copy(), result.reprojection_px.copy()]
    gain = np.ones((num, 3), np.float32)
    residual, residual_before = np.zeros(num, np.float32), np.zeros(num, np.float32)
    for number, (span, kept) in enumerate(spans):
        shown, part = load(span), landmarks.select(span)
        inner = slice(kept.start - span.start, kept.stop - span.start)
        here = codes[span]
        try:
            if rough is not None:
                here = solver.solve(part, here, backend.halve(shown), rough, 3, smooth=True).codes
            found = solver.solve(part, here, shown, appearance, config.iterations, smooth=True)
        except SkippedClip:  # no frame of this window can be used: its codes stay as they are
            continue
        for target, source in zip(refined, (found.codes, found.valid, found.reprojection_px), strict=True):
            target[kept] = source[inner]
        seen = shown[inner]
        gain[kept], residual[kept] = backend.measure(refined[0][kept], seen, small, skin)
        if before is not None:
            _, residual_before[kept] = backend.measure(codes[kept], seen, small, before)
        progress(0.4 + 0.6 * (number + 1) / len(spans))
    valid = refined[1] & result.valid
    _, final = describe(refined[0][keys], images, True)
    assert final is not None
    return PhotometricFit(
        _result(result, refined[0], valid, refined[2]), final, surface, final.light, gain,
        np.where(valid, residual, 0).astype(np.float32),
        np.where(result.valid, residual_before, 0).astype(np.float32) if compare else None, keys,
    )  # fmt: skip


def _unseen() -> SkippedClip:
    return SkippedClip(
        "the face is seen in none of the frames that texture and light are made from",
        hint="Its surface is turned away, out of the picture or too small; use flame.profile=fast.",
    )


def _result(result: FitResult, codes: np.ndarray, valid: np.ndarray, reprojection: np.ndarray) -> FitResult:
    """The given result with other codes (T, E + 15)."""
    single = codes.astype(np.float32)
    return replace(
        result, expression=single[:, :-15], jaw=single[:, -15:-12], eyes=single[:, -12:-6], rotation=single[:, -6:-3],
        translation=(codes[:, -3:] - result.root_joint).astype(np.float32), valid=valid, reprojection_px=reprojection,
    )  # fmt: skip
