from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.synth.records import ARKIT_INDEX, SAMPLE_RATE, Span
from pipelines.synth.visemes import CHANNELS, JAW_RAD, VISEMES, from_audio, from_phonemes, to_expression, visemes_of
from tests.pipelines.synth.conftest import voice


def track(text: list[str], *, step: float = 0.14) -> np.ndarray:
    spans = tuple(Span(p, 0.4 + step * i, 0.4 + step * (i + 1)) for i, p in enumerate(text))
    return from_phonemes(spans, round(25 * (0.8 + step * len(text))))


def test_known_sounds_have_their_shapes() -> None:
    assert visemes_of("tʃ") == ["t", "sh"]
    assert visemes_of("aɪ") == ["a", "i"]
    assert visemes_of("ɔːɹ") == ["o", "r"]
    assert visemes_of("ˈiː") == ["i"]
    assert visemes_of("§") == ["schwa"]
    for name in VISEMES:
        target, strength = VISEMES[name]
        assert target.shape == strength.shape == (len(CHANNELS),)
        assert (target >= 0).all() and (target <= 1).all() and (strength > 0).all()


def test_b_closes_the_lips_between_open_vowels() -> None:
    mouth = to_expression(track(["ɑː", "b", "ɑː", "b", "ɑː"]))
    frames = [round(25 * (0.4 + 0.14 * (i + 0.5))) for i in range(5)]
    open_jaw, shut_jaw = mouth.jaw[frames[0::2]], mouth.jaw[frames[1::2]]
    assert open_jaw.min() > 0.5 * JAW_RAD
    assert shut_jaw.max() < 0.3 * JAW_RAD
    press = mouth.expression[:, ARKIT_INDEX["mouthPressLeft"]]
    assert press[frames[1]] > 2 * press[frames[0]]


def test_lips_round_before_the_vowel_is_heard() -> None:
    mouth = to_expression(track(["s", "uː"]))
    pucker = mouth.expression[:, ARKIT_INDEX["mouthPucker"]]
    assert pucker[round(25 * 0.61)] > 0.4
    assert pucker[round(25 * 0.50)] > 0.04  # during the s
    assert pucker[0] < 0.02 and pucker[-1] < 0.02


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["p", "a", "i", "uː", "ʃ", "f", "w", "θ", "ŋ", "ə", "?"]), max_size=12),
       st.floats(0.02, 0.3))  # fmt: skip
def test_any_string_of_sounds_gives_a_bounded_smooth_mouth(text: list[str], step: float) -> None:
    result = track(text, step=step)
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1
    mouth = to_expression(result)
    assert mouth.expression.min() >= 0 and mouth.expression.max() <= 1
    assert mouth.jaw[0] < 0.01 and np.abs(np.diff(mouth.jaw)).max() < 0.12


def test_sound_opens_the_mouth_and_silence_closes_it() -> None:
    sound = voice(4.0, 130.0, 3)
    sound[2 * SAMPLE_RATE :] = 0
    speaking = np.arange(100) < 50
    mouth = to_expression(from_audio(sound, speaking))
    assert mouth.jaw[5:45].mean() > 0.03 and mouth.jaw[5:45].std() > 0.01
    assert mouth.jaw[58:].max() < 0.005
    assert mouth.expression[60:].max() < 0.02


def test_jaw_follows_loudness() -> None:
    sound = voice(6.0, 120.0, 5)
    mouth = to_expression(from_audio(sound, np.ones(150, bool)))
    padded = np.pad(sound, 320)
    level = np.array([np.sqrt((padded[i * 640 : i * 640 + 640] ** 2).mean()) for i in range(150)])
    assert np.corrcoef(level, mouth.jaw)[0, 1] > 0.6


def test_level_of_the_recording_does_not_matter() -> None:
    sound, speaking = voice(4.0, 130.0, 3), np.ones(100, bool)
    loud, quiet = from_audio(sound, speaking), from_audio(0.1 * sound, speaking)
    assert np.abs(loud - quiet).max() < 0.02


def test_digital_silence_is_a_closed_mouth() -> None:
    assert not from_audio(np.zeros(64000, np.float32), np.ones(100, bool)).any()
