"""Each person's own audio: a channel of their own where the recording has one, else cut out of the mixture."""

from __future__ import annotations

import numpy as np

SAMPLES_PER_FRAME = 640
#: A channel leads where it is this much louder than the other (dB).
_LEAD_DB = 6.0


def gate(samples: np.ndarray, speaking: np.ndarray, *, fade: int = 320) -> np.ndarray:
    """The mixture where the person speaks, silence elsewhere, with raised-cosine fades.

    The fade lies around the edge: half of it before, half after, so that half-way through the gain is 0.5.

    Args:
        samples: (N,) float32.
        speaking: (T,) bool, 640 samples a frame.
        fade: length of a fade in samples; 0 cuts hard.

    Returns:
        (T * 640,) float32, exactly; missing samples are silence.
    """
    length = len(speaking) * SAMPLES_PER_FRAME
    gain = np.repeat(speaking.astype(np.float64), SAMPLES_PER_FRAME)
    if fade > 1:
        kernel = np.hanning(fade + 2)[1:-1]
        padded = np.pad(gain, fade, mode="edge")
        gain = np.convolve(padded, kernel / kernel.sum(), mode="same")[fade : fade + length]
        gain[gain < 1e-6] = 0.0
    return (fit_length(samples, length) * gain).astype(np.float32)


def fit_length(samples: np.ndarray, length: int) -> np.ndarray:
    """(N,) -> (length,) float32: cut, or filled up with silence."""
    result = np.zeros(length, dtype=np.float32)
    part = samples[:length]
    result[: len(part)] = part
    return result


def levels_db(samples: np.ndarray, *, hop: int = 320) -> np.ndarray:
    """RMS of every ``hop`` samples in dB of full scale, (N // hop,) float64, at least -120."""
    count = len(samples) // hop
    power = np.square(samples[: count * hop].astype(np.float64)).reshape(count, hop).mean(axis=1)
    return 10.0 * np.log10(np.maximum(power, 1e-12))


def channels_separate(levels: np.ndarray) -> bool:
    """Whether two channels hold a person each, rather than one stereo picture of both.

    So where, of the louder half of all 20 ms steps, at least 70 % have one channel leading by 6 dB, each channel leads
    in at least 5 % of them, and the two levels do not rise and fall together (correlation below 0.3).

    Args:
        levels: (C, M) dB, from :func:`levels_db`, best over the whole recording; only C = 2 can be told apart.
    """
    if levels.shape[0] != 2 or levels.shape[1] < 50:
        return False
    loudest = levels.max(axis=0)
    loud = (loudest >= np.median(loudest)) & (loudest > -55.0)
    if loud.sum() < 25:
        return False
    difference = levels[0, loud] - levels[1, loud]
    first, second = float((difference > _LEAD_DB).mean()), float((difference < -_LEAD_DB).mean())
    spread = levels[:, loud].std(axis=1)
    together = float(np.corrcoef(levels[:, loud])[0, 1]) if (spread > 1e-6).all() else 0.0
    return first + second >= 0.7 and min(first, second) >= 0.05 and together < 0.3


def leading(channels: np.ndarray, num_frames: int, separation_db: float = float("inf")) -> np.ndarray:
    """How far each of two channels is not merely the echo of the other: (T, C) in [0, 1] at 25 frames a second.

    1 where the channel is at most 6 dB below the loudest, falling to 0 at 18 dB below: a voice leaks into the other
    microphone, and would otherwise be taken for that person's. Where it is known that the two microphones' levels are
    less than 43 dB apart between one person's speech and the other's, the limits come down with that, so that the leak
    itself, half of it below, counts for nothing.

    Args:
        channels: (2, N) float32 from equal microphones.
        num_frames: T.
        separation_db: spread of their difference in level, see `pipelines.ingest.voices.separation`.
    """
    full, none = min(_LEAD_DB, 0.2 * separation_db), min(_LEAD_DB + 12.0, 0.42 * separation_db)
    count = num_frames * SAMPLES_PER_FRAME
    levels = np.stack([levels_db(fit_length(channel, count), hop=SAMPLES_PER_FRAME) for channel in channels], axis=1)
    below = levels.max(axis=1, keepdims=True) - levels
    return np.clip(1.0 - (below - full) / (none - full), 0.0, 1.0)


def snr_db(samples: np.ndarray, speech: np.ndarray, noise: np.ndarray) -> float:
    """Level of a person's speech above the background, in dB.

    10 log10((S - N) / N) with S and N the mean power of the frames of speech and of nobody's speech. Where there are
    fewer than five frames of the latter, N is the power of the quietest 5 % of frames, an upper bound.

    Args:
        samples: (N,) float32.
        speech: (T,) bool: this person speaks (and best nobody else).
        noise: (T,) bool: nobody speaks.

    Returns:
        dB, within [-20, 80]; NaN where the person does not speak.
    """
    if not speech.any():
        return float("nan")
    frames = fit_length(samples, len(speech) * SAMPLES_PER_FRAME).astype(np.float64).reshape(-1, SAMPLES_PER_FRAME)
    power = np.square(frames).mean(axis=1)
    floor = power[noise].mean() if noise.sum() >= 5 else np.quantile(power, 0.05)
    floor = max(float(floor), 1e-10)
    return float(np.clip(10.0 * np.log10(max(float(power[speech].mean()) - floor, 1e-12) / floor), -20.0, 80.0))
