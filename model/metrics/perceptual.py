"""Perceptual distances: ST-LPIPS with weights from the register, LPIPS where its official backbone is present.

Both compare features of a trained network: at each of five depths, features of unit length over the channels, squared
difference, a learned non-negative weight a channel, mean over the picture; the sum over depths is the distance (Zhang
et al., "The unreasonable effectiveness of deep features as a perceptual metric", CVPR 2018). ST-LPIPS (Ghildyal, Liu,
"Shift-tolerant perceptual similarity metric", ECCV 2022) retrains an AlexNet that blurs before every reduction, so that
a shift by a pixel changes little. **The two are different measures: their figures must not be compared.**
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from rsat_data.errors import ModelFileError
from rsat_data.optional import require

if TYPE_CHECKING:
    from torch.nn import Module

MODEL = "st-lpips"
"""Name in the register of model files."""
MIN_SIDE = 32
"""Smaller pictures leave nothing at the last depth."""
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Mean and spread of natural pictures, values in [-1, 1]."""
_CONVOLUTIONS = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")
_SHAPES = ((64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3))
_PADDING = (2, 2, 1, 1, 1)


@dataclass(frozen=True, eq=False)
class StLpips:
    """Weights of ST-LPIPS (AlexNet)."""

    kernels: tuple[tuple[Tensor, Tensor], ...]
    """Weight and bias of the five convolutions."""
    heads: tuple[Tensor, ...]
    """Weight a channel (C,) at each depth."""

    def to(self, device: torch.device | str) -> StLpips:
        """The same weights on another device."""
        return StLpips(
            tuple((weight.to(device), bias.to(device)) for weight, bias in self.kernels),
            tuple(head.to(device) for head in self.heads),
        )

    def features(self, image: Tensor) -> list[Tensor]:
        """Features (B, C, h, w) at five depths of pictures (B, 3, H, W), already shifted and scaled."""
        found = []
        x = image
        for depth, (weight, bias) in enumerate(self.kernels):
            if depth in (1, 2):
                x = _halved(functional.max_pool2d(x, 3, stride=1))
            x = functional.conv2d(x, weight, bias, padding=_PADDING[depth])
            # The first convolution keeps every pixel, so it is blurred and halved too, before the rectifier.
            x = functional.relu(_halved(x) if depth == 0 else x)
            found.append(x)
        return found


def _halved(x: Tensor) -> Tensor:
    """Binomial blur (1 2 1) by (1 2 1) / 16 at every second pixel, the picture mirrored by two pixels at its border."""
    line = x.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
    return functional.conv2d(functional.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


def load_st_lpips(path: Path) -> StLpips:
    """Read the published weights (a plain state dict; nothing in the file is run).

    Raises:
        ModelFileError: not that file, or damaged.
    """
    hint = f"Fetch it again: rsat-data models fetch {MODEL}"
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds, and its unpickler whatever the bytes provoke
        raise ModelFileError(f"{path} is not a plain file of weights ({error}).", hint=hint, path=path) from error
    if not isinstance(state, Mapping):
        raise ModelFileError(f"{path} does not hold the weights of ST-LPIPS.", hint=hint, path=path)

    def tensor(name: str, shape: Sequence[int]) -> Tensor:
        value = state.get(name)
        if not isinstance(value, Tensor) or tuple(value.shape) != tuple(shape) or not bool(value.isfinite().all()):
            raise ModelFileError(f"{path}: {name} is missing or not of shape {tuple(shape)}.", hint=hint, path=path)
        return value.float()

    kernels = tuple(
        (tensor(f"net.{name}.weight", shape), tensor(f"net.{name}.bias", shape[:1]))
        for name, shape in zip(_CONVOLUTIONS, _SHAPES, strict=True)
    )
    heads = tuple(tensor(f"lin{i}.model.1.weight", (1, shape[0], 1, 1)).flatten() for i, shape in enumerate(_SHAPES))
    return StLpips(kernels, heads)


@lru_cache(maxsize=2)
def _registered(device: str) -> StLpips:
    from rsat_data.registry import model_path

    return load_st_lpips(model_path(MODEL)).to(device)


def st_lpips_at_hand(device: torch.device | str = "cpu") -> StLpips | None:
    """The weights if they lie on this machine, else None; opens no connection. For measures that can do without."""
    from rsat_data.registry import get, state

    return _registered(str(device)) if state(get(MODEL)) == "present" else None


def st_lpips(image: Tensor, target: Tensor, mask: Tensor | None = None, weights: StLpips | None = None) -> Tensor:
    """ST-LPIPS (AlexNet) between pictures; 0 for equal ones. Differentiable.

    Args:
        image: (B, H, W, 3) in [0, 1], at least 32 x 32.
        target: likewise.
        mask: (B, H, W) weights >= 0, or bool: each depth's map is resized to the picture (bilinear) and averaged over
            the mask. None: the published mean over each depth's own map.
        weights: None to take them from the register, which fetches them at first use.

    Returns:
        (B,); NaN where the mask is empty.

    Raises:
        OfflineError, ModelFileError: the weights are not here and cannot be had.
    """
    weights = _registered(str(image.device)) if weights is None else weights
    x, y = _prepared(image, target)
    pairs = zip(weights.features(x), weights.features(y), strict=True)
    maps = []
    for (a, b), head in zip(pairs, weights.heads, strict=True):
        unit_a, unit_b = (value / (_length(value) + 1e-10) for value in (a, b))
        maps.append(torch.einsum("bchw,c->bhw", (unit_a - unit_b).square(), head))
    return _summed(maps, mask, image.shape[1:3])


def _length(features: Tensor) -> Tensor:
    """Length over the channels, with a slope of 0 (not NaN) where all of them are 0."""
    squared = features.square().sum(1, keepdim=True)
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, torch.ones_like(squared)).sqrt(), 0.0)


