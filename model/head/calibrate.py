"""Finds where MediaPipe's 478 landmarks lie on any head model: render it, detect, cast the points back on the mesh.

    python -m model.head.calibrate model/head/open_head.safetensors

Portraits of several identities are rendered from several views, with the mouth closed and slightly open. Each
detected landmark is a pixel, each pixel shows a face of the mesh at known barycentric coordinates, and these name a
point of the template whatever the identity and pose. Per landmark the points of all portraits are merged by a
weighted geometric median, and the median is put back on the surface. Irises are cast on the eyeballs, so they turn
with the eye joints; all others are cast on the skin.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.camera import Camera
from model.head.file import read_head_file, write_head_file
from model.head.groups import face_mask
from model.head.landmarks import NUM_LANDMARKS, LandmarkEmbedding
from model.head.load import OPEN_HEAD, HeadModel, head_from_arrays
from model.head.portrait import portrait
from model.raster import rasterize
from model.raster.shading import vertex_normals
from rsat_data.errors import ModelFileError
from rsat_data.optional import require

Detector = Callable[[np.ndarray], "np.ndarray | None"]
"""(H, W, 3) uint8 RGB -> (478, 2) pixels, or None where no face is found."""

FIRST_IRIS = 468
NOT_SKIN = ("eyes", "lashes", "teeth", "tongue", "mouth_interior")
"""Groups that a skin landmark cannot lie on."""


@dataclass(frozen=True)
class CalibrationConfig:
    """Which portraits are made, and how their points are merged."""

    identities: int = 16
    """Number of random identities; the first is the average head."""
    identity_scale: float = 0.8
    """Standard deviation of the shape codes: a little under that of the population, so that faces stay ordinary."""
    yaw_deg: tuple[float, ...] = (-32.0, -16.0, 0.0, 16.0, 32.0)
    """Turns to the side, degrees."""
    pitch_deg: tuple[float, ...] = (-14.0, 0.0, 14.0)
    """Nods, degrees; every pitch is seen with every yaw."""
    jaw_rad: tuple[float, ...] = (0.0, 0.10)
    """Jaw angles; identities take turns, so that both lips' inner edges are seen apart."""
    size: int = 512
    """Width and height of a portrait, pixels."""
    distance_m: float = 0.75
    """Distance of the camera from the head's origin."""
    min_cosine: float = 0.25
    """Surface seen more obliquely than this (cosine to the line of sight) is not used."""
    hidden_sine: float = 0.2
    """Turned away by this much (sine of the yaw, for a landmark on the outline), a landmark is not used."""
    spread_m: float = 0.003
    """A landmark with this spread gets half the weight of a perfect one."""
    seed: int = 7
    """Seed of the identities."""


@contextmanager
def face_landmarker(path: Path) -> Iterator[Detector]:
    """MediaPipe's FaceLandmarker for still images, open within a ``with`` block.

    Args:
        path: the file ``face_landmarker.task``.
    """
    mediapipe = require("mediapipe", needed_for="Landmark calibration")
    vision = mediapipe.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(path)),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=1,
    )

    with vision.FaceLandmarker.create_from_options(options) as landmarker:

        def detect(image: np.ndarray) -> np.ndarray | None:
            found = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image))
            if not found.face_landmarks:
                return None
            height, width = image.shape[:2]
            return np.array([[point.x * width, point.y * height] for point in found.face_landmarks[0]])

        yield detect


def view_matrix(yaw_deg: float, pitch_deg: float) -> Tensor:
    """(3, 3) rotation: first yaw about y, then pitch about x."""
    yaw, pitch = np.radians(yaw_deg), np.radians(pitch_deg)
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    return torch.tensor(np.array(about_x) @ np.array(about_y), dtype=torch.float32)


