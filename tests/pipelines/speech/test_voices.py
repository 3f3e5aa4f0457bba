"""How many voices a clip has."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from pipelines.speech.segmentation import Windows, segment
from pipelines.speech.voices import columns, count_voices


def windows_of(*talkers: int, width: int = 250) -> Windows:
    """One window for each number of local speakers, each talking for a second in turn."""
    posteriors = np.full((len(talkers), width, 3), 0.05)
    for index, count in enumerate(talkers):
        for local in range(count):
            posteriors[index, 60 * local : 60 * local + 50, local] = 0.9
    return Windows(posteriors=posteriors, starts=np.arange(len(talkers)) * 25, num_steps=25 * len(talkers) + width)


def test_counting() -> None:
    assert count_voices(windows_of(0, 0, 0)) == 0
    assert count_voices(windows_of(1, 1, 0, 1, 1, 1, 1, 1, 2)) == 1  # one window in eight: a whim
    assert count_voices(windows_of(1, 1, 2, 2, 0, 0)) == 2
    assert count_voices(windows_of(1, 2, 2, 3, 2)) == 3
    brief = windows_of(1, 1, 1)
    brief.posteriors[:, 100:115, 1] = 0.9  # 0.3 s
    assert count_voices(brief) == 1


def test_what_lies_past_the_clip_does_not_count() -> None:
    windows = windows_of(2)
    windows.posteriors[:, 60:] = np.nan
    assert count_voices(windows) == 1


def test_columns() -> None:
    assert [columns(0, counted) for counted in range(4)] == [2, 2, 2, 3]
    assert columns(1, 3) == 1 and columns(3, 1) == 3


def test_real_voices(network, real_data) -> None:
    """Half of a conversation of two channels is two voices; one channel, and silence, are not."""
    name = "dualtalk_demo/UbjUDM1MiGE_sub_video_72_speaker{}.wav"
    read = []
    for number in (1, 2):
        samples, rate = soundfile.read(str(real_data / name.format(number)), dtype="float32", always_2d=True)
        assert rate % 16000 == 0 or rate == 16000, rate
        read.append(samples.mean(axis=1)[:: rate // 16000][: 10 * 16000])
    assert count_voices(segment(network, read[0] + read[1])) == 2
    assert count_voices(segment(network, np.zeros(48000, np.float32))) == 0


@pytest.mark.parametrize("kind", ["noise", "chords"])
def test_sounds_that_are_no_voices(network, kind: str) -> None:
    t = np.arange(6 * 16000) / 16000
    noise = np.random.default_rng(0).normal(0, 0.05, len(t))
    chords = 0.05 * sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6))
    assert count_voices(segment(network, (noise if kind == "noise" else chords).astype(np.float32))) <= 1
