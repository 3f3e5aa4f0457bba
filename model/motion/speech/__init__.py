"""Features of speech: one interface, a log-mel spectrogram built in, pre-trained encoders where their weights are."""

from __future__ import annotations

from model.motion.speech.encoder import SpeechEncoder, open_encoder
from model.motion.speech.logmel import LogMel

__all__ = ["LogMel", "SpeechEncoder", "open_encoder"]
