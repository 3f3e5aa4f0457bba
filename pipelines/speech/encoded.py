"""Whisper's encoder, asked once for a stretch of speech.

Telling the language, decoding, decoding again with penalties and timing the words each begin with the same question to
the encoder, most of the cost of short clips. A model made by :func:`remembering` keeps the last answers and looks a
stretch up by its log-mel features, so callers need only ask with the same features.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from functools import cache
from typing import Any

import numpy as np

from rsat_data.optional import require

KEPT = 16
"""Answers a model keeps; 3 MB each with whisper-base, 8 MB with large."""


@cache
def remembering(kind: type) -> type:
    """A class as ``kind`` (a WhisperModel of faster-whisper) whose instances ask the encoder once for what they hear.

    On a GPU nothing is kept: the answers lie in its memory, and asking again is cheap there.
    """

    class Remembering(kind):
        """A model that keeps what its encoder said."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()

        def encode(self, features: Any) -> Any:
            """Encoder output (B, frames, width) of log-mel features (B, mels, 3000) or (mels, 3000)."""
            if self.model.device != "cpu":
                return super().encode(features)
            asked = np.ascontiguousarray(features, dtype=np.float32)
            asked = asked[None] if asked.ndim == 2 else asked
            keys = [hashlib.blake2b(one.tobytes(), digest_size=16).digest() for one in asked]
            new = [row for row, key in enumerate(keys) if key not in self._kept]
            if new:
                answers = np.array(super().encode(asked[new]))
                self._kept.update((keys[row], answer) for row, answer in zip(new, answers, strict=True))
            said = np.stack([self._kept[key] for key in keys])
            for key in keys:
                self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return require("ctranslate2", needed_for="speech to text").StorageView.from_array(said)

        def forget(self) -> None:
            """Let go of all answers: the next clip has others."""
            self._kept.clear()

    return Remembering
