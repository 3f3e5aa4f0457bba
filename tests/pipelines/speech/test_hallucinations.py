"""Text that was never said: what goes and why, what stays, and what a real recogniser writes over wordless sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.speech.hallucinations import counted, plain, remove
from pipelines.speech.words import Word, clean_words


def say(text: str, start: float = 0.0, step: float = 0.3, score: float = 0.9) -> list[Word]:
    return [Word(word, start + k * step, start + (k + 1) * step, score) for k, word in enumerate(text.split())]


TALK = np.full(500, 0.95)


def test_text_over_silence_goes() -> None:
    voice = np.zeros(300)
    voice[:50] = 0.9
    words = [Word("said", 0.5, 0.9, 0.9), *say("never said", 3.0), Word("late", 19.0, 19.4, 0.9)]
    kept, removed = remove(words, voice)
    assert [word.word for word in kept] == ["said"]
    assert [(one.text, one.reason) for one in removed] == [("never said late", "silence")]
    assert removed[0].start == 3.0 and removed[0].end == 19.4 and counted(removed) == {"silence": 3}


@pytest.mark.parametrize(("phrase", "size"), [("no", 1), ("I am", 2), ("as far as I know", 5)])
def test_loops_keep_their_beginning(phrase: str, size: int) -> None:
    words = say("well " + " ".join([phrase] * 9) + " but")
    kept, removed = remove(words, TALK)
    assert len(kept) == 2 + 4 * size and kept[-1].word == "but"
    assert counted(removed) == {"repetition": 5 * size}
    few = say(" ".join([phrase] * 4))
    assert remove(few, TALK) == (few, [])


def test_nobody_talks_that_fast() -> None:
    fast = say(" ".join(f"w{k}" for k in range(20)), step=0.05)
    assert remove(fast, TALK)[1][0].reason == "rate"
    quick = say(" ".join(f"w{k}" for k in range(20)), step=0.15)
    assert remove(quick, TALK)[1] == []


def test_phrases_of_subtitles_go_only_where_they_stand_alone_and_unsure() -> None:
    faint = np.full(500, 0.5)
    alone = say("Thanks for watching!", 5.0, score=0.9)
    assert [one.reason for one in remove(alone, faint)[1]] == ["known_phrase"]
    assert remove(alone, TALK)[1] == []  # somebody may say so
    assert [one.reason for one in remove(say("Thanks for watching!", 5.0, score=0.4), TALK)[1]] == ["known_phrase"]
    within = say("she said thanks for watching my dog", 2.0, score=0.4)
    assert remove(within, faint)[1] == []
    both = [*say("hello there", 0.0), *alone]
    kept, removed = remove(both, faint)
    assert [word.word for word in kept] == ["hello", "there"] and removed[0].text == "Thanks for watching!"


def test_other_scripts() -> None:
    assert plain("Don't  STOP!\u2019") == "dont stop"
    assert plain("谢谢 观看。") == "谢谢 观看"
    words = [Word("ご視聴", 5.0, 5.4, 0.3), Word("ありがとうございました", 5.4, 6.2, 0.3)]
    assert remove(words, TALK)[1][0].reason == "known_phrase"
    assert remove([], TALK) == ([], [])


@pytest.mark.slow
def test_a_real_recogniser_made_to_write_over_sounds_without_words(whisper_folder: Path, network) -> None:
    from pipelines.speech import asr_faster_whisper
    from pipelines.speech.assign import to_frames
    from pipelines.speech.config import SpeechConfig
    from pipelines.speech.diarise import speech_probability
    from pipelines.speech.segmentation import segment

    seconds = 8
    t = np.arange(seconds * 16000) / 16000
    chord = np.exp(-1.2 * (t % 2)) * sum(np.sin(2 * np.pi * f * t) for f in (220.0, 277.2, 329.6, 440.0))
    sounds = {
        "silence": np.zeros(len(t)),
        "noise": np.random.default_rng(0).normal(0, 0.05, len(t)),
        "music": 0.05 * chord,
    }
    model = asr_faster_whisper.load_whisper(whisper_folder, "cpu", "int8", 1)
    written = 0
    for sound in sounds.values():
        samples = sound.astype(np.float32)
        voice = to_frames(speech_probability(segment(network, samples)), seconds * 25)
        found = asr_faster_whisper.transcribe(model, samples, [(0.0, float(seconds))], SpeechConfig(device="cpu"))
        written += len(found.words)
        assert remove(clean_words(found.words, seconds), voice)[0] == []
    assert written  # or this would prove nothing


def test_words_piled_up_at_the_end_were_not_said() -> None:
    said = [Word(text, 0.4 * index, 0.4 * index + 0.3, 0.9) for index, text in enumerate("we want to be heard".split())]
    piled = [Word(text, 1.96, 2.0, 0.95) for text in "I am going to leave the building".split()]
    kept, removed = remove([*said, *piled], np.ones(50))
    assert kept == said
    assert [(one.text, one.reason) for one in removed] == [("I am going to leave the building", "rate")]
    kept, removed = remove([*said, *piled[:3]], np.ones(50))  # two people at once: times do collapse a little
    assert len(kept) == 8 and not removed
