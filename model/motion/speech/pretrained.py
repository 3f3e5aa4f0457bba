"""wav2vec 2.0, HuBERT and WavLM by transformers: frozen, from a local folder of weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from model.motion.conversation import SAMPLES_PER_FRAME
from rsat_data.content import file_sha256
from rsat_data.errors import ModelFileError
from rsat_data.optional import require

_CLASSES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}
_LEAST = 400
_PIECE_FRAMES, _MARGIN_FRAMES = 750, 50


class Pretrained:
    """A frozen encoder whose last hidden states, about 50 a second, are brought to one a frame.

    Long recordings are encoded in pieces of 30 s with 2 s of margin. Attention sees both sides: not causal.
    """

    def __init__(self, kind: str, weights: str, device: str = "cpu") -> None:
        folder = Path(weights).expanduser() if weights else None
        files = [] if folder is None else [folder / "config.json", folder / "model.safetensors"]
        absent = [str(file) for file in files if not file.is_file()]
        if folder is None or absent:
            raise ModelFileError(
                f"The weights of the speech encoder {kind} are not there"
                + (f": {absent[0]} is missing." if absent else ": no folder was given."),
                hint="Put config.json and model.safetensors (no pickle) in a folder and name it with "
                "--set speech.weights=FOLDER; or leave speech.encoder at logmel, which needs none.",
                path=folder,
            )
        transformers = require("transformers", needed_for=f"the speech encoder {kind}")
        self.kind, self.device = kind, device
        self._key = hashlib.sha256("".join(file_sha256(file) for file in files).encode()).hexdigest()[:16]
        try:
            model = getattr(transformers, _CLASSES[kind]).from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelFileError(f"{folder} holds no {kind} that can be loaded: {error}.", path=folder) from error
        self.model: Any = model.eval().requires_grad_(False).to(device)

    @property
    def per_frame(self) -> int:
        """One vector a frame."""
        return 1

    @property
    def channels(self) -> int:
        """Width of the hidden states."""
        return int(self.model.config.hidden_size)

    @property
    def causal(self) -> bool:
        """Attention looks ahead."""
        return False

    @property
    def key(self) -> str:
        """Kind and hash of the weights."""
        return f"{self.kind}-{self._key}"

    def features(self, audio: np.ndarray) -> np.ndarray:
        """(640 T,) -> (T, channels) float32."""
        count = len(audio) // SAMPLES_PER_FRAME
        parts = []
        for start in range(0, count, _PIECE_FRAMES):
            stop = min(start + _PIECE_FRAMES, count)
            low, high = max(start - _MARGIN_FRAMES, 0), min(stop + _MARGIN_FRAMES, count)
            piece = self._piece(audio[low * SAMPLES_PER_FRAME : high * SAMPLES_PER_FRAME], high - low)
            parts.append(piece[start - low : stop - low])
        return np.concatenate(parts)

    def _piece(self, audio: np.ndarray, frames: int) -> np.ndarray:
        import torch

        scaled = (audio - audio.mean()) / np.sqrt(audio.var() + 1e-7)
        scaled = np.pad(scaled, (0, max(_LEAST - len(scaled), 0)))
        with torch.inference_mode():
            hidden = self.model(torch.from_numpy(scaled.astype(np.float32))[None].to(self.device)).last_hidden_state
        found = hidden[0].float().cpu().numpy()
        # State k is centred on sample 320 k + 200 (kernel 400, stride 320); frame i on 640 i + 320.
        wanted = (np.arange(frames) * SAMPLES_PER_FRAME + 320 - 200) / 320
        low = np.clip(np.floor(wanted).astype(int), 0, len(found) - 1)
        high = np.minimum(low + 1, len(found) - 1)
        share = np.clip(wanted - low, 0, 1)[:, None]
        return (found[low] * (1 - share) + found[high] * share).astype(np.float32)