def _prepared(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if image.ndim != 4 or image.shape != target.shape or image.shape[-1] != 3 or min(image.shape[1:3]) < MIN_SIDE:
        raise ValueError(
            f"Expected two batches (B, H, W, 3) of at least {MIN_SIDE} x {MIN_SIDE} pixels, "
            f"got {tuple(image.shape)} and {tuple(target.shape)}"
        )
    shift, scale = image.new_tensor(_SHIFT), image.new_tensor(_SCALE)
    x, y = (((2 * value - 1 - shift) / scale).permute(0, 3, 1, 2) for value in (image, target))
    return x, y


def _summed(maps: Sequence[Tensor], mask: Tensor | None, size: Sequence[int]) -> Tensor:
    if mask is None:
        return torch.stack([each.mean((1, 2)) for each in maps]).sum(0)
    whole = torch.stack(
        [
            functional.interpolate(each[:, None], size=tuple(size), mode="bilinear", align_corners=False)[:, 0]
            for each in maps
        ]
    ).sum(0)
    weight = mask.to(whole.dtype)
    share = weight.sum((1, 2))
    total = (whole * weight).sum((1, 2))
    return torch.where(share > 0, total / share.clamp_min(1e-12), torch.full_like(total, math.nan))


def lpips(image: Tensor, target: Tensor, net: str = "alex") -> Tensor:
    """LPIPS as published, by the package ``lpips`` and torchvision's official backbone, where both are on this machine.

    Nothing is downloaded: the backbone (alexnet-owt-7be5be79.pth or vgg16-397923af.pth) must lie in torch's folder of
    checkpoints, where torchvision keeps it.

    Args:
        image: (B, H, W, 3) in [0, 1].
        target: likewise.
        net: ``alex`` or ``vgg``.

    Returns:
        (B,).

    Raises:
        MissingDependencyError: the package is not installed.
        ModelFileError: the backbone is not here.
    """
    files = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
    if net not in files:
        raise ValueError(f"LPIPS has the networks alex and vgg, not {net!r}")
    path = Path(torch.hub.get_dir()) / "checkpoints" / files[net]
    if not path.is_file():
        raise ModelFileError(
            f"LPIPS needs the official backbone {files[net]}, which is not at {path}.",
            hint="Fetch it from https://download.pytorch.org/models/ into that folder, or report ST-LPIPS instead.",
            path=path,
        )
    model = _lpips_model(net)
    x, y = ((2 * value - 1).permute(0, 3, 1, 2) for value in (image, target))
    return model.to(image.device)(x, y).flatten()  # type: ignore[no-any-return]


@lru_cache(maxsize=2)
def _lpips_model(net: str) -> Module:
    package = require("lpips", needed_for="LPIPS (ST-LPIPS needs no package)")
    return package.LPIPS(net=net, verbose=False).eval()  # type: ignore[no-any-return]
