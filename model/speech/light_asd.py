"""Light-ASD, the active speaker network, in plain torch: does this face say what is heard, frame by frame.

Two small encoders, of the face's grey picture and of the sound's cepstra (MFCC), each split into convolutions over
space (or frequency) and over time with fields of three and five; their sum goes through a recurrent layer in either
direction.

Architecture: Liao et al., "A Light Weight Model for Active Speaker Detection", CVPR 2023. The sizes are those of the
published weights, which are read without running any code that the file could name.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rsat_data.errors import ModelFileError

SAMPLE_RATE = 16000
FPS = 25
SIDE = 112
"""Pixels of a face's side."""
CEPSTRA = 13
PER_FRAME = 4
"""Columns of cepstra a frame of the video."""
_WINDOW, _HOP, _FFT, _BANDS, _LIFTER = 400, 160, 512, 26, 22
GREY = (0.4161, 0.1688)
"""Mean and spread of grey values that the weights were trained with."""
_MAX_CHECKPOINT_BYTES = 100_000_000
_WIDTHS = (32, 64, 128)


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """Triangles (26, 257) over the power spectrum, corners at whole bins, evenly spread on the mel scale of HTK."""
    top = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    hz = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
    corners = np.floor((_FFT + 1) * hz / SAMPLE_RATE)
    bins = np.arange(_FFT // 2 + 1)
    low, middle, high = (corners[i : i + _BANDS, None] for i in range(3))
    rising = (bins - low) / np.maximum(middle - low, 1)
    falling = (high - bins) / np.maximum(high - middle, 1)
    return np.where(bins < middle, np.maximum(rising, 0), np.maximum(falling, 0))


def cepstra(samples: np.ndarray, frames: int) -> np.ndarray:
    """Mel cepstra (4 * frames, 13) float32 of (N,) samples in [-1, 1] at 16 kHz.

    As those weights heard them (python_speech_features): pre-emphasis 0.97, windows of 25 ms without taper every 10 ms,
    26 bands, sinusoidal liftering by 22, logarithm of the energy in place of the first. Column i begins at sample
    160 i; sound that is missing is silence.
    """
    from scipy.fft import dct

    signal = np.asarray(samples, dtype=np.float64) * 32768
    count = frames * PER_FRAME
    need = (count - 1) * _HOP + _WINDOW
    emphasised = np.append(signal[:1], signal[1:] - 0.97 * signal[:-1])[:need]
    emphasised = np.pad(emphasised, (0, need - len(emphasised)))
    pieces = np.lib.stride_tricks.sliding_window_view(emphasised, _WINDOW)[::_HOP]
    power = np.square(np.abs(np.fft.rfft(pieces, _FFT, axis=1))) / _FFT
    least = np.finfo(np.float64).eps
    bands = np.log(np.maximum(power @ _filters().T, least))
    found = dct(bands, type=2, axis=1, norm="ortho")[:, :CEPSTRA]
    found *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / _LIFTER)
    found[:, 0] = np.log(np.maximum(power.sum(axis=1), least))
    return found.astype(np.float32)


class _Branch(nn.Module):
    """A convolution over space or frequency, then one over time, with one field."""

    def __init__(self, inputs: int, outputs: int, field: int, *, picture: bool, stride: int) -> None:
        super().__init__()
        half = field // 2
        if picture:
            self.across: nn.Module = nn.Conv3d(
                inputs, outputs, (1, field, field), (1, stride, stride), (0, half, half), bias=False
            )
            self.along: nn.Module = nn.Conv3d(outputs, outputs, (field, 1, 1), padding=(half, 0, 0), bias=False)
        else:
            self.across = nn.Conv2d(inputs, outputs, (field, 1), padding=(half, 0), bias=False)
            self.along = nn.Conv2d(outputs, outputs, (1, field), padding=(0, half), bias=False)
        norm = nn.BatchNorm3d if picture else nn.BatchNorm2d
        self.norm_across, self.norm_along = norm(outputs, eps=1e-3), norm(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm_across(self.across(x)))
        return functional.relu(self.norm_along(self.along(x)))


class _Block(nn.Module):
    """Both fields, summed, and a mixture of channels."""

    def __init__(self, inputs: int, outputs: int, *, picture: bool, stride: int = 1) -> None:
        super().__init__()
        self.three = _Branch(inputs, outputs, 3, picture=picture, stride=stride)
        self.five = _Branch(inputs, outputs, 5, picture=picture, stride=stride)
        self.last: nn.Module = (nn.Conv3d if picture else nn.Conv2d)(outputs, outputs, 1, bias=False)
        self.norm_last = (nn.BatchNorm3d if picture else nn.BatchNorm2d)(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.norm_last(self.last(self.three(x) + self.five(x))))