def portraits(head: HeadModel, config: CalibrationConfig) -> Iterator[tuple[Tensor, float]]:
    """Posed vertices (1, V, 3) in the camera frame and the yaw (degrees), one portrait after the other."""
    generator = torch.Generator().manual_seed(config.seed)
    shapes = config.identity_scale * torch.randn(config.identities, head.num_shape, generator=generator)
    shapes[0] = 0
    for i, shape in enumerate(shapes):
        jaw = torch.tensor([[config.jaw_rad[i % len(config.jaw_rad)], 0.0, 0.0]])
        vertices, _ = head.pose(shape, jaw=jaw)
        for yaw in config.yaw_deg:
            for pitch in config.pitch_deg:
                yield vertices @ view_matrix(yaw, pitch).T + torch.tensor([0.0, 0.0, config.distance_m]), yaw


def camera_of(config: CalibrationConfig) -> Camera:
    """A camera that shows the head with a margin: 0.34 m across at the head's distance."""
    focal = config.size * config.distance_m / 0.34
    return Camera(focal, focal, config.size / 2, config.size / 2, config.size, config.size)


def calibrate(head: HeadModel, detect: Detector, config: CalibrationConfig | None = None) -> LandmarkEmbedding:
    """Landmark embedding of any head model.

    Args:
        head: the model, on the CPU. Its groups ``eyes``, ``lashes``, ``teeth``, ``tongue`` and ``mouth_interior`` are
            used where they exist.
        detect: the landmark detector.
        config: portraits and merging.

    Raises:
        ModelFileError: the detector finds a face in fewer than half of the portraits.
    """
    config = config or CalibrationConfig()
    camera = camera_of(config)
    # A ray that misses a lid's edge by a hair goes on into the socket: it must count as a miss, not as a deep hit.
    hidden = face_mask(head, *NOT_SKIN) | face_mask(head, "eye_sockets", corners=3)
    skin_faces = torch.nonzero(~hidden).squeeze(1)
    eye_faces = torch.nonzero(face_mask(head, "eyes")).squeeze(1)
    points: list[Tensor] = []
    trust: list[Tensor] = []
    seen: list[Tensor] = []
    yaws: list[float] = []
    made = 0
    for vertices, yaw in portraits(head, config):
        made += 1
        pixels = detect(portrait(head, vertices, camera, oversample=1)[0].numpy())
        if pixels is None:
            continue
        where = torch.from_numpy(pixels).float()
        skin = cast_back(head, vertices, skin_faces, camera, where, config.min_cosine)
        eyes = cast_back(head, vertices, eye_faces if len(eye_faces) else skin_faces, camera, where, config.min_cosine)
        for kept, skin_part, eye_part in zip((points, trust), skin, eyes, strict=True):
            kept.append(torch.cat([skin_part[:FIRST_IRIS], eye_part[FIRST_IRIS:]]))
        seen.append(where)
        yaws.append(yaw)
    if len(points) < 0.5 * made:
        raise ModelFileError(
            f"A face was found in only {len(points)} of {made} portraits of {head.id}",
            hint="Look at the portraits (model.head.portrait): are the head's groups painted as they should be?",
        )
    facing = facing_side(torch.stack(seen), torch.tensor(yaws), config.hidden_sine)
    return merge(head, torch.stack(points), torch.stack(trust) * facing, skin_faces, eye_faces, config)


def facing_side(pixels: Tensor, yaw_deg: Tensor, hidden_sine: float) -> Tensor:
    """How much each portrait shows the side of the face that each landmark is on.

    On the far side of a turned face the detector still places its points, but the ray to them ends on the nose or on
    the cheek in front. How far to the side a landmark is, is read off the portraits that are turned least.

    Args:
        pixels: (N, 478, 2) detected landmarks.
        yaw_deg: (N,) degrees; a positive turn shows more of the image's right.
        hidden_sine: a landmark on the face's outline is ignored where its side is turned away by this much (sine);
            one half way to the middle where it is turned away by twice as much.

    Returns:
        (N, 478) factors in [0, 1].
    """
    frontal = pixels[yaw_deg.abs() == yaw_deg.abs().min()][..., 0]
    middle = 0.5 * (frontal.amin(1, keepdim=True) + frontal.amax(1, keepdim=True))
    half = 0.5 * (frontal.amax(1, keepdim=True) - frontal.amin(1, keepdim=True))
    side = ((frontal - middle) / half).mean(0)
    return (1 + side * torch.sin(torch.deg2rad(yaw_deg))[:, None] / hidden_sine).clamp(0, 1)


