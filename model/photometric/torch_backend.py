"""The refinement's operations as batched torch, for a GPU or any other device.

The same formulas as the numba kernels; sums run in another order, so results agree to rounding and not to the last bit.
A window's pictures go to the device once, as they were decoded, and are reduced there. While the codes are solved, the
term's tensors stay on the device (``model.fitting.torch_backend.DeviceTerm``). Memory: the pictures of a window at full
size, then ``FRAMES_AT_ONCE`` frames rasterised and looked at together, then ``torch_term.BYTES_AT_ONCE`` of Jacobians.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from model.camera import Camera
from model.fitting.backend import Solver
from model.fitting.solve import ExtraTerm
from model.fitting.torch_points import Points, upload_points
from model.photometric import torch_view
from model.photometric.appearance import Appearance, factors
from model.photometric.operations import Images, Subject
from model.photometric.torch_appearance import fit_albedo, fit_appearance, fit_gain, shine
from model.photometric.torch_term import TorchTerm
from model.photometric.torch_view import DevicePosed, DeviceSurface, Sites, look
from model.photometric.view import Skin

FRAMES_AT_ONCE = {"cpu": 8, "cuda": 64}
"""Frames posed, rasterised and rendered together: about 20 MB each at 256 x 256 pixels."""


@dataclass(frozen=True)
class TorchBackend:
    """``model.photometric.operations.Backend`` on a device."""

    subject: Subject
    device: str
    solver: Solver

    @property
    def solve(self) -> Solver:
        """See ``Backend``."""
        return self.solver

    @cached_property
    def _place(self) -> torch.device:
        return torch.device(self.device)

    @cached_property
    def _surface(self) -> DeviceSurface:
        return torch_view.upload_surface(self.subject.surface, self._place)

    @cached_property
    def _points(self) -> Points:
        return upload_points(self.subject.points, self._place)

    def _there(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(array, np.float32), device=self._place)

    def _poses(self, codes: np.ndarray, camera: Camera) -> Iterator[tuple[slice, DevicePosed]]:
        """Some frames at a time, posed."""
        shape, root, at = (self._there(array) for array in (self.subject.shape, self.subject.root, codes))
        step = FRAMES_AT_ONCE.get(self._place.type, FRAMES_AT_ONCE["cuda"])
        for first in range(0, len(codes), step):
            part = slice(first, min(first + step, len(codes)))
            yield part, torch_view.posed(self._surface, self._surface.pose(shape, at[part], root), camera)

    @torch.no_grad()
    def load(self, frames: np.ndarray, mattes: np.ndarray | None, size: int) -> Images:
        """See ``Backend``."""
        out = torch.full((len(frames), size, size, 4), 255, dtype=torch.uint8, device=self._place)
        out[..., :3] = _reduced(torch.as_tensor(np.ascontiguousarray(frames), device=self._place), size)
        if mattes is not None:
            out[..., 3:] = _reduced(torch.as_tensor(np.ascontiguousarray(mattes), device=self._place)[..., None], size)
        return out

    @torch.no_grad()
    def halve(self, images: Images) -> Images:
        """See ``Backend``."""
        size = images.shape[1] // 2
        return _reduced(images[:, : 2 * size, : 2 * size], size)

    def join(self, parts: Sequence[Images]) -> Images:
        """See ``Backend``."""
        return torch.cat(list(parts))

    def _looks(
        self, codes: np.ndarray, images: Tensor, camera: Camera, *sites: Sites
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Colour, normal and weight of several sets of places."""
        facing = self.subject.config.facing
        parts = [
            [look(self._surface, posed, images[part], camera, facing, places) for places in sites]
            for part, posed in self._poses(codes, camera)
        ]
        return [
            (torch.cat([part[n][0] for part in parts]), torch.cat([part[n][1] for part in parts]),
             torch.cat([part[n][2] for part in parts]))
            for n in range(len(sites))
        ]  # fmt: skip

    @torch.no_grad()
    def describe(
        self, codes: np.ndarray, images: Images, camera: Camera, texels: bool
    ) -> tuple[Appearance, Skin | None]:
        """See ``Backend``."""
        surface = self._surface
        sites = (surface.samples, surface.texels) if texels else (surface.samples,)
        looks = self._looks(codes, images, camera, *sites)
        found = fit_appearance(*looks[0], surface.samples.skin)
        if not texels:
            return found, None
        light, gain = (torch.as_tensor(values, device=self._place) for values in (found.light, found.gain))
        albedo, known = fit_albedo(*looks[1], light, gain, found.noise)
        return found, Skin(albedo.cpu().numpy(), known.cpu().numpy(), found.light)

    @torch.no_grad()
    def term(self, codes: np.ndarray, images: Images, camera: Camera, appearance: Appearance) -> ExtraTerm:
        """See ``Backend``."""
        subject, config = self.subject, self.subject.config
        ((colour, normal, weight),) = self._looks(codes, images, camera, self._surface.samples)
        lit = shine(normal, self._there(appearance.light)) * self._there(appearance.albedo)
        weight = weight * self._there(appearance.known)
        target = fit_gain(colour, lit, weight)[:, None].float() * lit
        return TorchTerm(
            self._points, images, camera, target, weight * subject.share, subject.deviation(appearance),
            config.cauchy, config.matte_weight,
        )  # fmt: skip

    @torch.no_grad()
    def measure(
        self, codes: np.ndarray, images: Images, camera: Camera, skin: Skin
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``Backend``."""
        surface, facing = self._surface, self.subject.config.facing
        albedo, light = self._there(skin.albedo), self._there(skin.light)
        known = torch.as_tensor(skin.known, device=self._place)
        scaled = self._there(factors()[:, None] * skin.light)
        gains, left = [], []
        for part, posed in self._poses(codes, camera):
            colour, normal, weight = look(surface, posed, images[part], camera, facing, surface.samples)
            expected = shine(normal, light) * albedo[surface.sample_texels]
            gain = fit_gain(colour, expected, weight * known[surface.sample_texels])
            drawn = torch_view.render(surface, posed, albedo, known, scaled, gain.float(), camera)
            gains.append(gain)
            left.append(torch_view.residuals(surface, posed, images[part], *drawn))
        return torch.cat(gains).cpu().numpy(), torch.cat(left).cpu().numpy()


def _reduced(frames: Tensor, size: int) -> Tensor:
    """Frames (T, H, W, C) uint8 averaged to (T, size, size, C) uint8."""
    num, height, width, channels = frames.shape
    out = torch.empty((num, size, size, channels), dtype=torch.uint8, device=frames.device)
    times = height // size
    step = FRAMES_AT_ONCE.get(frames.device.type, FRAMES_AT_ONCE["cuda"])
    for first in range(0, num, step):
        some = frames[first : first + step]
        if height == width and height % size == 0:
            total = some.unflatten(1, (size, times)).unflatten(3, (size, times)).sum((2, 4), dtype=torch.int32)
            small = torch.div(total + times * times // 2, times * times, rounding_mode="floor")
        else:
            small = torch.nn.functional.interpolate(some.permute(0, 3, 1, 2).float(), (size, size), mode="area")
            small = small.permute(0, 2, 3, 1).add(0.5).clamp(0, 255)
        out[first : first + step] = small.to(torch.uint8)
    return out
