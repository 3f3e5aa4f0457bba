"""Pictures of synthetic conversations: people in front of a still background, lit, at 2x2 samples a pixel.

    looks = [make_appearance(head, seed) for seed in (1, 2)]
    renderer = SceneRenderer(head, looks, Camera.from_fov(24, 1280, 720), seed=3)
    frame = renderer.render([vertices_a, vertices_b])        # (720, 1280, 3) uint8

Everything that does not move is prepared once: texels, occlusion, background, light. Same arguments, same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model.camera import Camera
from model.raster.jit import run_jobs
from model.raster.normals import vertex_normals
from model.raster.spherical_harmonics import CONSTANTS, COSINE, ambient, directional
from pipelines.synth import body, kernels
from pipelines.synth.appearance import HeadAppearance, make_appearance
from pipelines.synth.background import make_background
from pipelines.synth.layout import Layout, SurfaceHead, make_layout, smoothstep
from pipelines.synth.noise import fractal_noise, value_noise
from pipelines.synth.paint import strand_pattern
from pipelines.synth.texels import TexelGrid, join, make_grid

__all__ = ["HeadAppearance", "Lighting", "SceneRenderer", "draw_lighting", "make_appearance"]

SHADOW_SIZE = 224
"""Texels of the shadow map along one side."""
SHADOW_SPAN_M = 0.62
"""What it covers, metres."""


@dataclass(frozen=True)
class Lighting:
    """Light of a scene, camera frame."""

    sh: np.ndarray
    """(9, 3) coefficients of the kernel's polynomials: radiance that leaves a white surface."""
    direction: np.ndarray
    """(3,) unit vector towards the key light."""
    colour: np.ndarray
    """(3,) radiance that leaves a white surface facing the key light."""


def draw_lighting(seed: int) -> Lighting:
    """A soft room with a window or lamp in front of the people and a weak light behind."""
    rng = np.random.default_rng([seed, 0x716])
    side = rng.choice([-1.0, 1.0]) * rng.uniform(0.25, 0.9)
    direction = np.array([side, -rng.uniform(0.45, 0.9), -1.0])
    direction /= np.linalg.norm(direction)
    warm = rng.uniform(-0.10, 0.14)
    colour = rng.uniform(0.75, 0.98) * np.array([1 + warm, 1.0, 1 - warm])
    sky = ambient(torch.tensor([0.19, 0.195, 0.21], dtype=torch.float64) * float(rng.uniform(0.85, 1.3)))
    fill = torch.nn.functional.normalize(torch.tensor([-float(side), -0.2, -0.7], dtype=torch.float64), dim=0)
    rim = torch.nn.functional.normalize(torch.tensor([-0.8 * float(side), -0.5, 0.6], dtype=torch.float64), dim=0)
    above = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
    cool = torch.tensor([0.9, 1.0, 1.12], dtype=torch.float64)
    light = sky + directional(fill, cool * float(rng.uniform(0.08, 0.16)))
    light = light + directional(rim, cool * 0.18) + directional(above, cool * 0.12)
    factors = np.array(CONSTANTS) * np.array(COSINE)
    return Lighting(light.numpy() * factors[:, None], direction, colour)


