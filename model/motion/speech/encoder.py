"""What an encoder of speech is, and which there are."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from rsat_data.errors import ConfigError

PRETRAINED = ("wav2vec2", "hubert", "wavlm")
"""Kinds that transformers loads from a folder of weights."""


class SpeechEncoder(Protocol):
    """Turns sound into features, a whole number of them a frame. It has no weights that are trained here."""

    @property
    def per_frame(self) -> int:
        """Feature vectors a frame of 640 samples."""

    @property
    def channels(self) -> int:
        """Numbers a feature vector."""

    @property
    def causal(self) -> bool:
        """Whether features of frame i need no samples beyond 640 (i + 1)."""

    @property
    def key(self) -> str:
        """Says everything that decides the features: cached ones belong to one key."""

    def features(self, audio: np.ndarray) -> np.ndarray:
        """(640 T,) float32 at 16 kHz -> (T * per_frame, channels) float32; rows i * per_frame on are frame i's."""


def open_encoder(name: str, weights: str = "", device: str = "cpu") -> SpeechEncoder:
    """The encoder called ``name``.

    Args:
        name: logmel, or wav2vec2, hubert, wavlm with ``weights``.
        weights: folder with config.json and model.safetensors, for a pre-trained one.
        device: where a pre-trained one runs.

    Raises:
        ConfigError: there is none of that name.
        ModelFileError: its weights are not there.
        MissingDependencyError: transformers is not installed.
    """
    if name == "logmel":
        from model.motion.speech.logmel import LogMel

        return LogMel()
    if name in PRETRAINED:
        from model.motion.speech.pretrained import Pretrained

        return Pretrained(name, weights, device)
    raise ConfigError(f"There is no speech encoder {name!r}.", hint=f"Encoders: logmel, {', '.join(PRETRAINED)}.")
