from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.synth import espeak
from pipelines.synth.records import PERSONS, SAMPLE_RATE
from pipelines.synth.relations import Rates
from pipelines.synth.speech import (
    VOICE_BANKS,
    SpokenSource,
    active_spans,
    own_source,
    read_rttm,
    read_wav,
    recording_source,
    split_at_pauses,
)
from rsat_data.errors import UsageError
from tests.pipelines.synth.conftest import voice

RATES = {p: Rates() for p in PERSONS}
needs_espeak = pytest.mark.skipif(not espeak.is_available(), reason="espeak-ng is not installed on this machine")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two files: A speaks from 0.5 to 2.5 s, B from 3 to 5 s; the second at another rate and in stereo."""
    a, b = np.zeros((2, 6 * SAMPLE_RATE), np.float32)
    a[8000:40000] = voice(2.0, 110, 1)
    b[48000:80000] = voice(2.0, 200, 2)
    soundfile.write(tmp_path / "a.wav", a, SAMPLE_RATE)
    soundfile.write(tmp_path / "b.wav", np.stack([b, b], axis=1)[::2], SAMPLE_RATE // 2)
    return tmp_path / "a.wav", tmp_path / "b.wav"


def test_two_files_are_one_person_each(pair: tuple[Path, Path]) -> None:
    source = own_source(pair)
    dialogue = source.dialogue(150, RATES, 0, 0)
    assert dialogue.isolation == "channel" and not dialogue.arranged
    a, b = (np.flatnonzero(dialogue.speaking(p)) for p in PERSONS)
    assert abs(a[0] - 12) <= 2 and abs(a[-1] - 62) <= 6
    assert abs(b[0] - 75) <= 2 and abs(b[-1] - 124) <= 6


def test_mixture_with_rttm_is_gated(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    mixed = read_wav(pair[0]) + read_wav(pair[1])
    soundfile.write(tmp_path / "mix.wav", mixed, SAMPLE_RATE)
    (tmp_path / "mix.rttm").write_text(
        "SPEAKER mix 1 0.5 2.0 <NA> <NA> anna <NA> <NA>\nSPEAKER mix 1 3.0 2.0 <NA> <NA> ben <NA> <NA>\n"
    )
    dialogue = own_source((tmp_path / "mix.wav",)).dialogue(150, RATES, 0, 0)
    assert dialogue.isolation == "gated"
    assert [(t.person, t.start, t.end) for t in dialogue.turns] == [("A", 0.5, 2.5), ("B", 3.0, 5.0)]
    assert not dialogue.audio["A"][41000:].any() and not dialogue.audio["B"][:47000].any()


def test_window_is_cut_on_the_frame_grid_and_repeatable(pair: tuple[Path, Path]) -> None:
    source = own_source(pair)
    windows = [source.dialogue(50, RATES, 7, clip) for clip in range(6)]
    again = source.dialogue(50, RATES, 7, 3)
    assert windows[3].turns == again.turns and np.array_equal(windows[3].audio["A"], again.audio["A"])
    assert len({w.source for w in windows}) > 2
    for window in windows:
        assert all(0 <= t.start < t.end <= 2.0 for t in window.turns)


def test_real_conversation_is_cut_into_its_speakers(real_data: Path) -> None:
    folder = real_data / "audio"
    source = recording_source(folder / "sample.wav", folder / "sample.rttm", "sample")
    for speaker in source.speakers:
        assert 3 <= len(speaker.utterances) <= 12
        assert 5.0 < sum(u.seconds for u in speaker.utterances) < 14.0
    first = source.dialogue(250, RATES, 1, 0)
    assert np.array_equal(first.mixture(), source.dialogue(250, RATES, 1, 0).mixture())
    assert first.arranged and all(first.speaking(p).mean() > 0.1 for p in PERSONS)


def test_pauses_divide_utterances() -> None:
    sound = np.concatenate([voice(1.0, 120, 1), np.zeros(8000, np.float32), voice(1.0, 120, 2)])
    assert len(active_spans(sound)) == 2
    assert len(split_at_pauses(sound)) == 2
    long = split_at_pauses(np.concatenate([voice(2.0, 120, k) for k in range(5)]))
    assert all(len(piece) <= 6 * SAMPLE_RATE for piece in long) and sum(map(len, long)) > 9 * SAMPLE_RATE


@pytest.mark.parametrize("content", [None, b"", b"this is no sound at all"])
def test_bad_speech_file_is_a_usage_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="bad.wav"):
        own_source((path,))


def test_recording_shorter_than_the_clip_is_a_usage_error(pair: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="lasts 6.00 s"):
        own_source(pair).dialogue(200, RATES, 0, 0)


def test_three_files_are_a_usage_error(pair: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="3 were given"):
        own_source((*pair, pair[0]))


@pytest.mark.parametrize("text", ["", "SPEAKER x 1 one two <NA> <NA> a <NA> <NA>\n", "SPEAKER x\n"])
def test_bad_rttm_is_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.rttm").write_text(text)
    with pytest.raises(UsageError, match="x.rttm"):
        read_rttm(tmp_path / "x.rttm")


@needs_espeak
def test_spoken_lines_are_exact_and_timed() -> None:
    lines = [(VOICE_BANKS[0][0], "Papa made more coffee."), (VOICE_BANKS[1][0], "Right.")]
    first, again = espeak.speak(lines), espeak.speak(lines)
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.audio, two.audio) and one.phonemes == two.phonemes and one.words == two.words
    spoken = first[0]
    assert [w.label for w in spoken.words or ()] == ["Papa", "made", "more", "coffee"]
    for spans in (spoken.words or (), spoken.phonemes or ()):
        assert all(0 <= s.start < s.end <= spoken.seconds + 0.01 for s in spans)
        assert all(a.end <= b.start + 1e-6 for a, b in zip(spans, spans[1:], strict=False))
    # The p of "papa" is a silence before a burst: quieter than the vowel after it.
    p, vowel = (spoken.phonemes or ())[0:2]
    assert p.label == "p"
    level = [np.abs(spoken.audio[round(s.start * 16000) : round(s.end * 16000)]).mean() for s in (p, vowel)]
    assert level[1] > level[0]


@needs_espeak
def test_spoken_conversation_knows_words_and_phonemes() -> None:
    dialogue = SpokenSource().dialogue(150, RATES, 2, 0)
    assert dialogue.language == "en" and dialogue.voices["A"] != dialogue.voices["B"]
    for person in PERSONS:
        turns = [t for t in dialogue.turns if t.person == person]
        for word in dialogue.words[person] or ():
            assert any(t.start - 1e-6 <= word.start and word.end <= t.end + 0.02 for t in turns)