def cast_back(
    head: HeadModel, vertices: Tensor, face_ids: Tensor, camera: Camera, pixels: Tensor, min_cosine: float
) -> tuple[Tensor, Tensor]:
    """Template points behind pixels of a posed head.

    Args:
        head: the model.
        vertices: (1, V, 3) posed, camera frame.
        face_ids: the faces that can be hit.
        camera: the view.
        pixels: (L, 2) image coordinates.
        min_cosine: more oblique hits count as misses.

    Returns:
        (L, 3) template positions, metres, and (L,) trust: the cosine between normal and line of sight, 0 for a miss.
    """
    fine = Camera(camera.fx * 2, camera.fy * 2, camera.cx * 2, camera.cy * 2, camera.width * 2, camera.height * 2)
    faces = head.faces[face_ids]
    fragments = rasterize(vertices, faces, fine)
    column = (pixels[:, 0] * 2).long()
    row = (pixels[:, 1] * 2).long()
    inside = (column >= 0) & (column < fine.width) & (row >= 0) & (row < fine.height)
    column, row = column.clamp(0, fine.width - 1), row.clamp(0, fine.height - 1)
    face = fragments.face_id[0, row, column].long()
    corner = faces[face.clamp(min=0)]
    attributes = torch.cat([head.v_template, vertex_normals(vertices, head.faces)[0], vertices[0]], dim=-1)
    mixed = (attributes[corner] * fragments.bary[0, row, column][..., None]).sum(1)
    rest, normal, position = mixed.split(3, dim=-1)
    hit = inside & (face >= 0)
    unit = torch.nn.functional.normalize
    cosine = -(unit(normal, dim=-1) * unit(position, dim=-1)).sum(-1)
    return rest, torch.where(hit & (cosine > min_cosine), cosine, torch.zeros_like(cosine))


def geometric_median(points: Tensor, weight: Tensor, steps: int = 50) -> Tensor:
    """Weiszfeld's iteration: the (L, 3) points with the least weighted sum of distances to points (N, L, 3).

    Args:
        points: samples.
        weight: (N, L), at least one positive per column.
        steps: iterations; 50 settle well below 0.01 mm here.
    """
    centre = (points * weight[..., None]).sum(0) / weight.sum(0)[:, None].clamp(min=1e-12)
    for _ in range(steps):
        pull = weight / torch.linalg.norm(points - centre, dim=-1).clamp(min=1e-5)
        centre = (points * pull[..., None]).sum(0) / pull.sum(0)[:, None].clamp(min=1e-12)
    return centre


def merge(
    head: HeadModel, points: Tensor, trust: Tensor, skin_faces: Tensor, eye_faces: Tensor, config: CalibrationConfig
) -> LandmarkEmbedding:
    """Samples (N, 478, 3) with trust (N, 478) to one embedding."""
    centre = geometric_median(points, trust * trust)
    distance = torch.linalg.norm(points - centre, dim=-1)
    # Root mean square without outliers: seen from the side, a ray to the far half of the nose hits its near half.
    typical = torch.where(trust > 0, distance, torch.nan).nanmedian(0).values
    near = (trust > 0) & (distance <= 3 * typical)
    spread = ((distance**2 * near).sum(0) / near.sum(0).clamp(min=1)).sqrt()
    seen = (trust > 0).float().mean(0)
    weight = seen.clamp(max=0.5) * 2 / (1 + (spread / config.spread_m) ** 2)
    face_index, bary = torch.zeros(NUM_LANDMARKS, dtype=torch.int64), torch.zeros(NUM_LANDMARKS, 3)
    for part, faces in ((slice(0, FIRST_IRIS), skin_faces), (slice(FIRST_IRIS, None), eye_faces)):
        faces = faces if len(faces) else skin_faces
        nearest, inside = closest_on_faces(centre[part], head.v_template[head.faces[faces]])
        face_index[part], bary[part] = faces[nearest], inside
    return LandmarkEmbedding(face_index, bary, weight, spread)


