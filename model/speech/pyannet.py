"""PyanNet, the local speaker segmentation network, in plain torch, with a restricted load of its checkpoint.

The network reads a few seconds of 16 kHz mono audio and gives, about every 17 ms, the probability that each of three
*local* speakers talks. Local means: within one window; which output is which person is arbitrary and differs from
window to window (:mod:`pipelines.speech.diarise` puts them together). Several outputs may be active at once: overlapped
speech is part of the answer.

Architecture: Bredin and Laurent, "End-to-end speaker segmentation for overlap-aware resegmentation", Interspeech 2021:
SincNet features (Ravanelli and Bengio, "Speaker recognition from raw waveform with SincNet", SLT 2018), four
bidirectional LSTM layers, two linear layers, a sigmoid for each speaker. The checkpoint is a training checkpoint: its
pickled part names classes of libraries that are not needed here. They are replaced by an inert stand-in, so loading
runs no code of theirs and needs none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from rsat_data.errors import ModelFileError

SAMPLE_RATE = 16000
#: Length of the windows the network was trained on, in samples (5 s).
WINDOW_SAMPLES = 5 * SAMPLE_RATE
#: Distance of two output frames, in samples: SincNet's stride of 10 and three poolings by 3.
FRAME_STEP = 270
#: Samples that one output frame sees through the convolutions and poolings.
FRAME_FIELD = 991
#: A training checkpoint of this network has 18 MB; anything far larger is not one.
MAX_CHECKPOINT_BYTES = 200_000_000

#: Every global the known checkpoint names beyond torch's own default list. Containers stay what they are; all else
#: becomes :class:`_Inert`.
_CONTAINERS: dict[str, type] = {"builtins.list": list, "builtins.dict": dict, "builtins.int": int}
_INERT_NAMES = (
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.Metadata",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.nodes.AnyNode",
    "pyannote.audio.core.task.Problem",
    "pyannote.audio.core.task.Resolution",
    "pyannote.audio.core.task.Specifications",
    "pyannote.audio.core.model.Introspection",
    "torch.torch_version.TorchVersion",
    "collections.defaultdict",
    "typing.Any",
)


class _Inert(dict):
    """Stands in for every foreign class of a checkpoint: takes whatever it is given and does nothing."""

    def __init__(self, *args: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Drop the state."""