class LightAsd(nn.Module):
    """The network. See the module's text."""

    def __init__(self) -> None:
        super().__init__()
        sizes = list(zip((1, *_WIDTHS[:-1]), _WIDTHS, strict=True))
        self.faces = nn.ModuleList(
            _Block(before, after, picture=True, stride=2 if before == 1 else 1) for before, after in sizes
        )
        self.sounds = nn.ModuleList(_Block(before, after, picture=False) for before, after in sizes)
        self.forwards = nn.GRU(_WIDTHS[-1], _WIDTHS[-1], batch_first=True)
        self.backwards = nn.GRU(_WIDTHS[-1], _WIDTHS[-1], batch_first=True)
        self.answer = nn.Linear(_WIDTHS[-1], 2)

    def look(self, faces: Tensor) -> Tensor:
        """Features (B, T, 128) of faces (B, T, 112, 112), grey values from 0 to 255."""
        x = ((faces / 255 - GREY[0]) / GREY[1])[:, None]
        for index, block in enumerate(self.faces):
            x = block(x if index == 0 else functional.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)))
        return x.amax(dim=(3, 4)).transpose(1, 2)

    def listen(self, columns: Tensor) -> Tensor:
        """Features (B, T, 128) of cepstra (B, 4 T, 13)."""
        x = columns.transpose(1, 2)[:, None]
        for index, block in enumerate(self.sounds):
            x = block(x if index == 0 else functional.max_pool2d(x, (1, 3), (1, 2), (0, 1)))
        return x.mean(dim=2).transpose(1, 2)

    def weigh(self, seen: Tensor, heard: Tensor) -> Tensor:
        """Log-odds (B, T) that the face says what is heard, of features (B, T, 128) of both."""
        x = functional.gelu(self.forwards(seen + heard)[0])
        x = functional.gelu(self.backwards(x.flip(1))[0].flip(1))
        both = self.answer(x)
        return both[..., 1] - both[..., 0]

    def forward(self, faces: Tensor, columns: Tensor) -> Tensor:
        """Log-odds (B, T), of faces (B, T, 112, 112) and cepstra (B, 4 T, 13)."""
        return self.weigh(self.look(faces), self.listen(columns))


def _ours(name: str) -> str | None:
    """Our name of a tensor of the published file; None where the network in use does without it."""
    parts = name.split(".")
    if parts[0] == "lossAV":
        return f"answer.{parts[-1]}"
    if parts[0] != "model":
        return None
    if parts[1] == "GRU":
        return f"{parts[2].removeprefix('gru_')}s.{parts[3]}"
    side = {"visualEncoder": "faces", "audioEncoder": "sounds"}[parts[1]]
    layer, norm = parts[3].removeprefix("bn_"), "norm_" if parts[3].startswith("bn_") else ""
    block = f"{side}.{int(parts[2].removeprefix('block')) - 1}"
    if layer == "last":
        return f"{block}.{norm}last.{parts[4]}"
    kind, field = layer.split("_")
    branch = {"3": "three", "5": "five"}[field]
    return f"{block}.{branch}.{norm}{'along' if kind == 't' else 'across'}.{parts[4]}"


def load_light_asd(path: Path | str, device: str | torch.device = "cpu") -> LightAsd:
    """The network with the weights of ``path``, ready to be asked.

    Raises:
        ModelFileError: the file is missing, far too large, no checkpoint, of another network, or not finite.
    """
    path = Path(path)
    hint = "Use the file finetuning_TalkSet.model (4.2 MB) of Light-ASD."
    if not path.is_file():
        raise ModelFileError(f"The active speaker model is not there: {path}", hint=hint, path=path)
    if path.stat().st_size > _MAX_CHECKPOINT_BYTES:
        raise ModelFileError(f"{path} is too large for an active speaker model.", hint=hint, path=path)
    network = LightAsd()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        named = {_ours(name): value for name, value in dict(content).items()}
        named.pop(None, None)
        network.load_state_dict(named)  # type: ignore[arg-type]
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError, IndexError, OSError) as error:
        raise ModelFileError(f"{path} does not hold the weights of Light-ASD.", hint=hint, path=path) from error
    if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
        raise ModelFileError(f"{path} holds values that are not finite.", hint=hint, path=path)
    return network.eval().requires_grad_(False).to(device)
