"""Plain portraits of a head: painted regions, smooth normals, one soft light. Enough for a face detector and an eye."""

from __future__ import annotations

import torch
from torch import Tensor

from model.camera import Camera
from model.head.load import HeadModel
from model.raster import rasterize
from model.raster.shading import vertex_normals

PAINT = {
    "skin": (0.80, 0.60, 0.50),
    "neck": (0.76, 0.57, 0.47),
    "scalp": (0.62, 0.47, 0.40),
    "brows": (0.28, 0.19, 0.15),
    "lips": (0.66, 0.30, 0.29),
    "mouth_interior": (0.35, 0.10, 0.10),
    "eye_sockets": (0.55, 0.36, 0.32),
    "eyes": (0.93, 0.92, 0.90),
    "teeth": (0.92, 0.90, 0.84),
    "tongue": (0.70, 0.35, 0.35),
    "lashes": (0.62, 0.45, 0.38),
    "upper_lashes": (0.16, 0.11, 0.09),
}
"""Linear-ish RGB of the vertex groups, painted in this order."""
IRIS, PUPIL = (0.25, 0.16, 0.10), (0.02, 0.02, 0.02)
IRIS_RADIUS_M, PUPIL_RADIUS_M = 0.0059, 0.0022
BACKGROUND = (0.55, 0.60, 0.66)
LIGHT = (-0.35, -0.6, -1.0)
"""Direction towards the light, camera frame."""


def painted(head: HeadModel) -> Tensor:
    """(V, 3) colours of the vertices by group."""
    colours = torch.zeros(head.num_vertices, 3, device=head.device)
    for group, colour in PAINT.items():
        if group in head.groups:
            colours[head.groups[group]] = torch.tensor(colour, device=head.device)
    return colours


def portrait(
    head: HeadModel, vertices: Tensor, camera: Camera, oversample: int = 2, flat: Tensor | None = None
) -> Tensor:
    """Render posed heads.

    Args:
        head: the model; its groups say what is painted how.
        vertices: (B, V, 3) camera frame, metres.
        camera: the view.
        oversample: each pixel is the mean of this many squared samples.
        flat: (V, 3) colours in [0, 1] to paint instead of the groups' own.

    Returns:
        (B, H, W, 3) uint8 RGB.
    """
    n = oversample
    fine = Camera(camera.fx * n, camera.fy * n, camera.cx * n, camera.cy * n, camera.width * n, camera.height * n)
    batch = vertices.shape[0]
    fragments = rasterize(vertices, head.faces, fine)
    covered = torch.nonzero(fragments.face_id.reshape(-1) >= 0).squeeze(1)
    face = fragments.face_id.reshape(-1)[covered].long()
    bary = fragments.bary.reshape(-1, 3)[covered]
    item = torch.div(covered, fine.height * fine.width, rounding_mode="floor")
    corner = head.faces[face]

    def mixed(attribute: Tensor) -> Tensor:  # (V, C) -> (N, C)
        return (attribute[corner] * bary[..., None]).sum(1)

    normals = vertex_normals(vertices, head.faces).reshape(-1, 3)
    normal = (normals[corner + (item * head.num_vertices)[:, None]] * bary[..., None]).sum(1)
    # Template positions tell where on the eyeball a pixel lies, whatever the pose: irises come out round.
    albedo = mixed(painted(head) if flat is None else flat)
    if flat is None:
        _paint_irises(head, face, albedo, mixed(head.v_template))
    light = torch.nn.functional.normalize(torch.tensor(LIGHT, device=head.device), dim=0)
    shade = 0.45 + 0.6 * (torch.nn.functional.normalize(normal, dim=-1) @ light).clamp(min=0)
    image = torch.tensor(BACKGROUND, device=head.device).repeat(batch * fine.height * fine.width, 1)
    image[covered] = albedo * shade[:, None]
    image = image.reshape(batch, camera.height, n, camera.width, n, 3).mean((2, 4))
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _paint_irises(head: HeadModel, face: Tensor, albedo: Tensor, rest: Tensor) -> None:
    """Paint a round iris and pupil, in place, on the samples (N, 3) that show an eyeball.

    ``face`` (N,) says which face a sample shows, ``rest`` (N, 3) where on the template it lies.
    """
    for side, joint in (("left", 3), ("right", 4)):
        if f"{side}_iris" not in head.groups:
            continue
        on_ball = torch.zeros(head.num_vertices, dtype=torch.bool, device=head.device)
        on_ball[head.groups[f"{side}_eye"]] = True
        here = torch.nonzero(on_ball[head.faces].all(1)[face]).squeeze(1)
        centre = head.J_template[joint]
        axis = torch.nn.functional.normalize(head.v_template[head.groups[f"{side}_iris"]].mean(0) - centre, dim=0)
        offset = rest[here] - centre
        along = offset @ axis
        off_axis = torch.linalg.norm(offset - along[:, None] * axis, dim=-1)
        for radius, paint in ((IRIS_RADIUS_M, IRIS), (PUPIL_RADIUS_M, PUPIL)):
            albedo[here[(along > 0) & (off_axis < radius)]] = torch.tensor(paint, device=head.device)
