"""What Whisper's encoder said is kept for the clip at hand, and no longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.speech.asr_faster_whisper import load_whisper, transcribe
from pipelines.speech.config import SpeechConfig
from pipelines.speech.encoded import KEPT, remembering


class Encoder:
    """Counts what it is asked: the mean of each row's features."""

    device = "cpu"


class Whisper:
    """As much of a WhisperModel as has an encoder."""

    def __init__(self) -> None:
        self.model = Encoder()
        self.asked: list[int] = []

    def encode(self, features: np.ndarray) -> np.ndarray:
        self.asked.append(len(features))
        return np.repeat(features.mean(axis=(1, 2))[:, None, None], 2, axis=2).astype(np.float32)


def said(model: Any, features: np.ndarray) -> np.ndarray:
    return np.array(model.encode(features))


def test_a_stretch_is_encoded_once() -> None:
    model = remembering(Whisper)()
    first, second = np.full((2, 4, 6), [[[1.0]], [[2.0]]], dtype=np.float32)
    assert said(model, first).ravel().tolist() == [1, 1]
    assert said(model, np.stack([second, first])).reshape(2, 2).tolist() == [[2, 2], [1, 1]]
    assert said(model, np.stack([first, second])).reshape(2, 2).tolist() == [[1, 1], [2, 2]]
    assert model.asked == [1, 1]
    model.forget()
    said(model, first)
    assert model.asked == [1, 1, 1]


def test_only_the_last_answers_are_kept() -> None:
    model = remembering(Whisper)()
    many = np.arange(KEPT + 3, dtype=np.float32)[:, None, None] * np.ones((1, 4, 6), dtype=np.float32)
    assert said(model, many).reshape(-1, 2)[:, 0].tolist() == list(range(KEPT + 3))
    model.asked.clear()
    said(model, many[-KEPT:])
    assert model.asked == []
    said(model, many[0])
    assert model.asked == [1]


def test_on_a_gpu_nothing_is_kept() -> None:
    model = remembering(Whisper)()
    model.model.device = "cuda"
    one = np.ones((1, 4, 6), dtype=np.float32)
    model.encode(one), model.encode(one)
    assert model.asked == [1, 1]


def test_language_and_text_ask_whisper_once(
    telephone_call: tuple[np.ndarray, np.ndarray], whisper_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_whisper(whisper_folder, "cpu", "int8", 1)
    model.forget()
    kept: list[int] = []
    monkeypatch.setattr(model, "forget", lambda: kept.append(len(model._kept)))
    found = transcribe(model, telephone_call[0], [(7.0, 14.0)], SpeechConfig(beam_size=1))
    model._kept.clear()
    assert found.language == "en"
    assert len(found.words) > 5
    assert kept == [1]
