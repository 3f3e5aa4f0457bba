"""A voice as a vector: the GE2E speaker encoder (Wan et al., "Generalized end-to-end loss for speaker verification",
2018), three LSTM layers over mel spectrograms, in plain torch, with the weights packaged in Resemblyzer.

Front end of those weights: 16 kHz, windows of 25 ms every 10 ms, 40 mel bands of power (no logarithm) up to 8 kHz on
Slaney's mel scale with triangles of equal area, sound at -30 dB of full scale, pieces of 1.6 s.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor, nn

from rsat_data.errors import ModelFileError

SAMPLE_RATE = 16000
WINDOW, HOP = 400, 160
BANDS = 40
#: Frames of a piece: 1.6 s.
PIECE = 160
#: Numbers in an embedding.
SIZE = 256
_LEVEL_DB = -30.0
_MAX_CHECKPOINT_BYTES = 200_000_000


def mel_of_hz(hz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale: linear up to 1 kHz (15 mels), above that a factor of 6.4 in 27 mels."""
    hz = np.asarray(hz, dtype=np.float64)
    return np.where(hz < 1000.0, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000.0) / 1000.0) / np.log(6.4))


def hz_of_mel(mel: np.ndarray) -> np.ndarray:
    """The inverse of :func:`mel_of_hz`."""
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * np.exp(np.log(6.4) * (np.maximum(mel, 15.0) - 15) / 27))


@lru_cache(maxsize=1)
def mel_filters() -> np.ndarray:
    """Triangles over the power spectrum, (40, 201) float64; each has the area 1 over Hz."""
    edges = hz_of_mel(np.linspace(0.0, mel_of_hz(np.array(SAMPLE_RATE / 2)), BANDS + 2))
    bins = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def mel_power(samples: np.ndarray) -> np.ndarray:
    """Mel power spectrogram (1 + N // 160, 40) float32 of (N,) samples; frame i is centred at sample 160 i."""
    padded = np.pad(np.asarray(samples, dtype=np.float64), WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames * hann, axis=1)))
    return (power @ mel_filters().T).astype(np.float32)


def at_level(samples: np.ndarray, level_db: float = _LEVEL_DB) -> np.ndarray:
    """The same sound, raised to an RMS of ``level_db`` of full scale; a louder one is left as it is."""
    rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0
    gain = 10 ** (level_db / 20) / rms if rms > 0 else 1.0
    return samples * max(gain, 1.0)


class SpeakerEncoder(nn.Module):
    """See the module's text."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, SIZE, num_layers=3, batch_first=True)
        self.linear = nn.Linear(SIZE, SIZE)

    def forward(self, mels: Tensor) -> Tensor:
        """Pieces (B, M, 40) -> embeddings (B, 256), of length 1 and without negative numbers."""
        _, (hidden, _) = self.lstm(mels)
        raw = self.linear(hidden[-1]).relu()
        return raw / raw.norm(dim=1, keepdim=True).clamp_min(1e-9)


def embed(encoder: SpeakerEncoder, samples: np.ndarray) -> np.ndarray:
    """The voice of a stretch of one person's speech.

    Args:
        encoder: from :func:`load_encoder`.
        samples: (N,) float at 16 kHz, silence taken out; at least 1.6 s.

    Returns:
        (256,) float32 of length 1: the mean over pieces of 1.6 s, half of each shared with the next.

    Raises:
        ValueError: it is shorter than a piece.
    """
    if len(samples) < PIECE * HOP:
        raise ValueError(f"A voice takes {PIECE * HOP / SAMPLE_RATE:.1f} s, got {len(samples) / SAMPLE_RATE:.2f} s")
    mels = mel_power(at_level(samples))
    starts = list(range(0, len(mels) - PIECE + 1, PIECE // 2))
    if starts[-1] + PIECE < len(mels) - PIECE // 4:
        starts.append(len(mels) - PIECE)
    with torch.inference_mode():
        pieces = encoder(torch.from_numpy(np.stack([mels[start : start + PIECE] for start in starts])))
    mean = pieces.mean(dim=0)
    return np.asarray((mean / mean.norm()).numpy(), dtype=np.float32)


def load_encoder(path: Path | str) -> SpeakerEncoder:
    """The network with the weights of a checkpoint; no code that the file names is run.

    Raises:
        ModelFileError: missing, far too large, not loadable as plain tensors, or of another network.
    """
    path = Path(path)
    fetch = "Fetch it again with: rsat-data models fetch speaker-embedding"
    if not path.is_file() or path.stat().st_size > _MAX_CHECKPOINT_BYTES:
        raise ModelFileError(f"{path} is no checkpoint of a speaker encoder.", hint=fetch, path=path)
    encoder = SpeakerEncoder()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        wanted = encoder.state_dict()
        tensors = {name: state[name].float() for name in wanted}
        encoder.load_state_dict(tensors)
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError, OSError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ModelFileError(
            f"{path} does not hold the weights of the speaker encoder ({reason}).", hint=fetch, path=path
        ) from error
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise ModelFileError(f"{path} holds values that are not finite.", hint=fetch, path=path)
    return encoder.eval().requires_grad_(False)
