"""Plain portraits of a head: painted regions, smooth normals, one soft light. Enough for a face detector and an eye."""

from __future__ import annotations

import torch
from torch import Tensor

from model.camera import Camera
from model.head.load import HeadModel
from model.raster import interpolate, rasterize

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
    "lashes": (0.12, 0.09, 0.08),
}
"""Linear-ish RGB of the vertex groups, painted in this order."""
IRIS, PUPIL = (0.25, 0.16, 0.10), (0.02, 0.02, 0.02)
IRIS_RADIUS_M, PUPIL_RADIUS_M = 0.0059, 0.0022
BACKGROUND = (0.55, 0.60, 0.66)
LIGHT = (-0.35, -0.6, -1.0)
"""Direction towards the light, camera frame."""


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (B, V, 3) pointing outwards, weighted by area, of vertices (B, V, 3) and faces (F, 3)."""
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    face_normals = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(vertices)
    for k in range(3):
        normals.index_add_(1, faces[:, k], face_normals)
    return torch.nn.functional.normalize(normals, dim=-1)


def painted(head: HeadModel) -> Tensor:
    """(V, 3) colours of the vertices by group."""
    colours = torch.zeros(head.num_vertices, 3, device=head.device)
    for group, colour in PAINT.items():
        if group in head.groups:
            colours[head.groups[group]] = torch.tensor(colour, device=head.device)
    return colours


def portrait(head: HeadModel, vertices: Tensor, camera: Camera, oversample: int = 2, flat: Tensor | None = None) -> Tensor:
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
    # Template positions tell where on the eyeball a pixel lies, whatever the pose: irises come out round.
    place = head.v_template[None].expand(batch, -1, -1)
    colour = (painted(head) if flat is None else flat)[None].expand(batch, -1, -1)
    attributes = torch.cat([vertex_normals(vertices, head.faces), colour, place], dim=-1)
    normal, albedo, rest = interpolate(fragments, head.faces, attributes).split(3, dim=-1)
    seen = fragments.face_id >= 0
    if flat is None:
        albedo = _with_irises(head, fragments.face_id, albedo, rest)
    light = torch.nn.functional.normalize(torch.tensor(LIGHT, device=head.device), dim=0)
    normal = torch.nn.functional.normalize(normal, dim=-1)
    shade = 0.45 + 0.6 * (normal @ light).clamp(min=0)
    image = torch.where(seen[..., None], albedo * shade[..., None], torch.tensor(BACKGROUND, device=head.device))
    image = image.reshape(batch, camera.height, n, camera.width, n, 3).mean((2, 4))
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def _with_irises(head: HeadModel, face_id: Tensor, albedo: Tensor, rest: Tensor) -> Tensor:
    """Paint a round iris and pupil on the pixels that show an eyeball."""
    albedo = albedo.clone()
    for side, joint in (("left", 3), ("right", 4)):
        if f"{side}_iris" not in head.groups:
            continue
        on_ball = torch.zeros(head.num_vertices, dtype=torch.bool, device=head.device)
        on_ball[head.groups[f"{side}_eye"]] = True
        eye_face = torch.cat([on_ball[head.faces].all(1), torch.zeros(1, dtype=torch.bool, device=head.device)])
        centre = head.J_template[joint]
        axis = torch.nn.functional.normalize(head.v_template[head.groups[f"{side}_iris"]].mean(0) - centre, dim=0)
        offset = rest - centre
        off_axis = torch.linalg.norm(offset - (offset @ axis)[..., None] * axis, dim=-1)
        here = eye_face[face_id.long()] & ((offset @ axis) > 0)
        for radius, paint in ((IRIS_RADIUS_M, IRIS), (PUPIL_RADIUS_M, PUPIL)):
            albedo[here & (off_axis < radius)] = torch.tensor(paint, device=head.device)
    return albedo
