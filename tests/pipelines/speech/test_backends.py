"""Chunks to transcribe, and both recognisers on real speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.speech.asr_faster_whisper import load_whisper, transcribe
from pipelines.speech.backends import MAX_CHUNK_S, speech_chunks
from pipelines.speech.config import SpeechConfig
from rsat_data.optional import is_installed

CONFIG = SpeechConfig(beam_size=1, device="cpu", language="en")


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 400)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_chunks_hold_all_speech_and_fit_the_model(levels: list[tuple[float, int]]) -> None:
    voice = np.concatenate([np.full(count, level) for level, count in levels])
    chunks = speech_chunks(voice)
    covered = np.zeros(len(voice), dtype=bool)
    for start, end in chunks:
        assert 0 <= start < end <= len(voice) / 25 and end - start <= MAX_CHUNK_S + 0.04
        covered[round(start * 25) : round(end * 25)] = True
    assert covered[voice >= 0.4].all()
    assert all(after[0] >= before[1] for before, after in zip(chunks, chunks[1:], strict=False))


def test_nothing_to_transcribe(whisper_folder: Path) -> None:
    model = load_whisper(whisper_folder, "cpu", "int8", 2)
    assert transcribe(model, np.zeros(16000, np.float32), [], CONFIG).words == ()


@pytest.mark.full
@pytest.mark.skipif(not is_installed("whisperx"), reason="whisperx is not installed: make test-full has it")
def test_whisperx_hears_the_same(whisper_folder: Path, telephone_call) -> None:
    from pipelines.speech import asr_whisperx

    part = telephone_call[0][8 * 16000 : 18 * 16000]
    model = asr_whisperx.load_whisper(whisper_folder, "cpu", "int8", 2)
    found = asr_whisperx.transcribe(model, part, [(0.2, 6.3), (6.3, 10.0)], CONFIG, "cpu")
    text = " ".join(word.word for word in found.words).lower()
    assert "diane" in text and "new jersey" in text and "texas" in text
    plain = transcribe(load_whisper(whisper_folder, "cpu", "int8", 2), part, [(0.2, 6.3), (6.3, 10.0)], CONFIG)
    when = {word.word.strip(".,").lower(): word.start for word in plain.words}
    both = [(when[name], word.start) for word in found.words if (name := word.word.strip(".,").lower()) in when]
    assert len(both) >= 8
    assert np.median([abs(a - b) for a, b in both]) < 0.2


@pytest.mark.full
@pytest.mark.skipif(not is_installed("whisperx"), reason="whisperx is not installed: make test-full has it")
def test_whisperx_says_where_alignment_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.speech.asr_whisperx import alignment_source
    from rsat_data.errors import ModelFileError

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert alignment_source("en", SpeechConfig(align="off")) is None
    assert alignment_source("en", SpeechConfig()) is None  # nothing cached
    with pytest.raises(ModelFileError, match="wav2vec2"):
        alignment_source("en", SpeechConfig(align_model=str(tmp_path)))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "wav2vec2_fairseq_base_ls960_asr_ls960.pth").write_bytes(b"")
    assert alignment_source("en", SpeechConfig()) == "WAV2VEC2_ASR_BASE_960H"
