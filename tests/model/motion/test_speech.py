from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.motion.speech import LogMel, open_encoder
from rsat_data.errors import ConfigError, ModelFileError

FRAMES = 12


@settings(max_examples=60, deadline=None)
@given(sample=st.integers(0, 640 * FRAMES - 1))
def test_an_impulse_shows_in_its_own_frame_and_never_before(sample: int) -> None:
    encoder = LogMel()
    silence, click = np.zeros(640 * FRAMES, np.float32), np.zeros(640 * FRAMES, np.float32)
    click[sample] = 0.9
    changed = np.abs(encoder.features(click) - encoder.features(silence)).max(axis=1).reshape(FRAMES, 4).max(axis=1)
    frame = sample // 640
    assert (changed[:frame] == 0).all()
    assert (changed[frame + 2 :] == 0).all()
    # The taper of a window hides a sample at the end of a frame; the next frame's first columns see it.
    assert frame == FRAMES - 1 or changed[frame : frame + 2].max() > 0.3
    if sample % 640 < 500:
        assert changed[frame] > 0.3


def test_a_stream_gives_the_same_features() -> None:
    encoder = LogMel()
    audio = np.random.default_rng(0).normal(0, 0.1, 640 * FRAMES).astype(np.float32)
    whole = encoder.features(audio)
    assert whole.shape == (4 * FRAMES, 64) and whole.dtype == np.float32
    padded = np.concatenate([np.zeros(encoder.history, np.float32), audio])
    pieces = [encoder.continued(padded[640 * i : encoder.history + 640 * (i + 1)]) for i in range(FRAMES)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_a_tone_lands_in_its_band() -> None:
    time = np.arange(640 * 4) / 16000
    low, high = (LogMel().features(0.1 * np.sin(2 * np.pi * f * time)).mean(axis=0) for f in (200.0, 3000.0))
    mel = 2595 * np.log10(1 + np.array([200.0, 3000.0]) / 700)
    grid = np.linspace(2595 * np.log10(1 + 50 / 700), 2595 * np.log10(1 + 8000 / 700), 66)[1:-1]
    assert abs(int(low.argmax()) - int(np.abs(grid - mel[0]).argmin())) <= 1
    assert abs(int(high.argmax()) - int(np.abs(grid - mel[1]).argmin())) <= 1


def test_encoders_without_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no folder was given") as found:
        open_encoder("wavlm")
    assert "speech.weights" in found.value.hint
    with pytest.raises(ModelFileError, match=r"config\.json is missing"):
        open_encoder("hubert", str(tmp_path))
    with pytest.raises(ConfigError, match="no speech encoder"):
        open_encoder("mfcc")


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_a_pretrained_encoder_from_a_folder(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    name = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}[kind]
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = getattr(transformers, f"{name}Config")(**size, conv_dim=(8,) * 7, num_conv_pos_embeddings=16,
                                                    num_conv_pos_embedding_groups=2)  # fmt: skip
    getattr(transformers, f"{name}Model")(config).save_pretrained(tmp_path)
    encoder = open_encoder(kind, str(tmp_path))
    audio = np.random.default_rng(0).normal(0, 0.1, 640 * FRAMES).astype(np.float32)
    found = encoder.features(audio)
    assert found.shape == (FRAMES, 16) and np.isfinite(found).all()
    assert encoder.per_frame == 1 and not encoder.causal and encoder.key.startswith(kind)
    np.testing.assert_array_equal(found, encoder.features(audio))
