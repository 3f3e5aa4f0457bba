"""Small sets of Gaussians for the tests, and a picture drawn with plain numbers, pixel by pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from model.camera import Camera
from model.raster.gaussian import Splats, rasterize_gaussians

CAMERA = Camera(60.0, 66.0, 20.3, 30.1, 53, 47)
"""Odd size, principal point off the centre, two focal lengths."""


@dataclass(frozen=True)
class Scene:
    means: torch.Tensor
    quats: torch.Tensor
    scales: torch.Tensor
    opacities: torch.Tensor
    colours: torch.Tensor

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.means, self.quats, self.scales, self.opacities, self.colours)

    def to(self, dtype: torch.dtype) -> Scene:
        return Scene(*(t.to(dtype) for t in self.tensors))

    def pick(self, which: torch.Tensor) -> Scene:
        """Some of the Gaussians; colours are (B, N, 3) and opacities (B, N) here."""
        return Scene(*(t[:, which] for t in self.tensors))

    def leaves(self) -> Scene:
        return Scene(*(t.detach().clone().requires_grad_() for t in self.tensors))

    def draw(self, camera: Camera = CAMERA, backend: str = "numba", **options: object) -> Splats:
        return rasterize_gaussians(*self.tensors, camera, backend=backend, **options)  # type: ignore[arg-type]


def cloud(seed: int, count: int, batch: int = 1, scale: float = 0.05, dtype: torch.dtype = torch.float64) -> Scene:
    """Gaussians of all orientations around the optical axis, some outside of the picture, one in ten behind."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(batch, count, *shape, generator=g, dtype=torch.float64)

    means = normal(3) * torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    means[..., 2] += 1.2
    means[:, ::10, 2] -= 2.0
    opacities = torch.rand(batch, count, generator=g, dtype=torch.float64)
    scene = Scene(means, normal(4), torch.exp(normal(3) * 0.6) * scale, opacities, torch.sigmoid(normal(3)))
    return scene.to(dtype)


def single(**changes: object) -> Scene:
    """One Gaussian in front of the camera, float64."""
    values = {
        "means": [[[0.0, 0.0, 1.0]]],
        "quats": [[[1.0, 0.0, 0.0, 0.0]]],
        "scales": [[[0.05, 0.05, 0.05]]],
        "opacities": [[0.8]],
        "colours": [[[0.2, 0.5, 0.9]]],
    }
    return replace(Scene(*(torch.tensor(values[name], dtype=torch.float64) for name in values)), **changes)  # type: ignore[arg-type]


def view_matrix() -> torch.Tensor:
    """A rotation about a slanted axis and a shift, (4, 4) float64."""
    axis = np.array([0.3, -0.8, 0.5])
    axis /= np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    angle = 0.15
    view = np.eye(4)
    view[:3, :3] += math.sin(angle) * -cross + (1 - math.cos(angle)) * cross @ cross
    view[:3, 3] = 0.05, -0.02, 0.1
    return torch.from_numpy(view)


def by_hand(scene: Scene, camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rgb (H, W, 3), alpha, summed depth (H, W) of one picture in the order in which gsplat's kernel does it."""
    means, quats, scales, opacities, colours = (t[0].double().numpy() for t in scene.tensors)
    flat = []
    for mean, quat, scale, opacity, colour in zip(means, quats, scales, opacities, colours, strict=True):
        x, y, z = mean
        if z < 0.01 or opacity < 1 / 255:
            continue
        qw, qx, qy, qz = quat / np.linalg.norm(quat)
        rotation = np.array(
            [
                [1 - 2 * (qy**2 + qz**2), 2 * (qx * qy - qw * qz), 2 * (qx * qz + qw * qy)],
                [2 * (qx * qy + qw * qz), 1 - 2 * (qx**2 + qz**2), 2 * (qy * qz - qw * qx)],
                [2 * (qx * qz - qw * qy), 2 * (qy * qz + qw * qx), 1 - 2 * (qx**2 + qy**2)],
            ]
        )
        slack_x, slack_y = 0.3 * 0.5 * camera.width / camera.fx, 0.3 * 0.5 * camera.height / camera.fy
        u = min((camera.width - camera.cx) / camera.fx + slack_x, max(-(camera.cx / camera.fx + slack_x), x / z))
        v = min((camera.height - camera.cy) / camera.fy + slack_y, max(-(camera.cy / camera.fy + slack_y), y / z))
        jacobian = np.array([[camera.fx / z, 0, -camera.fx * u / z], [0, camera.fy / z, -camera.fy * v / z]])
        covariance = jacobian @ rotation @ np.diag(scale**2) @ rotation.T @ jacobian.T + 0.3 * np.eye(2)
        middle = np.array([camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy])
        flat.append((z, middle, np.linalg.inv(covariance), opacity, colour))
    flat.sort(key=lambda item: item[0])
    rgb, depth = np.zeros((camera.height, camera.width, 3)), np.zeros((camera.height, camera.width))
    left = np.ones((camera.height, camera.width))
    for row in range(camera.height):
        for column in range(camera.width):
            for z, middle, inverse, opacity, colour in flat:
                d = np.array([column + 0.5, row + 0.5]) - middle
                alpha = min(0.999, opacity * math.exp(-0.5 * d @ inverse @ d))
                if alpha < 1 / 255:
                    continue
                if left[row, column] * (1 - alpha) <= 1e-4:
                    break
                rgb[row, column] += alpha * left[row, column] * colour
                depth[row, column] += alpha * left[row, column] * z
                left[row, column] *= 1 - alpha
    return rgb, 1 - left, depth
