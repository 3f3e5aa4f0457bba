"""Meshes and avatars as they are drawn, and how far motions lie apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.avatar.draw import draw
from model.head import HeadModel, load_head
from model.head.portrait import BACKGROUND, portrait
from model.render.distance import vertex_distance_mm
from model.render.figure import AvatarFigure, MeshFigure, predicted_codes, standing_at_rest
from model.render.mesh import draw_mesh, mesh_paint
from tests.plain_avatar import plain_avatar

SIZE, FRAMES = 96, 5


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def codes(head: HeadModel) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = np.zeros(head.num_shape, np.float32)
    motion = {
        "expression": rng.uniform(0, 0.5, (FRAMES, head.num_expression)),
        "jaw": np.abs(rng.normal(0, 0.1, (FRAMES, 3))) * [1, 0, 0],
        "pose": rng.normal(0, 0.15, (FRAMES, 3)),
        "eyes": rng.normal(0, 0.1, (FRAMES, 6)),
    }
    return predicted_codes(motion, standing_at_rest(head, shape))


def test_the_mesh_is_the_portrait_with_softer_outlines(head: HeadModel, codes: dict[str, np.ndarray]) -> None:
    shape = torch.from_numpy(np.random.default_rng(1).normal(0, 0.5, head.num_shape).astype(np.float32))
    vertices, _ = head.pose(shape, **{name: torch.from_numpy(value) for name, value in codes.items()})
    camera = standing_at_rest(head, shape.numpy()).camera.scaled(SIZE, SIZE)
    expected = portrait(head, vertices, camera, 1).numpy().astype(int)
    hard = draw_mesh(mesh_paint(head), vertices, camera, BACKGROUND, soft=False, threads=1)
    # Rounding may turn a shade or tip a sample at the rim of an iris.
    different = np.abs(hard - expected).max(axis=-1) > 1
    assert different.mean() < 1e-4
    soft = draw_mesh(mesh_paint(head), vertices, camera, BACKGROUND, threads=2)
    assert np.array_equal(soft, draw_mesh(mesh_paint(head), vertices, camera, BACKGROUND, threads=1))
    changed = (soft != hard).any(axis=-1)
    assert 0.01 < changed.mean() < 0.2 and soft.shape == (FRAMES, SIZE, SIZE, 3)
    # The background's own pixels stay away from outlines.
    assert not changed[:, :4].any()


def test_figures_draw_what_the_functions_below_draw(head: HeadModel, codes: dict[str, np.ndarray]) -> None:
    avatar = plain_avatar(head)
    offsets = torch.full((head.num_vertices, 3), 0.001)
    avatar = replace(avatar, offsets=offsets)
    stand = standing_at_rest(head, avatar.shape.numpy())
    figure = AvatarFigure(avatar, head, stand, (0.2, 0.4, 0.6))
    found = np.stack(list(figure.pictures(codes, SIZE)))
    rgb, _ = draw(avatar, head, codes, stand.camera, size=(SIZE, SIZE), background=torch.tensor([0.2, 0.4, 0.6]),
                  rest=stand.rest)  # fmt: skip
    assert np.abs(found - (255 * rgb).round().numpy()).max() <= 1
    mesh = np.stack(list(MeshFigure(avatar.shape.numpy(), head, stand).pictures(codes, SIZE)))
    assert mesh.shape == found.shape and mesh.std() > 20
    # Piece by piece is the same as at once: a stream draws single frames.
    one = {name: value[2:3] for name, value in codes.items()}
    assert np.array_equal(next(iter(figure.pictures(one, SIZE))), found[2])


def test_a_head_at_rest_fills_the_picture(head: HeadModel) -> None:
    shape = np.zeros(head.num_shape, np.float32)
    stand = standing_at_rest(head, shape)
    codes = predicted_codes({"expression": np.zeros((1, head.num_expression)), "jaw": np.zeros((1, 3)),
                             "pose": np.zeros((1, 3)), "eyes": np.zeros((1, 6))}, stand)  # fmt: skip
    picture = next(iter(MeshFigure(shape, head, stand, (0, 1, 0)).pictures(codes, SIZE)))
    seen = (picture != [0, 255, 0]).any(axis=-1)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen[: SIZE // 2].any(axis=0))
    assert 2 < rows[0] < SIZE // 5 and rows[-1] == SIZE - 1
    assert abs(columns.mean() - SIZE / 2) < 3


def test_distance_is_in_millimetres(head: HeadModel, codes: dict[str, np.ndarray]) -> None:
    shape = np.zeros(head.num_shape, np.float32)
    away = codes | {"translation": codes["translation"] + np.float32([0.003, 0, 0.004])}
    assert vertex_distance_mm(head, shape, codes, codes) == 0
    assert vertex_distance_mm(head, shape, codes, away) == pytest.approx(5.0, rel=1e-3)
