"""Light of each row: the clips of one person are filmed under different lamps and with different exposure.

Colours of an avatar are those under the mean light of its rows. In row r a Gaussian on a triangle with the normal n, in
the camera frame, has its colours multiplied, channel by channel, by::

    exp(c_r0 + c_r1 n_x + c_r2 n_y + c_r3 n_z)

The constant is exposure and white balance, the rest says from where more light comes than on the mean. The coefficients
sum to zero over the rows that are trained on; a row that is not, has none, and is drawn under the mean light.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from rsat_data.errors import HeadMismatch

EXTRA = "light"
"""Name among an avatar's extras: (R, 4, 3)."""
ROWS = "light_rows"
"""Name in avatar.json: the rows, in the order of the coefficients."""
_MOST = 2.0
"""Largest logarithm of a factor."""


def centred(light: Tensor, trained: Tensor) -> Tensor:
    """Coefficients (R, 4, 3) whose mean over the rows ``trained`` (R,) bool is zero; zero in the others."""
    mean = light[trained].mean(dim=0)
    return (light - mean) * trained[:, None, None]


def lit(colours: Tensor, vertices: Tensor, faces: Tensor, face: Tensor, light: Tensor | None) -> Tensor:
    """Colours under the light of a row, (B, N, 3); differentiable in colours and light.

    Args:
        colours: (N, 3) or (B, N, 3).
        vertices: (B, V, 3) of the posed mesh, camera frame.
        faces: (F, 3).
        face: (N,) the triangle of each Gaussian.
        light: (4, 3) coefficients of the row; None for the mean light: colours come back as they are.
    """
    if light is None:
        return colours
    corners = vertices.detach()[:, faces]
    normals = torch.linalg.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
    normals = torch.nn.functional.normalize(normals, dim=-1)
    factor = (light[0] + normals @ light[1:]).clamp(-_MOST, _MOST).exp()
    return colours * factor[:, face]


def light_of(avatar: Avatar, row_id: str) -> Tensor | None:
    """(4, 3) coefficients of a row the avatar was fitted to; None for any other: it is drawn under the mean light.

    Raises:
        HeadMismatch: extras of another shape.
    """
    rows = avatar.about.get(ROWS)
    if EXTRA not in avatar.extras or not isinstance(rows, list) or row_id not in rows:
        return None
    found = avatar.extras[EXTRA]
    if tuple(found.shape) != (len(rows), 4, 3):
        raise HeadMismatch(f"The avatar's {EXTRA} is {tuple(found.shape)}, expected {(len(rows), 4, 3)}.")
    return found[rows.index(row_id)]
