"""Codes of the frames a fit looks at, in tensors, and small corrections to those of training frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.avatar.footage import Footage, Frame
from model.avatar.posing import rest_pose
from model.camera import Camera
from model.head.load import CODE_NAMES

_SPREAD = {"expression": 0.1, "jaw": 0.05, "neck": 0.05, "eyes": 0.05, "rotation": 0.02, "translation": 0.002}
"""Size of a usual error of each code: the unit of corrections. Radians, metres, shares of full strength."""
_BETA1, _BETA2, _EPS = 0.9, 0.99, 1e-12


@dataclass(frozen=True, eq=False)
class Track:
    """M frames, in order of time."""

    frames: tuple[Frame, ...]
    """Which ones."""
    codes: dict[str, Tensor]
    """expression (M, E), jaw (M, 3), neck (M, 3), eyes (M, 6), rotation (M, 3), translation (M, 3), as tracked."""
    rest: Tensor
    """(M, 6) mean head pose of each frame's row."""
    cameras: tuple[Camera, ...]
    """One a row, at the size of the crops."""

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device: torch.device | str) -> Track:
        """The same on another device."""
        if self.rest.device == torch.device(device):
            return self
        return replace(
            self, codes={name: value.to(device) for name, value in self.codes.items()}, rest=self.rest.to(device)
        )

    def at(self, index: int | slice) -> dict[str, Tensor]:
        """Codes of one frame, with a batch of 1, or of several."""
        which = slice(index, index + 1) if isinstance(index, int) else index
        return {name: value[which] for name, value in self.codes.items()}

    def camera(self, index: int, size: int) -> Camera:
        """Camera of a frame for pictures of ``size`` x ``size``."""
        return self.cameras[self.frames[index].row].scaled(size, size)


def make_track(footage: Sequence[Footage], frames: Sequence[Frame], device: torch.device | str = "cpu") -> Track:
    """Tensors of some frames of a subject."""
    rests = []
    for row in footage:
        usable = torch.from_numpy(row.usable())
        rotation, translation = (torch.from_numpy(np.array(row.codes[n])) for n in ("rotation", "translation"))
        rests.append(rest_pose(rotation, translation, usable))
    codes = {
        name: torch.from_numpy(np.stack([footage[f.row].codes[name][f.time] for f in frames])).to(device)
        for name in (*CODE_NAMES, *(["torso"] if all("torso" in row.codes for row in footage) else []))
    }
    rest = torch.stack([rests[f.row] for f in frames]).to(device)
    return Track(tuple(frames), codes, rest, tuple(row.camera for row in footage))


class Corrections:
    """Corrections (M, D) to the codes of a track, in units of usual errors, learnt a frame at a time.

    Each frame has its own course of Adam, so frames that are not looked at stay. Neighbours in time pull at each other.

    Args:
        track: the frames.
        smooth: weight of the difference to the mean of both neighbours.
        weight: weight of the correction's own size.
    """

    def __init__(self, track: Track, smooth: float, weight: float) -> None:
        self.names = [name for name in CODE_NAMES if name != "neck"]
        self.sizes = [track.codes[name].shape[1] for name in self.names]
        device = track.rest.device
        units = [torch.full((size,), _SPREAD[name]) for name, size in zip(self.names, self.sizes, strict=True)]
        self.units = torch.cat(units).to(device)
        self.values = torch.zeros(len(track), len(self.units), device=device)
        self.first, self.second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.count = torch.zeros(len(track), device=device)
        self.smooth, self.weight = smooth, weight
        places = [(frame.row, frame.time) for frame in track.frames]
        # Frames set apart for validation leave gaps of one or two frames: neighbours are those within three.
        self.before = [i > 0 and places[i - 1][0] == r and t - places[i - 1][1] <= 3 for i, (r, t) in enumerate(places)]

    def leaf(self, index: int) -> Tensor:
        """(1, D) the correction of a frame, to differentiate by."""
        return self.values[index : index + 1].clone().requires_grad_(True)

    def apply(self, codes: dict[str, Tensor], leaf: Tensor) -> dict[str, Tensor]:
        """Codes with a correction (B, D) added."""
        parts = torch.split(leaf * self.units, self.sizes, dim=1)
        return codes | {name: codes[name] + part for name, part in zip(self.names, parts, strict=True)}

    @torch.no_grad()
    def step(self, index: int, grad: Tensor, rate: float) -> None:
        """One step of Adam of a frame along (1, D), ``rate`` in units of usual errors."""
        value = self.values[index]
        grad = torch.nan_to_num(grad[0], 0.0, 0.0, 0.0) + self.weight * value
        near = []
        if self.before[index]:
            near.append(self.values[index - 1])
        if index + 1 < len(self.values) and self.before[index + 1]:
            near.append(self.values[index + 1])
        if near:
            grad = grad + self.smooth * (value - sum(near) / len(near))
        self.count[index] += 1
        count = float(self.count[index])
        self.first[index] = _BETA1 * self.first[index] + (1 - _BETA1) * grad
        self.second[index] = _BETA2 * self.second[index] + (1 - _BETA2) * grad * grad
        m = self.first[index] / (1 - _BETA1**count)
        v = self.second[index] / (1 - _BETA2**count)
        value -= rate * m / (v.sqrt() + _EPS)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"values": self.values, "first": self.first, "second": self.second, "count": self.count}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what :meth:`tensors` gave."""
        for name, value in self.tensors().items():
            value.copy_(tensors[name])
