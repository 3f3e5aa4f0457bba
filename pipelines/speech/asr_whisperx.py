"""Speech to text by whisperx: batched over stretches of speech, words forced-aligned where weights are at hand.

whisperx leaves word times to a wav2vec2 model that it would download. Here nothing is downloaded: if the weights lie on
this machine they are used, otherwise the times come from the cross-attention of the Whisper model beneath, for the
very text that whisperx decoded. Its own voice activity step is replaced by this stage's, which saves its unrestricted
load of a pickled checkpoint. The only place that imports whisperx.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.speech.asr_faster_whisper import BATCH, choose_language, forbid_network, open_whisper
from pipelines.speech.decoding import Piece, Span, cut_out, decode_soundly, most_tokens
from pipelines.speech.words import Transcript, Word
from rsat_data.errors import ModelFileError
from rsat_data.optional import require

if TYPE_CHECKING:
    from pipelines.speech.config import SpeechConfig

_log = logging.getLogger(__name__)
FRAME_S = 0.01
"""Step of log-mel frames."""


def load_package() -> Any:
    """The whisperx package, imported with its network habits switched off."""
    forbid_network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyannote complains that it could not decode files; it is given arrays
        require("whisperx", needed_for="the whisperx speech backend")
        package = require("whisperx.asr", needed_for="the whisperx speech backend")
    for name in ("whisperx", "pyannote", "speechbrain", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return package


@lru_cache(maxsize=2)
def load_whisper(folder: Path, device: str, compute_type: str, threads: int) -> Any:
    """Whisperx's batching kind of faster-whisper's model; kept for the next clips. Raises as the other's loader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = load_package().WhisperModel
    return open_whisper(kind, folder, device, compute_type, threads)


def _given_chunks(chunks: Sequence[tuple[float, float]]) -> Any:
    """A voice activity model for whisperx that answers with spans found before."""
    vad = require("whisperx.vads.vad", needed_for="the whisperx speech backend").Vad

    class GivenChunks(vad):  # type: ignore[misc, valid-type]
        """whisperx asks for speech; the answer is already known."""

        def __call__(self, audio: Any, **kwargs: Any) -> list[dict[str, Any]]:
            return [{"start": start, "end": end, "segments": [(start, end)]} for start, end in chunks]

        @staticmethod
        def preprocess_audio(audio: Any) -> Any:
            return audio

        @staticmethod
        def merge_chunks(segments: Any, chunk_size: float, onset: float, offset: float | None) -> Any:
            return segments

    return GivenChunks(0.5)


def transcribe(
    model: Any, audio: np.ndarray, chunks: Sequence[tuple[float, float]], config: SpeechConfig, device: str
) -> Transcript:
    """Transcribe stretches of speech in batches, then time their words.

    Args:
        model: from :func:`load_whisper`.
        audio: (N,) float32 at 16 kHz.
        chunks: spans in seconds in which someone talks, each at most 30 s.
        config: language, beam size and alignment are used.
        device: cpu or cuda.
    """
    if not chunks:
        return Transcript(language=config.language, words=(), timing="none")
    package = load_package()
    language, doubt = choose_language(model, lambda span: _features(model, audio, span), chunks, config.language)
    model.max_length = 8 + most_tokens(max(end - start for start, end in chunks))  # all that its batches go by
    tokenizer: Any = None

    def decode(spans: Sequence[Span], options: Mapping[str, Any]) -> list[Piece]:
        nonlocal tokenizer
        with _quiet():
            pipeline = package.load_model(
                "given",
                device,
                model=model,
                vad_model=_given_chunks(spans),
                language=language,
                asr_options={"beam_size": config.beam_size, "temperatures": [0.0], **options},
            )
            found = pipeline.transcribe(audio, batch_size=BATCH, language=language)["segments"]
        tokenizer = pipeline.tokenizer
        return [Piece(span, piece["text"].strip()) for span, piece in zip(spans, found, strict=True)]

    pieces = [piece for piece in decode_soundly(decode, audio, chunks) if piece.text]
    segments = [{"start": piece.span[0], "end": piece.span[1], "text": piece.text} for piece in pieces]
    aligned = _forced_alignment(segments, audio, language, config, device)
    if aligned is not None:
        return Transcript(language, tuple(aligned), "forced alignment", doubt)
    words = [word for segment in segments for word in _attention_words(model, tokenizer, audio, segment)]
    model.forget()
    return Transcript(language, tuple(words), "cross-attention" if words else "none", doubt)


