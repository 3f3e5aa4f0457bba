"""What a face does besides speaking: blinks, nods, gaze, sway, smiles, brows. Rates come from the relation.

Gestures are drawn as events from Poisson processes with a rest after each, then drawn into smooth curves. Everything
is in the head's own terms (towards the partner, down), so left and right come in only when a scene is set.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipelines.synth.records import ARKIT_INDEX, FPS, PERSONS, Dialogue, Event, Motion, partner_of, rng_for
from pipelines.synth.relations import Rates
from pipelines.synth.visemes import Mouth

BLINK_S = 0.30
"""Length of a blink: closing takes a third of it, opening the rest."""
NOD_HZ = 2.4
"""Frequency of the head during a nod."""
GAZE_AT_PARTNER_RAD = (math.radians(13.0), math.radians(1.0))
"""Eyes on the partner: towards the partner's side, and down."""
_AWAY_RAD = ((-12.0, 4.0), (2.0, -5.0), (-4.0, 9.0), (3.0, 8.0))
"""Places the eyes wander to, degrees: towards the partner's side, down."""
_LOOK_S = 2.2
"""Mean length of a look at the partner."""


def behave(dialogue: Dialogue, mouths: dict[str, Mouth], rates: dict[str, Rates], seed: int) -> dict[str, Motion]:
    """Motion of both persons over a clip.

    Args:
        dialogue: who speaks when.
        mouths: A and B -> mouth, from :func:`~pipelines.synth.visemes.drive_mouth`.
        rates: A and B -> behaviour under the clip's relation.
        seed: decides every gesture.
    """
    smiles = _smiles(dialogue, rates, seed)
    return {p: _person(dialogue, p, mouths[p], rates[p], smiles[p], seed) for p in PERSONS}


def _person(dialogue: Dialogue, person: str, mouth: Mouth, rates: Rates, smiles: list[Event], seed: int) -> Motion:
    num_frames = dialogue.num_frames
    speaking = dialogue.speaking(person)
    listening = dialogue.speaking(partner_of(person)) & ~speaking

    def stream(purpose: str) -> np.random.Generator:
        return rng_for(seed, "behaviour", person, purpose)

    nods = _nods(person, speaking, listening, rates, stream("nods"))
    brows = _brows(person, speaking, rates, stream("brows"))
    gaze, aways = _gaze(person, speaking, rates, stream("gaze"))
    blinks = _blinks(person, speaking, rates, stream("blinks"))

    expression = mouth.expression.astype(np.float64)
    smile = _curve(smiles, num_frames, rise=0.35, fall=0.6)
    # A smile and a rounded mouth fight for the same lips: each gives way.
    busy = np.clip(expression[:, ARKIT_INDEX["mouthPucker"]] + expression[:, ARKIT_INDEX["mouthFunnel"]], 0, 1)
    smile = smile * (1 - 0.6 * busy)
    _add(expression, smile, "mouthSmileLeft", "mouthSmileRight")
    _add(expression, 0.6 * smile, "cheekSquintLeft", "cheekSquintRight")
    _add(expression, 0.35 * smile, "eyeSquintLeft", "eyeSquintRight")
    brow = _curve(brows, num_frames, rise=0.15, fall=0.35)
    _add(expression, 0.8 * brow, "browInnerUp")
    _add(expression, brow, "browOuterUpLeft", "browOuterUpRight")
    # Lids follow the eyes: down with the gaze, wide when it goes up.
    lid = np.clip(gaze[:, 1] / math.radians(30), -0.4, 0.40)
    blink = np.maximum(_curve(blinks, num_frames, rise=BLINK_S / 3, fall=BLINK_S * 2 / 3), np.clip(lid, 0, None))
    _add(expression, blink, "eyeBlinkLeft", "eyeBlinkRight")
    _add(expression, np.clip(-lid, 0, None) * (1 - blink), "eyeWideLeft", "eyeWideRight")

    head, shift = _head(num_frames, speaking, mouth.jaw, gaze, nods, stream("head"))
    jaw = np.zeros((num_frames, 3))
    jaw[:, 0] = mouth.jaw
    jaw[:, 1] = 0.04 * mouth.jaw * _noise(num_frames, 0.5, stream("jaw"))
    events = sorted((*nods, *brows, *aways, *blinks, *smiles), key=lambda e: (e.start, e.kind))
    return Motion(
        expression=np.clip(expression, 0.0, 1.0).astype(np.float32),
        jaw=jaw.astype(np.float32),
        gaze=gaze.astype(np.float32),
        head=head.astype(np.float32),
        shift=shift.astype(np.float32),
        events=tuple(events),
    )


