"""From speech to the mouth: jaw angle and lip expressions at 25 frames a second.

Where phonemes are known, each has a target and a strength per channel, and targets blend by dominance functions
(Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993): a sound's say falls off exponentially
with the time to it, so lips round before a vowel is heard, and a b closes them however open the neighbours are.
Where only sound is known, loudness and the shape of the spectrum drive the same channels. In silence the mouth closes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipelines.synth.records import ARKIT_INDEX, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Dialogue, Span

CHANNELS = ("jaw", "close", "round", "funnel", "spread", "lower", "upper", "tuck")
"""What a mouth target consists of: jaw opening; lips pressed shut; lips rounded forward; lips open and forward; corners
drawn out; lower lip down; upper lip up; lower lip tucked under the teeth. Each in [0, 1]."""
JAW_RAD = 0.20
"""Jaw rotation of the most open vowel, radians."""
RATE = 100
"""Steps a second on which targets are blended, before they are sampled at the frames."""
_FALL_S = 0.03
"""Time constant of the dominance of a sound, seconds."""
_SILENCE_FALL_S = 0.08
_SMOOTH_S = 0.012
_REACH_S = 0.5
"""Sounds farther away than this have no say."""


@dataclass(frozen=True)
class Mouth:
    """Mouth movement of one person over a clip."""

    expression: np.ndarray
    """(T, 52) float32 in [0, 1], columns as ``records.ARKIT``; zero outside the mouth."""
    jaw: np.ndarray
    """(T,) float32 radians, opening."""


def _viseme(strength: dict[str, float] | None = None, **values: float) -> tuple[np.ndarray, np.ndarray]:
    target = np.array([values.get(name, 0.0) for name in CHANNELS])
    say = np.array([(strength or {}).get(name, 1.0) for name in CHANNELS])
    return target, say


# Consonants leave most channels to their neighbours (low strength) and insist on a few.
_WEAK = {name: 0.25 for name in CHANNELS}
VISEMES: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "sil": _viseme({"close": 0.6}, close=0.05),
    "a": _viseme(jaw=1.0, lower=0.35, upper=0.15, spread=0.05),
    "ae": _viseme(jaw=0.85, lower=0.40, upper=0.25, spread=0.35),
    "uh": _viseme(jaw=0.55, lower=0.25, upper=0.10),
    "schwa": _viseme({"jaw": 0.6}, jaw=0.38, lower=0.18, upper=0.05),
    "e": _viseme(jaw=0.55, lower=0.35, upper=0.20, spread=0.35),
    "i": _viseme(jaw=0.25, lower=0.30, upper=0.15, spread=0.65),
    "o": _viseme(jaw=0.60, funnel=0.55, round=0.35, lower=0.10),
    "u": _viseme(jaw=0.22, round=0.85, funnel=0.25),
    "er": _viseme(jaw=0.30, funnel=0.40, round=0.25, lower=0.15),
    "m": _viseme(_WEAK | {"jaw": 1.2, "close": 4.0, "lower": 3.0, "upper": 3.0, "funnel": 1.5}, jaw=0.03, close=0.9),
    "f": _viseme(_WEAK | {"jaw": 1.5, "tuck": 4.0, "upper": 2.0, "lower": 2.0, "close": 2.0}, jaw=0.10, tuck=0.8,
                 upper=0.25),
    "th": _viseme(_WEAK | {"jaw": 1.0, "close": 2.0}, jaw=0.22, lower=0.30, upper=0.10),
    "t": _viseme(_WEAK | {"jaw": 1.0, "close": 2.0}, jaw=0.16, lower=0.25, upper=0.10, spread=0.10),
    "s": _viseme(_WEAK | {"jaw": 1.6, "close": 2.0, "spread": 0.7}, jaw=0.07, lower=0.35, upper=0.20, spread=0.30),
    "sh": _viseme(_WEAK | {"jaw": 1.2, "close": 2.0, "funnel": 2.0}, jaw=0.12, funnel=0.60, round=0.25, lower=0.15),
    "k": _viseme(_WEAK | {"jaw": 0.5, "close": 2.0}, jaw=0.28, lower=0.20, upper=0.05),
    "l": _viseme(_WEAK | {"jaw": 0.6, "close": 2.0}, jaw=0.28, lower=0.25, upper=0.10),
    "r": _viseme(_WEAK | {"jaw": 0.6, "close": 2.0, "funnel": 1.2, "round": 1.0}, jaw=0.24, funnel=0.35, round=0.25),
    "w": _viseme(_WEAK | {"jaw": 1.2, "round": 3.0, "close": 1.0}, jaw=0.10, round=0.95, funnel=0.15),
    "h": _viseme({name: 0.15 for name in CHANNELS}, jaw=0.40, lower=0.2),
}  # fmt: skip
"""Targets and strengths."""

_IPA: dict[str, str] = {
    **dict.fromkeys("aɑɐʌ", "a"), **dict.fromkeys("æ", "ae"), **dict.fromkeys("əᵻɘ", "schwa"),
    **dict.fromkeys("ɛe", "e"), **dict.fromkeys("iɪy", "i"), **dict.fromkeys("oɔɒ", "o"), **dict.fromkeys("uʊʉ", "u"),
    **dict.fromkeys("ɜɚɝ", "er"), **dict.fromkeys("mbp", "m"), **dict.fromkeys("fv", "f"), **dict.fromkeys("θð", "th"),
    **dict.fromkeys("tdnɾ", "t"), **dict.fromkeys("sz", "s"), **dict.fromkeys("ʃʒ", "sh"),
    **dict.fromkeys("kɡgŋxʔ", "k"), **dict.fromkeys("lɫ", "l"), **dict.fromkeys("ɹrɻ", "r"), **dict.fromkeys("wʍ", "w"),
    "h": "h", "ɦ": "h", "j": "i",
}  # fmt: skip


def visemes_of(phoneme: str) -> list[str]:
    """Names in ``VISEMES`` of an IPA phoneme, in order: two for diphthongs and affricates.

    Length, stress and other marks are passed over; a symbol that is not known counts as a schwa.
    """
    if phoneme in ("tʃ", "dʒ"):
        return ["t", "sh"]
    names = [_IPA[symbol] for symbol in phoneme if symbol in _IPA]
    return names or ["schwa"]


def drive_mouth(dialogue: Dialogue, person: str, *, articulation: float = 1.0) -> Mouth:
    """Mouth of A or B: from phonemes where the dialogue knows them, else from the person's audio.

    Args:
        dialogue: the clip's speech.
        person: A or B.
        articulation: factor on the movement; 1 is ordinary.
    """
    phonemes = dialogue.phonemes[person]
    if phonemes is not None:
        tracks = from_phonemes(phonemes, dialogue.num_frames)
    else:
        tracks = from_audio(dialogue.audio[person], dialogue.speaking(person))
    return to_expression(tracks, articulation)


def from_phonemes(phonemes: tuple[Span, ...], num_frames: int) -> np.ndarray:
    """Blend the targets of phonemes.

    Args:
        phonemes: IPA labels with times in seconds, by start; pauses are the gaps between them.
        num_frames: T.

    Returns:
        (T, len(CHANNELS)) float64 in [0, 1] at times i / FPS.
    """
    seconds = num_frames / FPS
    segments: list[tuple[str, float, float]] = []
    clock = -1.0
    for phoneme in phonemes:
        if phoneme.start - clock > 0.06:
            segments.append(("sil", clock, phoneme.start))
        names = visemes_of(phoneme.label)
        cuts = np.linspace(phoneme.start, phoneme.end, len(names) + 1)
        segments += [(n, float(a), float(b)) for n, a, b in zip(names, cuts[:-1], cuts[1:], strict=True)]
        clock = phoneme.end
    segments.append(("sil", clock, max(seconds, clock) + 1.0))
    times = np.arange(round(seconds * RATE) + 1) / RATE
    total = np.zeros((len(times), len(CHANNELS)))
    weight = np.full((len(times), len(CHANNELS)), 1e-9)
    for name, start, end in segments:
        first, last = np.searchsorted(times, [start - _REACH_S, end + _REACH_S])
        here = times[first:last]
        away = np.maximum(np.maximum(start - here, here - end), 0.0)
        # A short sound must be heard too: its dominance does not shrink with its length, but it has no plateau.
        fall = _SILENCE_FALL_S if name == "sil" else _FALL_S
        target, say = VISEMES[name]
        dominance = np.exp(-away / fall)[:, None] * say
        total[first:last] += dominance * target
        weight[first:last] += dominance
    return _sampled(total / weight, num_frames)


def from_audio(audio: np.ndarray, speaking: np.ndarray) -> np.ndarray:
    """Guess the mouth from the sound of one person.

    Loudness opens the jaw; much energy around the first formant of open vowels opens it more; little energy above
    1.2 kHz while voiced means rounded lips, much of it spread ones; noise above 2.5 kHz without voice means teeth
    together. Levels are taken relative to this clip's own quantiles, so any recording and any voice will do.

    Args:
        audio: (T * SAMPLES_PER_FRAME,) float32 of this person alone.
        speaking: (T,) bool.

    Returns:
        (T, len(CHANNELS)) float64 in [0, 1] at times i / FPS.
    """
    num_frames = len(speaking)
    steps = num_frames * RATE // FPS + 1
    hop = SAMPLE_RATE // RATE
    window = 512
    padded = np.pad(audio.astype(np.float64), (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop][:steps]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    hertz = np.fft.rfftfreq(window, 1 / SAMPLE_RATE)

    def band(low: float, high: float) -> np.ndarray:
        return power[:, (hertz >= low) & (hertz < high)].sum(axis=1) + 1e-9

    active = np.repeat(speaking, RATE // FPS)
    active = np.append(active, active[-1:])[:steps]
    loud_db = 10 * np.log10(band(150, 5000))
    if not active.any() or loud_db[active].max() < -40:
        return np.zeros((num_frames, len(CHANNELS)))
    top = np.percentile(loud_db[active], 92)
    loud = np.clip((loud_db - (top - 26)) / 26, 0.0, 1.0) * active
    voiced = np.clip(1.5 - band(2500, 7000) / band(200, 1500), 0.0, 1.0)
    strong = active & (loud > 0.5)

    def rank(values: np.ndarray) -> np.ndarray:
        """0 at the clip's 15th percentile of strong speech, 1 at its 85th."""
        low, high = np.percentile(values[strong], [15, 85]) if strong.any() else (0.0, 1.0)
        return np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0)

    def smooth(values: np.ndarray, seconds: float) -> np.ndarray:
        return gaussian_filter1d(values, seconds * RATE, mode="nearest")

    first_formant = rank(smooth(np.log(band(550, 1000) / band(180, 420)), 0.02))
    brightness = rank(smooth(np.log(band(1300, 3400) / band(250, 1100)), 0.02))
    hiss = np.clip(smooth(1.0 - voiced, 0.015), 0.0, 1.0) * loud
    vowel = loud * voiced
    dark, bright = np.clip(1 - 2 * brightness, 0, 1), np.clip(2 * brightness - 1, 0, 1)
    tracks = {
        "jaw": vowel**1.3 * (0.35 + 0.65 * first_formant) + 0.07 * hiss,
        "close": np.clip(1.0 - loud / 0.28, 0.0, 1.0) * active * 0.8,
        "round": 0.75 * dark * vowel,
        "funnel": 0.40 * dark * vowel * first_formant,
        "spread": 0.55 * bright * vowel + 0.25 * hiss,
        "lower": 0.30 * vowel + 0.30 * hiss,
        "upper": 0.15 * vowel + 0.15 * hiss,
        "tuck": np.zeros_like(loud),
    }
    blended = np.stack([smooth(tracks[name], 0.03) for name in CHANNELS], axis=1)
    # Lips part a little before a turn and close a little after it; far from speech they rest.
    presence = np.clip(smooth(active.astype(float), 0.06) * 1.4, 0.0, 1.0)
    return _sampled(blended * presence[:, None], num_frames)


