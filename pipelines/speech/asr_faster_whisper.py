"""Speech to text by faster-whisper, and the pieces that both backends share. The only place that imports it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.speech.decoding import SAMPLE_RATE, Piece, Span, cut_out, decode_soundly, most_tokens
from pipelines.speech.encoded import remembering
from pipelines.speech.words import Transcript, Word
from rsat_data.errors import ModelFileError, UnsupportedSource
from rsat_data.optional import require

if TYPE_CHECKING:
    from pipelines.speech.config import SpeechConfig


def forbid_network() -> None:
    """Tell the hub client and pyannote's usage counter, before either is imported, that nothing may be sent."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"


def package_version(name: str) -> str:
    """Installed version of a distribution; empty where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def resolve_device(device: str) -> str:
    """``cpu`` or ``cuda``: what ``auto`` means on this machine."""
    if device != "auto":
        return device
    return "cuda" if require("ctranslate2", needed_for="speech to text").get_cuda_device_count() else "cpu"


def resolve_compute_type(compute_type: str, device: str) -> str:
    """CTranslate2's name of the number format."""
    return ("int8" if device == "cpu" else "float16") if compute_type == "auto" else compute_type


@lru_cache(maxsize=2)
def load_whisper(folder: Path, device: str, compute_type: str, threads: int) -> Any:
    """A ``faster_whisper.WhisperModel``; kept for the next clips of this process.

    Raises:
        ModelFileError: the folder does not hold a whole model.
    """
    forbid_network()
    package = require("faster_whisper", needed_for="speech to text")
    return open_whisper(package.WhisperModel, folder, device, compute_type, threads)


def open_whisper(kind: Any, folder: Path, device: str, compute_type: str, threads: int) -> Any:
    """A model of class ``kind``, made :func:`remembering`, from a folder in CTranslate2 form.

    Raises:
        ModelFileError: the folder does not hold a whole model.
    """
    missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if not (folder / name).is_file()]
    fetch = f"Fetch it again with: rsat-data models fetch {folder.name}"
    if missing:
        raise ModelFileError(f"The Whisper model in {folder} lacks {', '.join(missing)}.", hint=fetch, path=folder)
    try:
        return remembering(kind)(
            str(folder), device=device, compute_type=compute_type, cpu_threads=threads, local_files_only=True
        )
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(
            f"The Whisper model in {folder} cannot be loaded: {error}", hint=fetch, path=folder
        ) from error


Features = Callable[[Span], np.ndarray]
"""Log-mel features (mels, frames) of a stretch of the sound, as the backend's decoder makes them."""
BATCH = 8
"""Stretches decoded together."""
SURE_OF_LANGUAGE = 0.8
"""From this probability on, another language than the one asked for is told."""


def choose_language(model: Any, features: Features, chunks: Sequence[Span], asked: str) -> tuple[str, str]:
    """The language asked for, or the detected one where none was; ``en`` for an English-only model. And a doubt: what
    was heard where that is clearly another one; it is told, and the language asked for is used all the same.

    Raises:
        UnsupportedSource: Whisper does not know the language asked for.
    """
    if not asked or not model.model.is_multilingual:
        return detect_language(model, features, chunks)[0], ""
    if asked not in model.supported_languages:
        raise UnsupportedSource(
            f"Whisper does not know the language {asked!r}.",
            hint="Give an ISO 639-1 code such as en, de or zh in the sidecar or as speech.language, or none.",
        )
    heard, sure = detect_language(model, features, chunks)
    doubt = f"asked for {asked}, heard {heard} ({sure:.2f})" if heard != asked and sure >= SURE_OF_LANGUAGE else ""
    return asked, doubt


def detect_language(model: Any, features: Features, chunks: Sequence[Span]) -> tuple[str, float]:
    """Language of the longest stretch of speech and its probability; ``en`` for an English-only model."""
    if not model.model.is_multilingual:
        return "en", 1.0
    language, probability, _ = model.detect_language(features=features(max(chunks, key=lambda span: span[1] - span[0])))
    return str(language), float(probability)


def transcribe(
    model: Any, audio: np.ndarray, chunks: Sequence[tuple[float, float]], config: SpeechConfig
) -> Transcript:
    """Transcribe stretches of speech with word times from Whisper's cross-attention.

    Args:
        model: from :func:`load_whisper`.
        audio: (N,) float32 at 16 kHz.
        chunks: spans in seconds in which someone talks, each at most 30 s. Nothing else is looked at.
        config: language and beam size are used.
    """
    if not chunks:
        return Transcript(language=config.language, words=(), timing="none")

    def features(span: Span) -> np.ndarray:  # less the frame that the package leaves out when it decodes
        return np.asarray(model.feature_extractor(cut_out(audio, span)))[..., :-1]

    language, doubt = choose_language(model, features, chunks, config.language)

    def decode(spans: Sequence[Span], options: Mapping[str, Any]) -> list[Piece]:
        return _decode(model, audio, spans, language, config.beam_size, options)

    words = [word for piece in decode_soundly(decode, audio, chunks) for word in piece.words or ()]
    model.forget()
    return Transcript(language, tuple(words), "cross-attention" if words else "none", doubt)


def _decode(
    model: Any, audio: np.ndarray, spans: Sequence[Span], language: str, beam_size: int, options: Mapping[str, Any]
) -> list[Piece]:
    """Stretches decoded in batches, without Whisper's own times: cross-attention gives better ones for less."""
    package = require("faster_whisper", needed_for="speech to text")
    segments, _ = package.BatchedInferencePipeline(model).transcribe(
        audio,
        language=language,
        beam_size=beam_size,
        temperature=0.0,
        without_timestamps=True,
        word_timestamps=True,
        vad_filter=False,
        clip_timestamps=[{"start": start, "end": end} for start, end in spans],
        batch_size=BATCH,
        max_new_tokens=most_tokens(max(end - start for start, end in spans)),
        **options,
    )
    words: dict[int, list[Word]] = {}
    for segment in segments:
        words.setdefault(segment.seek, []).extend(
            Word(word.word.strip(), float(word.start), float(word.end), float(word.probability))
            for word in segment.words or ()
            if word.word.strip()
        )
    return [_piece(span, words.get(_seek(span), [])) for span in spans]


def _seek(span: Span) -> int:
    """The frame by which the package tells a segment's stretch."""
    return int(int(span[0] * SAMPLE_RATE) / SAMPLE_RATE * 100)


def _piece(span: Span, words: Sequence[Word]) -> Piece:
    return Piece(span=span, text=" ".join(word.word for word in words), words=tuple(words))