# Events -------------------------------------------------------------------------------------------------------------


def draw_events(rate: np.ndarray, rest_s: float, rng: np.random.Generator) -> list[float]:
    """Starts (seconds) of a Poisson process with a rate that changes, and a rest after each event.

    Args:
        rate: (T,) events a second, long-run mean including the rests; raised inside so that the mean comes out.
        rest_s: no event comes sooner than this after another.
        rng: draws.
    """
    starts: list[float] = []
    free_from = -math.inf
    for frame, draw in enumerate(rng.random(len(rate))):
        now = frame / FPS
        if now < free_from or rate[frame] <= 0:
            continue
        # While free, events come at h; with rests the mean is h / (1 + h rest), so h = r / (1 - r rest).
        hazard = rate[frame] / max(1.0 - rate[frame] * rest_s, 0.2)
        if draw < 1.0 - math.exp(-hazard / FPS):
            starts.append(now)
            free_from = now + rest_s
    return starts


def _nods(
    person: str, speaking: np.ndarray, listening: np.ndarray, rates: Rates, rng: np.random.Generator
) -> list[Event]:
    rate = np.where(speaking, rates.nod_hz / 3, np.where(listening, rates.nod_hz, rates.nod_hz / 2))
    result = []
    for start in draw_events(rate, 1.0, rng):
        cycles = int(rng.integers(1, 4))
        degrees = float(rng.uniform(2.5, 6.0))
        result.append(Event(person, "nod", start, start + cycles / NOD_HZ, degrees))
    return result


def _brows(person: str, speaking: np.ndarray, rates: Rates, rng: np.random.Generator) -> list[Event]:
    rate = np.where(speaking, rates.brow_hz, rates.brow_hz / 4)
    return [
        Event(person, "brow_raise", start, start + float(rng.uniform(0.5, 1.2)), float(rng.uniform(0.25, 0.75)))
        for start in draw_events(rate, 1.2, rng)
    ]


def _blinks(person: str, speaking: np.ndarray, rates: Rates, rng: np.random.Generator) -> list[Event]:
    rate = np.where(speaking, 1.3 * rates.blink_hz, rates.blink_hz)
    return [Event(person, "blink", s, s + BLINK_S, float(rng.uniform(0.9, 1.0))) for s in draw_events(rate, 0.5, rng)]


def _smiles(dialogue: Dialogue, rates: dict[str, Rates], seed: int) -> dict[str, list[Event]]:
    """Own smiles, and answers to the partner's; an answer comes while the own face is free."""
    own: dict[str, list[Event]] = {}
    for person in PERSONS:
        rng = rng_for(seed, "behaviour", person, "smiles")
        rate = np.full(dialogue.num_frames, rates[person].smile_hz)
        own[person] = [
            Event(person, "smile", start, start + float(rng.uniform(1.4, 3.2)), float(rng.uniform(0.35, 0.8)))
            for start in draw_events(rate, 3.2, rng)
        ]
    result: dict[str, list[Event]] = {}
    for person in PERSONS:
        rng = rng_for(seed, "behaviour", person, "mirror")
        smiles = list(own[person])
        for seen in own[partner_of(person)]:
            lag, scale = float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.5, 0.9))
            wanted = rng.random() < rates[person].mirror_probability
            start, end = seen.start + lag, seen.end + lag
            if wanted and all(end < s.start or start > s.end for s in smiles):
                smiles.append(Event(person, "smile", start, end, seen.strength * scale))
        result[person] = sorted(smiles, key=lambda e: e.start)
    return result