class SincFilters(nn.Module):
    """Band-pass filters given by two frequencies each: 40 cosine and 40 sine filters of 251 taps.

    Filter of band [f1, f2] at time t: cosine (sin(2 pi f2 t) - sin(2 pi f1 t)) / (pi t) up to scale, sine its
    quadrature partner; Hamming window; divided by twice the band width.
    """

    low_hz_: Tensor
    band_hz_: Tensor
    window_: Tensor
    n_: Tensor

    def __init__(self, *, pairs: int = 40, taps: int = 251, stride: int = 10, min_hz: float = 50.0) -> None:
        super().__init__()
        half = taps // 2
        self.stride, self.min_hz = stride, min_hz
        self.register_buffer("low_hz_", torch.zeros(pairs, 1))
        self.register_buffer("band_hz_", torch.full((pairs, 1), min_hz))
        self.register_buffer("window_", torch.zeros(half))
        self.register_buffer("n_", torch.full((1, half), -1.0))

    def filters(self) -> Tensor:
        """Taps, (2 * pairs, 1, taps)."""
        low = self.min_hz + self.low_hz_.abs()
        high = (low + self.min_hz + self.band_hz_.abs()).clamp(self.min_hz, SAMPLE_RATE / 2)
        band = (high - low)[:, :1]
        phase_low, phase_high = low @ self.n_, high @ self.n_  # n_ holds 2 pi t of the taps left of the middle
        even = (phase_high.sin() - phase_low.sin()) / (self.n_ / 2) * self.window_
        odd = (phase_low.cos() - phase_high.cos()) / (self.n_ / 2) * self.window_
        cosine = torch.cat([even, 2 * band, even.flip(1)], dim=1)
        sine = torch.cat([odd, torch.zeros_like(band), -odd.flip(1)], dim=1)
        return (torch.cat([cosine, sine]) / (2 * torch.cat([band, band]))).unsqueeze(1)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, 1, N) samples -> (B, 2 * pairs, M)."""
        return nn.functional.conv1d(waveform, self.filters(), stride=self.stride)


class _SincLayer(nn.Module):
    """Holds the filters under the name the checkpoint has for them."""

    def __init__(self) -> None:
        super().__init__()
        self.filterbank = SincFilters()

    def forward(self, waveform: Tensor) -> Tensor:
        return self.filterbank(waveform)


class SincNet(nn.Module):
    """Waveform (B, 1, N) -> features (B, 60, M): three times convolve, pool by 3, normalise, leaky ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.wav_norm1d = nn.InstanceNorm1d(1, affine=True)
        self.conv1d = nn.ModuleList([_SincLayer(), nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)])
        self.norm1d = nn.ModuleList([nn.InstanceNorm1d(width, affine=True) for width in (80, 60, 60)])

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, 1, N) -> (B, 60, M)."""
        return self._after_first(self.conv1d[0](self.wav_norm1d(waveform)))

    def windows(self, waveform: Tensor, starts: Sequence[int], window: int) -> Tensor:
        """Features (B, 60, M) of ``waveform[start : start + window]`` for each start, as :meth:`forward` gives them.

        The first convolution, most of the work, runs once over what the windows cover: a window's normalisation
        g (x - mean) / deviation + b is one factor and one summand, and a convolution lets both through.

        Args:
            waveform: (N,) samples.
            starts: first samples, rising; multiples of the first convolution's stride.
            window: samples a window.
        """
        bank: SincFilters = self.conv1d[0].filterbank  # type: ignore[union-attr,assignment]
        if any(start % bank.stride for start in starts):
            raise ValueError(f"Windows start at {list(starts)}, not all multiples of {bank.stride}.")
        taps, norm = bank.filters(), self.wav_norm1d
        covered = waveform[starts[0] : starts[-1] + window]
        whole = nn.functional.conv1d(covered[None, None], taps, stride=bank.stride)[0]
        width = (window - taps.shape[2]) // bank.stride + 1
        features = []
        for start in starts:
            variance, mean = torch.var_mean(waveform[start : start + window], correction=0)
            factor = norm.weight / torch.sqrt(variance + norm.eps)
            summand = taps.sum(dim=2) * (norm.bias - mean * factor)
            first = (start - starts[0]) // bank.stride
            own = torch.addcmul(summand, whole[:, first : first + width], factor)
            features.append(self._after_first(own.unsqueeze(0)))
        return torch.cat(features)

    def _after_first(self, x: Tensor) -> Tensor:
        """What follows the first convolution, (B, 80, M') -> (B, 60, M)."""
        x = nn.functional.leaky_relu(self.norm1d[0](nn.functional.max_pool1d(x.abs(), 3)))
        for convolution, norm in zip(self.conv1d[1:], self.norm1d[1:], strict=True):
            x = nn.functional.leaky_relu(norm(nn.functional.max_pool1d(convolution(x), 3)))
        return x


class PyanNet(nn.Module):
    """Local speaker segmentation. See the module's text; sizes are those of the packaged checkpoint."""

    def __init__(self, *, speakers: int = 3, hidden: int = 128, layers: int = 4) -> None:
        super().__init__()
        self.speakers = speakers
        self.sincnet = SincNet()
        self.lstm = nn.LSTM(60, hidden, num_layers=layers, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList([nn.Linear(2 * hidden, 128), nn.Linear(128, 128)])
        self.classifier = nn.Linear(128, speakers)

    def forward(self, waveform: Tensor) -> Tensor:
        """Probability that each local speaker talks.

        Args:
            waveform: (B, N) float32 samples at 16 kHz; N at least 1,261 (two frames), 80,000 in training.

        Returns:
            (B, M, speakers) float32 in [0, 1] with M = :func:`num_frames` (N) (293 for 5 s).
        """
        return self._speakers(self.sincnet(waveform.unsqueeze(1)))

    def windows(self, waveform: Tensor, starts: Sequence[int], *, window: int, batch: int = 32) -> Tensor:
        """As :meth:`forward` on ``waveform[start : start + window]`` for each start, but for rounding; faster.

        Args:
            waveform: (N,) float32 samples at 16 kHz.
            starts: first samples of the windows; multiples of 10.
            window: samples a window.
            batch: windows a pass of the recurrent layers.

        Returns:
            (len(starts), M, speakers) float32 in [0, 1].
        """
        batches = [starts[first : first + batch] for first in range(0, len(starts), batch)]
        return torch.cat([self._speakers(self.sincnet.windows(waveform, several, window)) for several in batches])

    def _speakers(self, features: Tensor) -> Tensor:
        """Features (B, 60, M) -> probabilities (B, M, speakers)."""
        x = self.lstm(features.transpose(1, 2))[0]
        for layer in self.linear:
            x = nn.functional.leaky_relu(layer(x))
        return self.classifier(x).sigmoid()


def num_frames(samples: int) -> int:
    """Output frames for a waveform of ``samples`` samples."""
    frames = (samples - 251) // 10 + 1
    for width in (5, 5):
        frames = frames // 3 - width + 1
    return max(0, frames // 3)


def frame_times(frames: int) -> Tensor:
    """Centres of the first ``frames`` output frames in seconds from the window's start, (frames,) float64."""
    return (torch.arange(frames, dtype=torch.float64) * FRAME_STEP + FRAME_FIELD / 2) / SAMPLE_RATE


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a PyanNet checkpoint, by name, without running any code that the file names.

    Raises:
        ModelFileError: the file is missing, far too large, not a checkpoint, or names something unexpected.
    """
    fetch = "Fetch it again with: rsat-data models fetch pyannote-segmentation"
    if not path.is_file():
        raise ModelFileError(f"The segmentation model is not there: {path}", hint=fetch, path=path)
    if path.stat().st_size > MAX_CHECKPOINT_BYTES:
        raise ModelFileError(f"{path} is too large for a segmentation model.", hint=fetch, path=path)
    allowed: list[Any] = [(_Inert, name) for name in _INERT_NAMES]
    allowed += [(kind, name) for name, kind in _CONTAINERS.items()]
    try:
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(content["state_dict"])
    except (UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()
        raise ModelFileError(
            f"{path} is not a PyanNet checkpoint that can be loaded safely ({reason[0] if reason else error!r}).",
            hint=fetch,
            path=path,
        ) from error
    tensors = {name: value.float() for name, value in state.items() if isinstance(value, Tensor)}
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise ModelFileError(f"{path} holds values that are not finite.", hint=fetch, path=path)
    return tensors


def load_pyannet(path: Path | str, device: str | torch.device = "cpu") -> PyanNet:
    """The network with the weights of ``path`` (the checkpoint file, or a folder that holds ``pytorch_model.bin``).

    Raises:
        ModelFileError: as :func:`read_checkpoint`, or the tensors are those of another network.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "pytorch_model.bin"
    tensors = read_checkpoint(path)
    classifier = tensors.get("classifier.weight", torch.zeros(1, 1))
    network = PyanNet(speakers=int(classifier.shape[0]))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelFileError(
            f"{path} holds the weights of another network than PyanNet.",
            hint="Fetch it again with: rsat-data models fetch pyannote-segmentation",
            path=path,
        ) from error
    return network.eval().requires_grad_(False).to(device)
