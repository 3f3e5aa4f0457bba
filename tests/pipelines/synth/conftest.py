"""Speech and head for the tests of the synthesiser. No download: voices here are made of noise and tones."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.synth.records import SAMPLE_RATE, Utterance
from pipelines.synth.scene import Head, head_facts
from pipelines.synth.speech import RecordingSource, Speaker


def voice(seconds: float, pitch: float, seed: int) -> np.ndarray:
    """Something with the loudness of syllables and a voice's harmonics, (N,) float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * pitch * k * t + rng.uniform(0, 6)) / k for k in range(1, 18))
    syllables = np.clip(np.sin(2 * np.pi * 4.3 * t + rng.uniform(0, 6)) + 0.35, 0, None)
    return (0.08 * tone * syllables + 0.002 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.fixture(scope="session")
def speech() -> RecordingSource:
    """Two speakers with a handful of utterances each, back-channels among them."""
    lengths = (0.5, 1.1, 1.8, 2.6, 3.4)
    speakers = [
        Speaker(tuple(Utterance(voice(s, pitch, 10 * number + k)) for k, s in enumerate(lengths)))
        for number, pitch in enumerate((110.0, 190.0))
    ]
    return RecordingSource("test-tones", (speakers[0], speakers[1]))


@pytest.fixture(scope="session")
def facts() -> Head:
    """Facts of the open head."""
    from model.head import load_head

    return head_facts(load_head())