def _gaze(person: str, speaking: np.ndarray, rates: Rates, rng: np.random.Generator) -> tuple[np.ndarray, list[Event]]:
    """(T, 2) radians towards the partner's side and down, and the looks away as events."""
    num_frames = len(speaking)
    target = np.zeros((num_frames, 2))
    events: list[Event] = []
    frame, at_partner = 0, bool(rng.random() < rates.gaze_at_partner)
    while frame < num_frames:
        share = rates.gaze_at_partner * (2 / 3 if speaking[frame] else 1.0)
        mean = _LOOK_S if at_partner else _LOOK_S * (1 - share) / share
        stay = max(round(float(rng.gamma(3.0, mean / 3.0)) * FPS), 5)
        stop = min(frame + stay, num_frames)
        if at_partner:
            place = np.array(GAZE_AT_PARTNER_RAD)
        else:
            place = np.radians(np.array(_AWAY_RAD[int(rng.integers(len(_AWAY_RAD)))]) + rng.normal(0, 1.5, 2))
            events.append(Event(person, "gaze_away", frame / FPS, stop / FPS, float(np.degrees(np.abs(place).max()))))
        target[frame:stop] = place
        # Small saccades around the place looked at.
        jump = frame
        while jump < stop:
            length = int(rng.integers(8, 30))
            target[jump : min(jump + length, stop)] += rng.normal(0, math.radians(0.8), 2)
            jump += length
        frame, at_partner = stop, not at_partner
    # A saccade takes 30 to 60 ms: at 25 frames a second, about one frame between two places.
    return gaussian_filter1d(target, 0.45, axis=0, mode="nearest"), events


# Curves -------------------------------------------------------------------------------------------------------------


def _ease(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between (3x^2 - 2x^3)."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _curve(events: list[Event], num_frames: int, *, rise: float, fall: float) -> np.ndarray:
    """(T,) strongest event at each frame; each rises, holds and falls within its span."""
    times = np.arange(num_frames) / FPS
    result = np.zeros(num_frames)
    for event in events:
        shape = _ease((times - event.start) / rise) * _ease((event.end - times) / fall)
        result = np.maximum(result, event.strength * shape)
    return result


def _noise(num_frames: int, cutoff_hz: float, rng: np.random.Generator) -> np.ndarray:
    """(T,) smooth noise of unit variance without content above about ``cutoff_hz``."""
    margin = round(2 * FPS / cutoff_hz)
    sigma = FPS / (2 * math.pi * cutoff_hz)
    raw = gaussian_filter1d(rng.standard_normal(num_frames + 2 * margin), sigma, mode="wrap")
    # White noise through a Gaussian of width sigma keeps 1 / (2 sigma sqrt(pi)) of its variance.
    return raw[margin : margin + num_frames] * math.sqrt(2 * sigma * math.sqrt(math.pi))


def _head(
    num_frames: int,
    speaking: np.ndarray,
    jaw: np.ndarray,
    gaze: np.ndarray,
    nods: list[Event],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Head turn (T, 3) radians (pitch down, yaw to the partner, roll) and shift (T, 3) metres."""
    lively = gaussian_filter1d(0.6 + 0.6 * speaking, 8.0, mode="nearest")
    degrees = np.stack([s * _noise(num_frames, 0.45, rng) for s in (1.3, 1.8, 1.1)], axis=1) * lively[:, None]
    # Stressed syllables are beaten with the head: a small dip where the mouth opens widely.
    beat = gaussian_filter1d(np.asarray(jaw, np.float64), 2.0, mode="nearest")
    degrees[:, 0] += 5.0 * beat * np.clip(_noise(num_frames, 0.3, rng), -1.5, 1.5)
    # The head follows the eyes slowly, and less far.
    follow = np.degrees(gaussian_filter1d(gaze, 6.0, axis=0, mode="nearest"))
    degrees[:, 1] += 0.30 * follow[:, 0]
    degrees[:, 0] += 0.30 * follow[:, 1]
    times = np.arange(num_frames) / FPS
    for nod in nods:
        inside = (times >= nod.start) & (times <= nod.end)
        phase = 2 * math.pi * NOD_HZ * (times - nod.start)
        share = (times - nod.start) / (nod.end - nod.start)
        degrees[:, 0] += inside * nod.strength * 0.5 * (1 - np.cos(phase)) * (1 - 0.4 * share)
    shift = np.stack([0.001 * s * _noise(num_frames, 0.35, rng) for s in (3.0, 1.5, 4.0)], axis=1)
    return np.radians(degrees), shift * lively[:, None]


def _add(expression: np.ndarray, values: np.ndarray, *names: str) -> None:
    for name in names:
        expression[:, ARKIT_INDEX[name]] += values
