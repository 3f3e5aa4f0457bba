from __future__ import annotations

import cv2
import numpy as np
import torch

from model.avatar.start import covering, face_colours, limits, outside, together
from model.gaussians import to_world, triangle_frames
from model.head import HeadModel
from model.raster.gaussian import rasterize_gaussians
from tests.model.avatar.conftest import CAMERA, vertex_paint


def posed(head: HeadModel, codes: dict[str, np.ndarray], index: int) -> np.ndarray:
    given = {name: torch.from_numpy(value[index : index + 1]) for name, value in codes.items()}
    return head.pose(torch.zeros(head.num_shape), **given)[0][0].numpy()


def test_the_start_is_made_of_what_pictures_show(
    head: HeadModel, codes: dict[str, np.ndarray], images: np.ndarray
) -> None:
    frames = [0, 10, 20, 30]
    meshes = [posed(head, codes, index) for index in frames]
    colours, seen = face_colours(head.faces, meshes, [images[index] for index in frames], [CAMERA] * 4)
    truth = vertex_paint(head)[head.faces].mean(1).numpy()
    # Shoulders stand on a torso of their own in these pictures; the face is where the mesh says.
    face = (head.weights[:, 0] == 0)[head.faces].all(1).numpy() & (seen > 6)
    assert face.sum() > 300
    assert np.median(np.abs(colours - truth)[face]) < 0.04
    gaussians = covering(head, head.v_template[None], colours, 0)
    assert len(gaussians) == len(head.faces)
    world = to_world(gaussians, triangle_frames(torch.from_numpy(meshes[1])[None], head.faces))
    splats = rasterize_gaussians(
        world.means, world.quats, world.scales, world.opacities, world.colours, CAMERA
    )  # fmt: skip
    inner = cv2.erode((images[10][..., 3] > 0).astype(np.uint8), np.ones((7, 7), np.uint8))[:40] > 0
    assert float(splats.alpha[0].numpy()[:40][inner].min()) > 0.8
    left = np.abs(splats.rgb[0].numpy() - images[10][..., :3] / 255.0)[:40][inner]
    assert left.mean() < 0.06


def test_what_the_mesh_misses_is_seeded(head: HeadModel, codes: dict[str, np.ndarray], images: np.ndarray) -> None:
    mesh = posed(head, codes, 0)
    image = images[0].copy()
    grown = cv2.dilate((image[..., 3] > 0).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    rim = grown & (image[..., 3] == 0)
    image[rim] = (20, 200, 40, 255)
    seeds = outside(head, mesh, image, CAMERA, 0)
    assert seeds is not None and len(seeds) > 20
    world = to_world(seeds, triangle_frames(torch.from_numpy(mesh)[None], head.faces))
    splats = rasterize_gaussians(world.means, world.quats, world.scales, world.opacities, world.colours, CAMERA)
    alpha = splats.alpha[0].numpy()
    outer = cv2.erode(rim.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert np.median(alpha[outer]) > 0.6
    green = splats.rgb[0].numpy()[outer] / alpha[outer][:, None].clip(0.1)
    assert np.median(green[:, 1] - green[:, 0]) > 0.4
    # They are free to stay where they are, and those on the mesh keep to the published limits.
    mean_limit, scale_limit = limits(together([seeds, covering(head, head.v_template[None], np.zeros((len(head.faces), 3), np.float32), 0)]))  # fmt: skip  # noqa: E501
    assert bool((mean_limit[: len(seeds)] >= seeds.mean.norm(dim=1)).all())
    assert float(mean_limit[len(seeds) :].max()) == 1.0
    assert outside(head, mesh, np.zeros_like(image), CAMERA, 0) is None