def _features(model: Any, audio: np.ndarray, span: Span) -> np.ndarray:
    """Log-mel features (mels, 3000) as whisperx makes them for its decoder: of the stretch and silence up to 30 s."""
    sound = require("whisperx.audio", needed_for="the whisperx speech backend")
    part = cut_out(audio, span)
    mels = model.feat_kwargs.get("feature_size") or 80
    made = sound.log_mel_spectrogram(part, mels, padding=max(0, sound.N_SAMPLES - len(part)))
    return np.asarray(made)


def _attention_words(model: Any, tokenizer: Any, audio: np.ndarray, segment: dict[str, Any]) -> Iterator[Word]:
    """Times for a text already decoded: dynamic time warping over Whisper's cross-attention."""
    transcribing = require("faster_whisper.transcribe", needed_for="word times")
    start, end = float(segment["start"]), float(segment["end"])
    frames = min(round((end - start) / FRAME_S), model.feature_extractor.nb_max_frames)
    features = _features(model, audio, (start, end))
    tokens = tokenizer.encode(" " + segment["text"].strip())
    found = model.find_alignment(tokenizer, [tokens], model.encode(features), frames)[0]
    transcribing.merge_punctuations(found, "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、")
    for word in found:
        if word["word"].strip():
            yield Word(
                word["word"].strip(),
                start + float(word["start"]),
                start + float(word["end"]),
                float(word["probability"]),
            )


def alignment_source(language: str, config: SpeechConfig) -> str | None:
    """What forced alignment would use without a download: a folder, a model name, or None where there is nothing."""
    if config.align == "off":
        return None
    if config.align_model:
        folder = Path(config.align_model)
        if not (folder / "config.json").is_file():
            raise ModelFileError(
                f"speech.align_model names {folder}, which holds no wav2vec2 model (no config.json).",
                hint="Give a folder saved by transformers, or leave it empty.",
                path=folder,
            )
        return str(folder)
    alignment = require("whisperx.alignment", needed_for="forced alignment")
    name = alignment.DEFAULT_ALIGN_MODELS_TORCH.get(language)
    if name is not None:
        import torch

        bundle = getattr(alignment.torchaudio.pipelines, name)
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(str(bundle._path)).name
        return name if cached.is_file() else None
    name = alignment.DEFAULT_ALIGN_MODELS_HF.get(language)
    if name is None:
        return None
    hub = require("huggingface_hub", needed_for="forced alignment")
    weights = (hub.try_to_load_from_cache(name, file) for file in ("model.safetensors", "pytorch_model.bin"))
    return name if any(isinstance(found, str) for found in weights) else None


@lru_cache(maxsize=2)
def _align_model(source: str, language: str, device: str) -> tuple[Any, Any]:
    alignment = require("whisperx.alignment", needed_for="forced alignment")
    with _quiet():
        return alignment.load_align_model(language, device, model_name=source, model_cache_only=True)


def _forced_alignment(
    segments: Sequence[dict[str, Any]], audio: np.ndarray, language: str, config: SpeechConfig, device: str
) -> list[Word] | None:
    """Words by forced alignment; None where its weights or NLTK's sentence splitter are not on this machine."""
    source = alignment_source(language, config)
    if source is None or not segments:
        return None
    alignment = require("whisperx.alignment", needed_for="forced alignment")
    try:
        alignment.nltk.data.find("tokenizers/punkt_tab/english")
    except LookupError:
        _log.warning("Words are not forced-aligned: NLTK's punkt_tab is absent (python -m nltk.downloader punkt_tab).")
        return None
    try:
        network, metadata = _align_model(source, language, device)
        with _quiet():
            result = alignment.align(list(segments), network, metadata, audio, device)
    except (LookupError, ValueError, OSError) as error:
        _log.warning("Words are not forced-aligned: %s", error)
        return None
    words = []
    for word in result["word_segments"]:
        if "start" in word and "end" in word:  # digits and signs the aligner has no letters for have no times
            words.append(
                Word(word["word"].strip(), float(word["start"]), float(word["end"]), float(word.get("score", 0.0)))
            )
        elif words:
            words.append(Word(word["word"].strip(), words[-1].end, words[-1].end, 0.0))
    return words


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Whisperx prints; a stage must not write over the progress bars."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
