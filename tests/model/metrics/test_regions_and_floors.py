"""Masks of mouth and eyes on the head itself, and floors on scenes whose truth is known."""

from __future__ import annotations

import math

import pytest
import torch

from model.camera import Camera, project
from model.fitting.regions import LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_EYE
from model.head import load_head
from model.metrics.floors import VertexColours, draw_vertex_colours, mean_picture, nearest_frames
from model.metrics.regions import region_masks
from model.raster import rasterize

CAMERA = Camera(180.0, 180.0, 66.0, 60.0, 128, 120)


def posed(**codes: torch.Tensor):  # type: ignore[no-untyped-def]
    head = load_head()
    values = head.neutral()
    values["translation"] = torch.tensor([[0.0, 0.0, 0.5], [0.02, 0.01, 0.5]])
    values |= codes
    return head, head.pose(values.pop("shape"), **values)[0]


def test_regions_hold_their_landmarks_and_little_else() -> None:
    head, vertices = posed()
    points = project(head.landmark_points(vertices), CAMERA)
    masks = region_masks(points, CAMERA.width, CAMERA.height)
    assert {name: mask.shape for name, mask in masks.items()} == {name: (2, 120, 128) for name in ("mouth", "eyes")}
    for b in range(2):
        for name, ids in (("mouth", LIPS_OUTER + LIPS_INNER), ("eyes", LEFT_EYE + RIGHT_EYE)):
            x, y = points[b, list(ids)].floor().long().unbind(-1)
            assert masks[name][b, y, x].all()
            assert 50 < int(masks[name][b].sum()) < 0.2 * 120 * 128
        assert not (masks["mouth"][b] & masks["eyes"][b]).any()
        nose_x, nose_y = points[b, 4].long().tolist()
        assert not masks["mouth"][b, nose_y, nose_x] and not masks["eyes"][b, nose_y, nose_x]
    # the mask moves with the face, by what its landmarks move
    moved = float((points[1] - points[0])[list(LIPS_OUTER), 0].mean())
    assert moved > 5
    centre = [masks["mouth"][b].nonzero().double().mean(0)[1] for b in range(2)]
    assert float(centre[1] - centre[0]) == pytest.approx(moved, abs=0.3)


def test_regions_outside_the_picture_or_without_numbers_are_empty() -> None:
    head, vertices = posed()
    points = project(head.landmark_points(vertices), CAMERA)
    points[0] += 1000
    points[1] = math.nan
    for mask in region_masks(points, CAMERA.width, CAMERA.height).values():
        assert not mask.any()
    assert not region_masks(torch.zeros(1, 478, 2), 20, 20)["mouth"].any()


def test_mean_picture_and_nearest_frame() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(7, 5, 6, 3, generator=generator)
    assert torch.allclose(mean_picture(iter(frames)), frames.mean(0), atol=1e-6)
    features = torch.randn(600, 4, 2, generator=generator)
    order = torch.randperm(600, generator=generator)
    assert torch.equal(nearest_frames(features, features[order] + 1e-4), order)
    with pytest.raises(ValueError, match="no picture"):
        mean_picture([])
    with pytest.raises(ValueError, match="one shape"):
        nearest_frames(features, features[:, :3])


def test_vertex_colours_are_found_again() -> None:
    """Pictures drawn with known colours, from several sides: the colours of what was seen, and the pictures, return."""
    turns = torch.tensor([[0.0, angle, 0.0] for angle in (-1.0, -0.5, 0.0, 0.5, 1.0)])
    head, vertices = posed(rotation=turns, translation=torch.tensor([[0.0, 0.0, 0.45]]))
    x = head.v_template
    truth = 0.5 + 0.4 * torch.sin(torch.stack([60 * x[:, 0], 50 * x[:, 1], 40 * x[:, 2] + 1], dim=1))
    camera = Camera(260.0, 260.0, 80.0, 80.0, 160, 160)
    fragments = rasterize(vertices, head.faces, camera)
    background = torch.tensor([0.0, 1.0, 0.0])
    pictures = draw_vertex_colours(fragments, head.faces, truth, background)
    assert (pictures[~fragments.mask] == background).all()
    floor = VertexColours(head.faces, head.num_vertices)
    for b in range(len(turns)):  # a frame at a time
        one = type(fragments)(*(value[b : b + 1] for value in (fragments.face_id, fragments.bary, fragments.depth)))
        floor.add(one, pictures[b : b + 1])
    colours = floor.solve(smooth=1e-3)
    again = draw_vertex_colours(fragments, head.faces, colours, background)
    assert float((again - pictures).abs().mean()) < 2e-3
    assert torch.isfinite(colours).all() and 0 <= float(colours.min()) and float(colours.max()) <= 1
    assert not torch.equal(floor.solve(), colours)


def test_masked_pixels_teach_nothing_and_no_pixels_are_an_error() -> None:
    head, vertices = posed()
    fragments = rasterize(vertices, head.faces, CAMERA)
    pictures = torch.full((2, 120, 128, 3), 0.25)
    pictures[:, :, 66:] = 1.0
    left = torch.zeros(2, 120, 128, dtype=torch.bool)
    left[:, :, :66] = True
    floor = VertexColours(head.faces, head.num_vertices)
    with pytest.raises(ValueError, match="shows the mesh"):
        floor.solve()
    floor.add(fragments, pictures, left)
    assert torch.allclose(floor.solve(), torch.tensor(0.25), atol=1e-3)