def to_expression(tracks: np.ndarray, articulation: float = 1.0) -> Mouth:
    """Mouth channels (T, len(CHANNELS)) to ARKit expressions and a jaw angle."""
    c = dict(zip(CHANNELS, np.asarray(tracks).T, strict=True))
    expression = np.zeros((len(tracks), len(ARKIT_INDEX)), np.float32)

    def put(value: np.ndarray, *names: str) -> None:
        for name in names:
            expression[:, ARKIT_INDEX[name]] = np.clip(value, 0.0, 1.0)

    # Closed lips win over everything that would part them.
    parted = 1.0 - 0.9 * np.clip(c["close"], 0, 1)
    jaw = c["jaw"] * (0.25 + 0.75 * parted)
    put(0.35 * c["close"] * articulation, "mouthPressLeft", "mouthPressRight")
    put(0.8 * c["round"] * articulation, "mouthPucker")
    put(0.65 * c["funnel"] * parted * articulation, "mouthFunnel")
    put(0.45 * c["spread"] * parted * articulation, "mouthStretchLeft", "mouthStretchRight")
    put(0.6 * c["lower"] * parted * articulation, "mouthLowerDownLeft", "mouthLowerDownRight")
    put(0.6 * c["upper"] * parted * articulation, "mouthUpperUpLeft", "mouthUpperUpRight")
    put(0.45 * c["tuck"] * articulation, "mouthRollLower")
    return Mouth(expression, np.clip(JAW_RAD * jaw * articulation, 0.0, 0.4).astype(np.float32))


def _sampled(tracks: np.ndarray, num_frames: int) -> np.ndarray:
    """Smooth (K, C) tracks at ``RATE`` a little and take them at the frames' times."""
    smooth = gaussian_filter1d(tracks, _SMOOTH_S * RATE, axis=0, mode="nearest")
    return np.clip(smooth[:: RATE // FPS][:num_frames], 0.0, 1.0)


assert SAMPLES_PER_FRAME * FPS == SAMPLE_RATE and RATE % FPS == 0