def closest_on_faces(points: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest point of a triangle soup.

    Args:
        points: (L, 3).
        triangles: (F, 3, 3).

    Returns:
        (L,) index of the nearest triangle and (L, 3) barycentric coordinates of the nearest point in it.
    """
    best = torch.zeros(len(points), dtype=torch.int64)
    bary = torch.zeros(len(points), 3)
    centres = triangles.mean(1)
    for i, point in enumerate(points):
        near = torch.linalg.norm(centres - point, dim=1).topk(min(64, len(centres)), largest=False).indices
        inside = closest_in_triangle(point, triangles[near])
        error = torch.linalg.norm((inside[..., None] * triangles[near]).sum(1) - point, dim=1)
        k = int(error.argmin())
        best[i], bary[i] = near[k], inside[k]
    return best, bary


def closest_in_triangle(point: Tensor, triangles: Tensor) -> Tensor:
    """Barycentric coordinates (F, 3) of the point of each triangle (F, 3, 3) that is nearest to ``point`` (3,)."""
    a, b, c = triangles.unbind(1)
    u, v, w = b - a, c - a, point - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    scale = (uu * vv - uv * uv).clamp(min=1e-20)
    s, t = (vv * wu - uv * wv) / scale, (uu * wv - uv * wu) / scale
    candidates = [torch.stack([1 - s - t, s, t], dim=1)]
    # Where the foot of the perpendicular lies outside, the nearest point is on one of the three edges.
    for i, j in ((0, 1), (1, 2), (2, 0)):
        start, along = triangles[:, i], triangles[:, j] - triangles[:, i]
        step = (((point - start) * along).sum(1) / (along * along).sum(1).clamp(min=1e-20)).clamp(0, 1)
        edge = torch.zeros(len(triangles), 3)
        edge[:, i], edge[:, j] = 1 - step, step
        candidates.append(edge)
    options = torch.stack(candidates)  # (4, F, 3)
    error = torch.linalg.norm((options[..., None] * triangles).sum(2) - point, dim=-1)
    error[0] = torch.where((candidates[0] >= 0).all(1), error[0], torch.inf)
    return options[error.argmin(0), torch.arange(len(triangles))]


def embed(path: Path, landmarker: Path, config: CalibrationConfig | None = None) -> LandmarkEmbedding:
    """Calibrate the head in a file and store the embedding in it.

    Args:
        path: a head file; rewritten.
        landmarker: the file ``face_landmarker.task``.
        config: portraits and merging.
    """
    arrays, metadata, digest = read_head_file(path)
    arrays = {name: array for name, array in arrays.items() if not name.startswith("landmarks.")}
    with face_landmarker(landmarker) as detect:
        embedding = calibrate(head_from_arrays(arrays, metadata, digest), detect, config)
    arrays |= {
        "landmarks.face_index": embedding.face_index.numpy().astype(np.uint16),
        "landmarks.bary": embedding.bary.numpy(),
        "landmarks.weight": embedding.weight.numpy(),
        "landmarks.spread": embedding.spread.numpy(),
    }
    write_head_file(path, arrays, metadata)
    return embedding


def main() -> None:
    """Calibrate a head file in place."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=OPEN_HEAD, help="the head file, rewritten in place")
    parser.add_argument("--landmarker", type=Path, help="face_landmarker.task (default: the project's own copy)")
    arguments = parser.parse_args()
    landmarker = arguments.landmarker
    if landmarker is None:
        from rsat_data.registry import model_path

        landmarker = model_path("face_landmarker")
    embedding = embed(arguments.file, landmarker)
    spread = embedding.spread * 1000
    print(f"spread: median {spread.median():.2f} mm, 90 % {spread.quantile(0.9):.2f} mm, worst {spread.max():.2f} mm")


if __name__ == "__main__":
    main()
