"""Hard moments of a synthetic conversation: a hand before the mouth, sunglasses, a face half out of the frame, a
profile, motion blur. Drawn apart from everything else, so that a clip without them is what it was, byte by byte.

Here is when they happen and how they move a head; :mod:`pipelines.synth.props` draws what lies before a face.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pipelines.synth.layout import smoothstep
from pipelines.synth.records import FPS, PERSONS, Motion, rng_for
from rsat_data.errors import UsageError

if TYPE_CHECKING:
    from model.camera import Camera
    from pipelines.synth.scene import Placement

KINDS = ("hand", "sunglasses", "outside", "profile", "blur")
"""What can be asked for."""
PROPS = ("hand", "sunglasses")
"""Those that are things before the face, drawn into the picture."""
OPEN_SHUTTER = 0.5
"""Share of a frame's time during which a blurred frame is exposed."""
_RAMP_S = {"hand": 0.24, "sunglasses": 0.24, "outside": 0.5, "profile": 0.6, "blur": 0.16}
_PROFILE_RAD = math.radians(88)
_SHAKE_RAD, _SHAKE_HZ = math.radians(16), 2.6
_SHORTEST_S, _LONGEST_S = 1.0, 2.4


@dataclass(frozen=True)
class HardCase:
    """One hard moment."""

    person: str
    """A or B."""
    kind: str
    """One of ``KINDS``."""
    start: float
    """Seconds from the clip's start at which it sets in."""
    end: float
    """Seconds at which it is over."""
    ramp: float
    """Seconds it takes to come, and to go, within the span."""

    def strength(self, num_frames: int) -> np.ndarray:
        """(T,) float64 in [0, 1]: 1 in its full course, smooth at both ends, 0 elsewhere."""
        t = np.arange(num_frames) / FPS
        return smoothstep(0.0, self.ramp, t - self.start) * smoothstep(0.0, self.ramp, self.end - t)


def parse_kinds(text: str) -> tuple[str, ...]:
    """``hand,blur`` to names, in the order of ``KINDS``; ``all`` is all of them, ``occlusion`` hand and sunglasses.

    Raises:
        UsageError: a name is not known.
    """
    words = {word.strip() for word in text.split(",") if word.strip()}
    if "all" in words:
        return KINDS
    if "occlusion" in words:
        words = (words - {"occlusion"}) | set(PROPS)
    if unknown := sorted(words - set(KINDS)):
        raise UsageError(
            f"--hard names {unknown[0]!r}.",
            hint=f"Known are {', '.join(KINDS)}; occlusion means {' and '.join(PROPS)}; all.",
        )
    return tuple(kind for kind in KINDS if kind in words)


def schedule(kinds: Sequence[str], num_frames: int, seed: int) -> tuple[HardCase, ...]:
    """Both people go through every kind once, each in an order of their own, with quiet between and at both ends.

    Args:
        kinds: names out of ``KINDS``.
        num_frames: T.
        seed: decides order and times.

    Raises:
        UsageError: the clip is too short.
    """
    if not kinds:
        return ()
    seconds = num_frames / FPS
    slot = seconds / len(kinds)
    length = min(_LONGEST_S, 0.6 * slot)
    if length < _SHORTEST_S:
        need = math.ceil(len(kinds) * _SHORTEST_S / 0.6)
        raise UsageError(
            f"{len(kinds)} hard cases do not fit into {seconds:g} s.", hint=f"Use --seconds {need} or more."
        )
    cases: list[HardCase] = []
    for number, person in enumerate(PERSONS):
        rng = rng_for(seed, "hard", person)
        order = rng.permutation(len(kinds))
        if len(kinds) > 1 and number:  # not both the same at once
            first = [case.kind for case in cases]
            while any(kinds[k] == other for k, other in zip(order, first, strict=True)):
                order = rng.permutation(len(kinds))
        for place, k in enumerate(order):
            start = place * slot + (slot - length) * float(rng.uniform(0.35, 0.65))
            start = round(start * FPS) / FPS
            end = round((start + length) * FPS) / FPS
            cases.append(HardCase(person, kinds[k], start, end, _RAMP_S[kinds[k]]))
    return tuple(cases)


def acted(motion: Motion, cases: Sequence[HardCase], person: str, place: Placement, camera: Camera) -> Motion:
    """The motion with what the hard moments of ``person`` do to the head.

    outside: sideways, until the point between the eyes is on the frame's edge. profile: towards the partner, until the
    head is turned by 88 degrees to the camera. blur: the head is shaken.
    """
    head, shift = motion.head.astype(np.float64), motion.shift.astype(np.float64)
    t = np.arange(len(head)) / FPS
    for case in cases:
        if case.person != person:
            continue
        strength = case.strength(len(head))
        if case.kind == "outside":
            edge = (0.0 if person == "A" else float(camera.width)) - camera.cx
            shift[:, 0] += strength * (edge * place.eyes[2] / camera.fx - place.eyes[0])
        elif case.kind == "profile":
            head[:, 1] += strength * (_PROFILE_RAD - place.yaw - head[:, 1])
        elif case.kind == "blur":
            head[:, 1] += strength * _SHAKE_RAD * np.sin(2 * np.pi * _SHAKE_HZ * (t - case.start))
    return replace(motion, head=head.astype(np.float32), shift=shift.astype(np.float32))
