"""A row as something to draw: its codes posed, coloured and rasterised, its frames decoded one after the other."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.camera import Camera, project
from model.fitting.regions import LID_PAIRS, LIP_PAIRS
from model.head import HeadModel
from model.head.groups import vertex_mask
from model.head.load import CODE_NAMES
from model.head.pose import axis_angle_to_matrix
from model.raster import interpolate, rasterize, vertex_normals
from rsat_data.errors import DatasetError
from rsat_data.preview.paint import Picture
from rsat_data.preview.telling import Tracks
from rsat_data.reader import Row

BATCH = 8
"""Frames posed and rasterised at once: about 60 MB at 400 x 400."""
GAZE_M = 0.09
"""Length of a gaze ray, metres."""

_CLAY = (0.58, 0.74, 0.98)
_PAINT: tuple[tuple[str, tuple[float, float, float]], ...] = (
    ("mouth_interior", (0.30, 0.12, 0.14)),
    ("tongue", (0.72, 0.36, 0.38)),
    ("lips", (0.83, 0.50, 0.52)),
    ("teeth", (0.95, 0.95, 0.92)),
    ("brows", (0.34, 0.37, 0.45)),
    ("lashes", (0.25, 0.27, 0.33)),
    ("eyes", (0.97, 0.97, 0.97)),
    ("left_iris", (0.16, 0.30, 0.46)),
    ("right_iris", (0.16, 0.30, 0.46)),
)
"""Colours of vertex groups, later ones over earlier ones; a head without a group is drawn without it."""
_LIGHTS = (((-0.55, -0.62, -0.56), 0.72), ((0.85, -0.05, -0.52), 0.24), ((0.0, 0.0, -1.0), 0.10))
"""Directions to the lights (camera frame) and their strengths."""
_AMBIENT = 0.14


@dataclass(frozen=True)
class Posed:
    """A batch of posed frames."""

    frames: range
    """Their numbers."""
    colour: np.ndarray
    """(B, H, W, 4) float32: shaded RGB in [0, 255] and how opaque the mesh is to be over the picture, 0 where none."""
    points: np.ndarray
    """(B, L, 2) landmarks, pixels; L is 0 for a head without landmarks."""
    hidden: np.ndarray
    """(B, L) bool: the mesh itself lies before the landmark, or it is outside the picture."""
    gaze: np.ndarray
    """(B, 2, 2, 2) start and end of the rays of left and right eye, pixels; NaN behind the camera."""


class Scene:
    """One row with its head. Codes are numpy float32; the camera is that of the row's video."""

    def __init__(self, row: Row, head: HeadModel) -> None:
        self.row, self.head = row, head
        self.num = int(row["num_frames"])
        self.fps = float(row["fps"])
        self.codes = {name: torch.from_numpy(np.array(row[name], np.float32)) for name in CODE_NAMES}
        self.shape = torch.from_numpy(np.array(row["shape"], np.float32))
        self.camera = Camera(**row["camera"])
        self.has_video = row["video"] is not None and row["video"]["bytes"] is not None
        self._check()

    def _check(self) -> None:
        sizes = {"expression": self.head.num_expression, "jaw": 3, "neck": 3, "eyes": 6, "rotation": 3}
        for name, width in {**sizes, "translation": 3}.items():
            if tuple(self.codes[name].shape) != (self.num, width):
                raise DatasetError(
                    f"{self.row!r}: {name} has shape {tuple(self.codes[name].shape)}, the head {self.head.id} needs "
                    f"{(self.num, width)}.",
                    hint="The codes belong to another head, or the row is damaged: rsat-data validate.",
                )
        if self.shape.shape[0] != self.head.num_shape:
            raise DatasetError(
                f"{self.row!r}: shape has {self.shape.shape[0]} numbers, the head {self.head.id} needs "
                f"{self.head.num_shape}.",
                hint="The codes belong to another head.",
            )

    def codes_of(self, frames: range) -> dict[str, Tensor]:
        """Codes of some frames, NaN replaced by 0, for :meth:`HeadModel.pose`."""
        part = slice(frames.start, frames.stop)
        return {name: torch.nan_to_num(values[part]) for name, values in self.codes.items()}

    def posed(self, size: int, frames: range | None = None) -> Iterator[Posed]:
        """Frames posed, shaded and rasterised for a square picture of ``size`` pixels, in batches."""
        paint, opaque = _paint(self.head)
        camera = self.camera.scaled(size, round(size * self.camera.height / self.camera.width))
        wanted = range(self.num) if frames is None else frames
        for start in range(wanted.start, wanted.stop, BATCH):
            batch = range(start, min(start + BATCH, wanted.stop))
            vertices, joints = self.head.pose(self.shape, **self.codes_of(batch))
            normals = vertex_normals(vertices, self.head.faces)
            light = torch.full(normals.shape[:2], _AMBIENT)
            for direction, strength in _LIGHTS:
                toward = torch.tensor(direction)
                light = light + strength * (normals @ (toward / toward.norm())).clamp_min(0)
            shaded = (255 * light[..., None] * paint).clamp(0, 255)
            attributes = torch.cat([shaded, opaque.expand(len(batch), -1, 1)], dim=-1)
            fragments = rasterize(vertices, self.head.faces, camera)
            colour = interpolate(fragments, self.head.faces, attributes).numpy()
            points, hidden = _landmarks(self.head, vertices, camera, fragments.depth)
            yield Posed(batch, colour, points, hidden, self._gaze(batch, joints, camera))

    def _gaze(self, frames: range, joints: Tensor, camera: Camera) -> np.ndarray:
        """Rays (B, 2, 2, 2) in pixels from the eyeballs' centres along the gaze."""
        ahead = torch.stack(self._directions(frames), dim=1)  # (B, 2, 3)
        centre = joints[:, 3:5]
        ends = torch.stack([centre + 0.012 * ahead, centre + (0.012 + GAZE_M) * ahead], dim=2)
        pixels = project(ends, camera)
        return torch.where(ends[..., 2:] > 0.01, pixels, torch.nan).numpy()

    def _directions(self, frames: range) -> list[Tensor]:
        """Where left and right eye look, (B, 3) unit vectors in the camera frame."""
        codes = self.codes_of(frames)
        head = axis_angle_to_matrix(codes["rotation"]) @ axis_angle_to_matrix(codes["neck"])
        eyes = axis_angle_to_matrix(codes["eyes"].unflatten(1, (2, 3)))
        return [-(head @ eyes[:, side])[..., 2] for side in range(2)]

    def pictures(self, size: int | None = None) -> Iterator[Picture | None]:
        """The video's frames (size, size, 3) uint8 RGB, one at a time; None for every frame of a row without video.

        Raises:
            DatasetError: the video cannot be decoded, or ends early.
        """
        if not self.has_video:
            yield from (None for _ in range(self.num))
            return
        import av
        import cv2

        done = 0
        try:
            with av.open(io.BytesIO(self.row["video"]["bytes"]), "r") as container:
                stream = container.streams.video[0]
                for frame in container.decode(stream):
                    if done == self.num:
                        return
                    picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                    if size is not None and picture.shape[1] != size:
                        height = round(size * picture.shape[0] / picture.shape[1])
                        shrink = picture.shape[1] > size
                        way = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
                        picture = np.asarray(cv2.resize(picture, (size, height), interpolation=way), np.uint8)
                    yield picture
                    done += 1
        except av.FFmpegError as error:
            raise DatasetError(f"{self.row!r}: its video cannot be decoded ({error.strerror}).") from error
        if done < self.num:
            raise DatasetError(
                f"{self.row!r}: its video ends after {done} of {self.num} frames.",
                hint="The file is damaged; `rsat-data validate` tells more.",
            )

    def tracks(self) -> Tracks:
        """What chooses the telling frames: quality columns of the row, and movements of the posed head."""
        row, num = self.row, self.num
        valid = np.asarray(row["valid"], bool)
        ahead = [torch.cat(parts) for parts in zip(*(self._directions(batch) for batch in _batches(num)), strict=True)]
        codes = self.codes_of(range(num))
        rotation = axis_angle_to_matrix(codes["rotation"]) @ axis_angle_to_matrix(codes["neck"])
        face = -rotation[..., 2]
        origin = codes["translation"] + self.head.J_template[0]
        to_camera = -torch.nn.functional.normalize(origin, dim=-1)
        gaze = torch.stack([_angle(face, direction) for direction in ahead]).mean(0)
        mouth, lids, motion = self._landmark_tracks()
        shut = lids < 0.5 * np.nanmedian(lids) if np.isfinite(lids).any() else np.zeros(num, bool)

        def column(name: str) -> np.ndarray | None:
            if name not in row.keys() or row[name] is None:  # noqa: SIM118 - a Mapping whose `in` may not look ahead
                return None
            return np.array([np.nan if value is None else value for value in row[name]], np.float64)

        words = row["invalid_reason"] if "invalid_reason" in row.keys() else None  # noqa: SIM118
        reasons = [
            "" if word is None else str(word).replace("_", " ") for word in ([""] * num if words is None else words)
        ]
        reprojection = column("reprojection_px")
        if reprojection is not None:
            reprojection[~valid & (reprojection == 0)] = np.nan  # no face was seen there
        return Tracks(
            valid,
            tuple("" if ok else reason for ok, reason in zip(valid, reasons, strict=True)),
            np.full(num, np.nan) if reprojection is None else reprojection,
            column("confidence"),
            column("photometric"),
            np.asarray(row["speaking"], bool),
            mouth,
            lids,
            _angle(face, to_camera).numpy(),
            np.where(shut, np.nan, gaze.numpy()),
            codes["expression"].norm(dim=-1).numpy(),
            motion,
        )

    def _landmark_tracks(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Openings of mouth and eyes, and motion (mm), (T,) each; the jaw's angle and NaN without landmarks."""
        if self.head.landmarks is None:
            nothing = np.full(self.num, np.nan)
            return self.codes["jaw"][:, 0].numpy().astype(np.float64), nothing, nothing
        small = self.head.subset(self.head.landmark_vertices())
        parts = []
        for batch in _batches(self.num):
            vertices, _ = small.pose(self.shape, **self.codes_of(batch))
            parts.append(small.landmark_points(vertices).double().numpy())
        points = np.concatenate(parts)  # (T, 478, 3)

        codes = self.codes_of(range(self.num))
        turn = axis_angle_to_matrix(codes["rotation"]) @ axis_angle_to_matrix(codes["neck"])
        down = turn[..., 1].double().numpy()  # the head's own y axis in the camera frame

        def opening(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
            """How far the lower points lie below the upper ones; where lips cross it is negative, as it should."""
            upper, lower = (points[:, [pair[side] for pair in pairs]].mean(axis=1) for side in range(2))
            return ((lower - upper) * down).sum(axis=-1) / width

        width = np.maximum(np.linalg.norm(points[:, 33] - points[:, 263], axis=-1), 1e-6)
        moved = 1e3 * np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=1)
        return opening(LIP_PAIRS), opening(LID_PAIRS), np.concatenate([[np.nan], moved])


def _batches(num: int, size: int = 64) -> list[range]:
    return [range(start, min(start + size, num)) for start in range(0, num, size)]


def _angle(first: Tensor, second: Tensor) -> Tensor:
    """Angles (T,) in degrees between unit vectors (T, 3)."""
    return torch.rad2deg(torch.arccos((first * second).sum(-1).clamp(-1, 1)))


def _paint(head: HeadModel) -> tuple[Tensor, Tensor]:
    """Colour (V, 3) in [0, 1] and opacity (V, 1) of every vertex."""
    colour = torch.tensor(_CLAY).expand(head.num_vertices, 3).clone()
    for group, value in _PAINT:
        colour[vertex_mask(head, group)] = torch.tensor(value)
    face = vertex_mask(head, "face", "eyes", "lips", "mouth_interior", "teeth", "tongue", "eyelids", "brows")
    opacity = torch.full((head.num_vertices, 1), 0.62)
    if bool(face.any()):
        opacity[~face] = 0.34
        opacity[vertex_mask(head, "neck") & ~face] = 0.15
    return colour, opacity


def _landmarks(head: HeadModel, vertices: Tensor, camera: Camera, depth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks (B, 478, 2) in pixels, and which are hidden by the mesh (B, 478); depth is (B, H, W)."""
    batch = vertices.shape[0]
    if head.landmarks is None:
        return np.zeros((batch, 0, 2)), np.zeros((batch, 0), bool)
    points = head.landmark_points(vertices)
    pixels = project(points, camera)
    x, y = pixels.floor().long().unbind(-1)
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height) & (points[..., 2] > 0.01)
    x, y = x.clamp(0, camera.width - 1), y.clamp(0, camera.height - 1)
    front = depth[torch.arange(batch)[:, None], y, x]
    # 4 mm: the pixel's centre lies beside the point, on a surface that may be seen at a flat angle.
    hidden = ~inside | ((front > 0) & (points[..., 2] > front + 0.004))
    return pixels.numpy().astype(np.float64), hidden.numpy()
