"""Which recogniser runs, and what it hears: one result whichever backend made it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.speech.crosstalk import drop_echoes
from pipelines.speech.hallucinations import Removed, remove
from pipelines.speech.turns import merge_runs, runs
from pipelines.speech.words import Transcript, Word, clean_words, speak_words
from rsat_data.errors import MissingDependencyError
from rsat_data.optional import is_installed

if TYPE_CHECKING:
    from pipelines.speech.activity import Heard
    from pipelines.speech.config import SpeechConfig
    from pipelines.speech.inputs import Sound

#: Whisper sees 30 s at a time; a margin is left for the padding of a chunk.
MAX_CHUNK_S = 28.0
_DISTRIBUTION = {"whisperx": "whisperx", "faster-whisper": "faster-whisper"}


def choose_backend(backend: str) -> str:
    """The backend that ``auto`` means here, or the one asked for.

    Raises:
        MissingDependencyError: it is not installed.
    """
    if backend == "auto":
        backend = "whisperx" if is_installed("whisperx") else "faster-whisper"
    module, hint = (
        (
            "whisperx",
            "pip install 'rsat-data[speech]', or choose faster-whisper with: --set speech.backend=faster-whisper",
        )
        if backend == "whisperx"
        else ("faster_whisper", "pip install faster-whisper")
    )
    if not is_installed(module):
        raise MissingDependencyError(f"The speech backend {backend} is not installed.", hint=f"Install it: {hint}")
    return backend


def describe(config: SpeechConfig) -> dict[str, str]:
    """What decides the transcript beyond the config: backend, versions, device, weights that could align words."""
    from pipelines.speech.asr_faster_whisper import package_version, resolve_compute_type, resolve_device

    backend = choose_backend(config.backend)
    device = resolve_device(config.device)
    material = {
        "backend": backend,
        "backend_version": package_version(_DISTRIBUTION[backend]),
        "engine_version": package_version("ctranslate2"),
        "device": device,
        "compute_type": resolve_compute_type(config.compute_type, device),
    }
    if backend == "whisperx" and config.align == "auto":
        material["alignment_weights"] = " ".join(alignment_weights(config))
    return material


def alignment_weights(config: SpeechConfig) -> list[str]:
    """Names of wav2vec2 weights that forced alignment could find on this machine, without importing anything heavy."""
    if config.align_model:
        return [
            f"{file.name}:{file.stat().st_size}"
            for file in sorted(Path(config.align_model).glob("*"))
            if file.is_file()
        ]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    torch_home = Path(os.environ.get("TORCH_HOME", cache / "torch"))
    hub_home = Path(os.environ.get("HF_HOME", cache / "huggingface"))
    found = [*torch_home.glob("hub/checkpoints/*wav2vec2*"), *hub_home.glob("hub/models--*wav2vec2*")]
    return sorted(path.name for path in found)


def speech_chunks(
    voice: np.ndarray, *, fps: float = 25.0, gap_s: float = 1.5, pad_s: float = 0.25
) -> list[tuple[float, float]]:
    """Spans in seconds to transcribe: speech with short pauses joined, padded, at most 28 s each.

    A longer one is cut where the voice is weakest in its second half.

    Args:
        voice: (T,) speech probability.
        fps: frames a second.
        gap_s: pauses shorter than this are not cut out.
        pad_s: kept before and after, as far as the clip and the neighbours allow.
    """
    total = len(voice)
    most = int(MAX_CHUNK_S * fps)
    pad = round(pad_s * fps)
    spans = merge_runs(runs(voice >= 0.4), round(gap_s * fps))
    padded = merge_runs([(max(0, a - pad), min(total, b + pad)) for a, b in spans], 1)
    pieces: list[tuple[int, int]] = []
    for first, stop in padded:
        while stop - first > most:
            low = first + most // 2
            cut = low + int(np.argmin(voice[low : first + most]))
            pieces.append((first, cut))
            first = cut
        pieces.append((first, stop))
    return [(first / fps, stop / fps) for first, stop in pieces if stop > first]


def recognise(
    sound: Sound, heard: Heard, folder: Path, config: SpeechConfig, threads: int
) -> tuple[Transcript, list[Word], list[Removed]]:
    """Words of the clip with their speakers, and text that was never said, with the reason.

    With one voice a channel, each channel is transcribed by itself and its words are its owner's. In a mixture, a word
    belongs to whoever talks most while it is said, or to nobody visible.

    Args:
        sound: the clip's sound.
        heard: who talks when.
        folder: the Whisper model.
        config: options.
        threads: CPU threads.
    """
    duration = len(heard.voice) / 25.0
    if heard.isolation != "channel":
        transcript = _transcribe(sound.mixture, heard.voice, folder, config, threads)
        words, removed = remove(clean_words(transcript.words, duration), heard.voice)
        return transcript, speak_words(words, heard.posterior), removed
    persons = {voice: person for person, voice in zip(heard.speaking, heard.match.voice_of, strict=True)}
    assert sound.channels is not None
    own_words: list[list[Word]] = []
    unsaid: list[Removed] = []
    transcripts: list[Transcript] = []
    for index, channel in enumerate(sound.channels):
        transcript = _transcribe(channel, heard.voices[:, index], folder, config, threads)
        words, gone = remove(clean_words(transcript.words, duration), heard.voices[:, index])
        unsaid += gone
        transcripts.append(transcript)
        owner = persons.get(index)
        own_words.append([Word(w.word, w.start, w.end, w.score, owner) for w in words])
    kept, echoes = drop_echoes(own_words, heard.voices)
    unsaid += [Removed(word.word, word.start, word.end, "echo") for word in echoes]
    everything = sorted((word for own in kept for word in own), key=lambda word: (word.start, word.end))
    main = max(transcripts, key=lambda transcript: len(transcript.words))
    return main, everything, sorted(unsaid, key=lambda one: (one.start, one.end))


def _transcribe(audio: np.ndarray, voice: np.ndarray, folder: Path, config: SpeechConfig, threads: int) -> Transcript:
    chunks = speech_chunks(voice)
    if not chunks:
        return Transcript(language=config.language, words=(), timing="none")
    from pipelines.speech import asr_faster_whisper

    backend = choose_backend(config.backend)
    device = asr_faster_whisper.resolve_device(config.device)
    compute_type = asr_faster_whisper.resolve_compute_type(config.compute_type, device)
    if backend == "whisperx":
        from pipelines.speech import asr_whisperx

        batching = asr_whisperx.load_whisper(folder, device, compute_type, max(1, threads))
        return asr_whisperx.transcribe(batching, audio, chunks, config, device)
    model = asr_faster_whisper.load_whisper(folder, device, compute_type, max(1, threads))
    return asr_faster_whisper.transcribe(model, audio, chunks, config)