def encoding_table(size: int = 8192) -> np.ndarray:
    """uint8 output for sqrt(linear / 2) in [0, 1]: a soft shoulder above 0.75, then sRGB's transfer curve."""
    linear = 2 * np.linspace(0, 1, size) ** 2
    shoulder = np.where(linear > 0.75, 1 - 0.25 * np.exp(-(linear - 0.75) / 0.25), linear)
    encoded = np.where(shoulder <= 0.0031308, 12.92 * shoulder, 1.055 * shoulder ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Person:
    """One person's mesh with all that is added to the head, ready for the kernels."""

    faces: np.ndarray
    material: np.ndarray
    grid: TexelGrid
    texels: np.ndarray
    occlusion: np.ndarray
    lift: np.ndarray
    shell: body.HairShell | None
    drawn: int
    """Faces before this number are drawn as they are; those after it are lashes."""


class SceneRenderer:
    """Draws people of one head model into one picture.

    Args:
        head: the head model; its template and groups say what is where.
        appearances: one per person, from :func:`make_appearance` with the same head.
        camera: the view; metres in the camera frame to pixels.
        seed: of background and light.
        background: (H, W, 3) uint8 picture to use instead of a made one.
        torso_yaw_deg: turn of each person's torso about the vertical, degrees; None for 0.
        torso_follow: share of the head's yaw that the torso follows.
        lighting: instead of one drawn by ``seed``.
        threads: threads that shade; the result does not depend on it.
    """

    def __init__(
        self,
        head: SurfaceHead,
        appearances: Sequence[HeadAppearance],
        camera: Camera,
        seed: int,
        *,
        background: np.ndarray | None = None,
        torso_yaw_deg: Sequence[float] | None = None,
        torso_follow: float = 0.25,
        lighting: Lighting | None = None,
        threads: int = 1,
    ) -> None:
        self.camera = camera
        self.threads = threads
        self._layout = make_layout(head)
        self._shoulders = body.make_shoulders(self._layout)
        self._yaw = np.radians([0.0] * len(appearances) if torso_yaw_deg is None else torso_yaw_deg)
        if len(self._yaw) != len(appearances):
            raise ValueError(f"torso_yaw_deg names {len(self._yaw)} people, appearances {len(appearances)}")
        self._follow = torso_follow
        self._people = [self._prepare(look) for look in appearances]
        self._lighting = draw_lighting(seed) if lighting is None else lighting
        self._table = encoding_table()
        if background is None:
            self._linear = make_background(camera.width, camera.height, seed)
        else:
            if background.shape != (camera.height, camera.width, 3):
                wanted = (camera.height, camera.width, 3)
                raise ValueError(f"background should have shape {wanted}, got {background.shape}")
            value = background.astype(np.float32) / 255
            self._linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        self._linear = np.ascontiguousarray(self._linear, dtype=np.float32)
        places = np.sqrt(0.5 * self._linear) * (len(self._table) - 1) + 0.5
        self._encoded = self._table[np.minimum(places.astype(np.int64), len(self._table) - 1)]

    @property
    def layout(self) -> Layout:
        """Places on the head model."""
        return self._layout

    @property
    def lighting(self) -> Lighting:
        """The light in force."""
        return self._lighting

    @property
    def table(self) -> np.ndarray:
        """Encoding of linear light, see `encoding_table`."""
        return self._table

    def render(self, vertices: Sequence[np.ndarray]) -> np.ndarray:
        """One frame.

        Args:
            vertices: for each person (V, 3) posed vertices of the head model, camera frame, metres; any float dtype.

        Returns:
            (H, W, 3) uint8 RGB.
        """
        return self._render(vertices, mattes=None)

    def render_with_mattes(self, vertices: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """One frame (H, W, 3) uint8 and each person's coverage (H, W) uint8, hidden parts left out."""
        mattes = [np.zeros((self.camera.height, self.camera.width), np.uint8) for _ in vertices]
        return self._render(vertices, mattes), mattes

    def _render(self, vertices: Sequence[np.ndarray], mattes: list[np.ndarray] | None) -> np.ndarray:
        """The frame; ``mattes``, if given, are filled in."""
        if len(vertices) != len(self._people):
            raise ValueError(f"{len(self._people)} people were set up, vertices of {len(vertices)} given")
        points = [np.asarray(v, np.float64) for v in vertices]
        for v in points:
            if v.shape != self._layout.vertices.shape:
                raise ValueError(f"vertices should have shape {self._layout.vertices.shape}, got {v.shape}")
        out, linear = self._encoded.copy(), self._linear
        covered: list[tuple[tuple[slice, slice], np.ndarray]] = []
        farthest_first = sorted(range(len(points)), key=lambda i: -float(np.median(points[i][:, 2])))
        for index in farthest_first:
            drawn = self._draw(index, points[index])
            if drawn is None:
                continue
            x0, y0, image, alpha = drawn
            window = (slice(y0, y0 + alpha.shape[0]), slice(x0, x0 + alpha.shape[1]))
            covered.append((window, linear[window].copy()))
            kernels.composite(image, alpha, linear, self._table, x0, y0, out)
            if mattes is not None:
                for other in mattes:
                    other[window] = np.round(other[window] * (1 - alpha)).astype(np.uint8)
                mattes[index][window] = np.round(255 * alpha).astype(np.uint8)
        for window, before in reversed(covered):  # the background stays as it was
            linear[window] = before
        return out

    def _prepare(self, look: HeadAppearance) -> _Person:
        """Join head, shirt and long hair into one mesh."""
        layout, shoulders = self._layout, self._shoulders
        if len(look.material) != len(layout.faces):
            raise ValueError("The appearance was made for another head model: its number of faces differs")
        loop_places = layout.vertices[shoulders.loop] - layout.middle
        rings = [loop_places * [w, 1, d] + [0, drop, 0] for drop, w, d in body.RINGS]
        places = np.concatenate([layout.vertices - layout.middle, *rings])
        shirt_faces = shoulders.faces
        shirt_grid = make_grid(places, shirt_faces, 0.0022)
        texels = [_dress(look, look.texels, look.grid, layout.faces, places, layout.masks.get("neck"))]
        cloth_places = shirt_grid.interpolate(shirt_faces, places)
        texels.append(_encode(_cloth(look, cloth_places), np.full(shirt_grid.count, 0.5)))
        faces, grids = [layout.faces, shirt_faces], [look.grid, shirt_grid]
        dressed = (_neckline(places)[layout.faces] > 0).all(1) & (layout.masks["neck"][layout.faces] > 0).all(1)
        material = [
            np.where(dressed, np.uint8(kernels.CLOTH), look.material),
            np.full(len(shirt_faces), kernels.CLOTH, np.uint8),
        ]
        lift = np.concatenate([look.lift, np.zeros(shoulders.extra, np.float32)])
        lift[: len(look.lift)] += (
            0.0035 * smoothstep(0.0, 0.02, _neckline(places[: len(look.lift)])) * (layout.masks["neck"] > 0)
        )
        below = 0.5 * look.occlusion[shoulders.loop] + 0.5 * float(look.occlusion[shoulders.loop].mean())
        occlusion = [look.occlusion, np.tile(below, len(body.RINGS)).astype(np.float32)]
        shell = None
        if look.traits.hair_style == "long":
            shell = body.make_hair_shell(layout, look.traits.hair_volume_m, look.traits.seed)
            hair_grid = make_grid(shell.places, shell.faces, 0.0009)
            hair_places = hair_grid.interpolate(shell.faces, shell.places - layout.middle)
            strands = _curtain_strands(hair_places, look.traits.seed)
            colour = np.asarray(look.traits.hair_colour) * strands[:, None]
            texels.append(_encode(colour, 0.5 * np.clip(1.2 * strands, 0, 2)))
            faces.append(shell.faces + len(places))
            grids.append(hair_grid)
            material.append(np.full(len(shell.faces), kernels.HAIR, np.uint8))
            lift = np.concatenate([lift, np.zeros(len(shell.places), np.float32)])
            occlusion.append(np.full(len(shell.places), 0.75, np.float32))
        all_faces, all_material, grid = np.concatenate(faces), np.concatenate(material), join(grids)
        # Lashes last, so that they can be left out of the shadow map.
        order = np.argsort(all_material == kernels.LASH, kind="stable")
        moved = TexelGrid(grid.resolution[order], grid.offset[order], grid.face, grid.bary)
        return _Person(
            np.ascontiguousarray(all_faces[order]),
            all_material[order],
            moved,
            np.concatenate(texels),
            np.concatenate(occlusion),
            lift.astype(np.float64),
            shell,
            int((all_material != kernels.LASH).sum()),
        )

    def _draw(self, index: int, vertices: np.ndarray) -> tuple[int, int, np.ndarray, np.ndarray] | None:
        """Window origin, premultiplied linear picture and coverage of one person; None if out of view."""
        person, camera, light = self._people[index], self.camera, self._lighting
        points = body.carry(self._shoulders, vertices, float(self._yaw[index]), self._follow)
        if person.shell is not None:
            points = np.concatenate([points, body.hang(person.shell, vertices)])
        normals = np.zeros(points.shape)
        vertex_normals(points, person.faces, normals)
        points = points + person.lift[:, None] * normals
        vertex_normals(points, person.faces, normals)
        screen = np.empty(points.shape)
        kernels.project_vertices(points, 2 * camera.fx, 2 * camera.fy, 2 * camera.cx, 2 * camera.cy, screen)
        ahead = screen[screen[:, 2] > 0]
        if len(ahead) == 0:
            return None
        low, high = ahead[:, :2].min(0) / 2, ahead[:, :2].max(0) / 2
        x0, y0 = max(0, int(np.floor(low[0]))), max(0, int(np.floor(low[1])))
        x1, y1 = min(camera.width, int(np.ceil(high[0]))), min(camera.height, int(np.ceil(high[1])))
        if x1 <= x0 or y1 <= y0:
            return None
        screen[:, 0] -= 2 * x0
        screen[:, 1] -= 2 * y0
        nearest = np.zeros((2 * (y1 - y0), 2 * (x1 - x0)), np.float32)
        ids = np.full(nearest.shape, -1, np.int32)
        darkness = np.zeros(nearest.shape, np.float32)
        kernels.draw_faces(screen, person.faces, person.material, person.occlusion, nearest, ids, darkness)
        axes, origin, scale = self._light_frame(vertices)
        depths = np.empty((SHADOW_SIZE, SHADOW_SIZE), np.float32)
        kernels.shadow_depths(points, person.faces[: person.drawn], axes, origin, scale, depths)
        image = np.empty((y1 - y0, x1 - x0, 3), np.float32)
        alpha = np.empty(image.shape[:2], np.float32)
        around = np.empty(points.shape)
        kernels.vertex_light(normals, light.sh, around)
        fixed = (
            points, normals, person.occlusion, around, screen, person.faces, person.material, person.grid.resolution,
            person.grid.offset, person.texels, kernels.MATERIALS, light.direction, light.colour, depths, axes,
            origin, scale, 2.0 * camera.fx, ids, darkness,
        )  # fmt: skip
        edges = np.linspace(0, y1 - y0, (4 * self.threads if self.threads > 1 else 1) + 1).astype(int).tolist()
        jobs = [(*fixed, top, bottom, image, alpha) for top, bottom in zip(edges[:-1], edges[1:], strict=True)]
        run_jobs(kernels.shade, jobs, self.threads)
        return x0, y0, image, alpha

    def _light_frame(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Axes (3, 3), origin (3,) and texels per metre of the shadow map round one head."""
        forward = -self._lighting.direction
        side = np.cross(np.array([0.0, 1.0, 0.0]), forward)
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(forward, side), forward])
        return axes, np.median(vertices, axis=0), SHADOW_SIZE / SHADOW_SPAN_M


def _neckline(places: np.ndarray) -> np.ndarray:
    """How far (metres) places (N, 3), relative to the eyes' middle, lie below the shirt's collar."""
    return places[:, 1] + 0.42 * (places[:, 2] - 0.10) - 0.150 - 0.010 * np.cos(places[:, 0] * 18)


def _dress(
    look: HeadAppearance,
    texels: np.ndarray,
    grid: TexelGrid,
    faces: np.ndarray,
    places: np.ndarray,
    neck: np.ndarray | None,
) -> np.ndarray:
    """The head's texels with the shirt painted over the shoulders."""
    if neck is None:
        return texels
    where = grid.interpolate(faces, neck) > 0.5
    at = grid.interpolate(faces, places[: faces.max() + 1])[where]
    inside = _neckline(at)
    colour = _cloth(look, at)
    band = smoothstep(0.0, 0.0015, inside) * smoothstep(0.016, 0.0145, inside)
    colour = colour * (1 - 0.25 * band * (0.6 + 0.4 * np.sin(at[:, 0] * 900)))[:, None]
    cover = smoothstep(0.0, 0.001, inside)
    shadow = 1 - 0.35 * smoothstep(-0.008, 0.0, inside)
    dressed = texels.copy()
    skin = (texels[where].astype(np.float32) / 255) ** 2
    mixed = skin[:, :3] * shadow[:, None] * (1 - cover)[:, None] + colour * cover[:, None]
    dressed[where] = _encode(mixed, texels[where, 3] / 255.0)
    return dressed


def _cloth(look: HeadAppearance, places: np.ndarray) -> np.ndarray:
    """Linear colours (N, 3) of the shirt at places (N, 3)."""
    traits = look.traits
    places = np.asarray(places, np.float32)
    weave = value_noise(places, 0.0026, traits.seed + 81)
    folds = fractal_noise(places, 0.05, 2, traits.seed + 82)
    colour = np.asarray(traits.cloth) * (0.7 + 0.25 * weave + 0.35 * folds)[:, None]
    if traits.cloth_pattern == "stripes":
        stripe = smoothstep(0.1, 0.4, np.sin(places[:, 1] * 2 * np.pi / 0.028))
        colour = colour * (1 - stripe[:, None]) + (0.55 - 0.5 * colour) * stripe[:, None] * 0.8
    elif traits.cloth_pattern == "knit":
        colour = colour * (0.8 + 0.4 * np.abs(np.sin(places[:, 0] * np.pi / 0.007)))[:, None]
    return colour


def _curtain_strands(places: np.ndarray, seed: int) -> np.ndarray:
    """Brightness of hanging hair: as on the scalp above, vertical strands below the ears."""
    around = np.arctan2(places[:, 0], places[:, 2] - 0.07)
    ring = np.stack([around, places[:, 1] * 3 + 0.05 * np.sin(14 * around), 0 * around], axis=1).astype(np.float32)
    fine = value_noise(ring, (0.018, 0.25, 1.0), seed + 91)
    finer = value_noise(ring, (0.008, 0.2, 1.0), seed + 92)
    locks = value_noise(ring, (0.10, 0.4, 1.0), seed + 93)
    hanging = 0.45 + 0.45 * fine + 0.35 * finer + 0.4 * locks
    low = smoothstep(-0.07, 0.0, places[:, 1])
    return strand_pattern(places.astype(np.float32), seed + 51) * (1 - low) + hanging * low


def _encode(colour: np.ndarray, gloss: np.ndarray) -> np.ndarray:
    """Texels (N, 4) uint8 of linear colours (N, 3) and gloss (N,) in [0, 1]."""
    values = np.concatenate([np.sqrt(np.clip(colour, 0, 1)), np.asarray(gloss)[:, None]], axis=1)
    return np.round(255 * values).clip(0, 255).astype(np.uint8)
