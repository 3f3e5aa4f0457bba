"""Vertices to codes: what was posed comes back."""

from __future__ import annotations

import pytest
import torch

from model.head import HeadModel
from model.head.vertex_codes import VertexFitConfig, codes_from_vertices

QUICK = VertexFitConfig(max_vertices=700, shape_frames=4)


@pytest.fixture(scope="module")
def performance(head: HeadModel) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = 6
    expression = torch.rand(frames, head.num_expression, generator=generator)
    expression = expression * (torch.rand(expression.shape, generator=generator) < 0.2)
    eyes = 0.15 * torch.randn(frames, 6, generator=generator)
    eyes[:, [2, 5]] = 0
    return {
        "shape": 0.7 * torch.randn(head.num_shape, generator=generator),
        "expression": expression,
        "jaw": torch.rand(frames, 3, generator=generator) * torch.tensor([0.25, 0.03, 0.01]),
        "eyes": eyes,
        "rotation": 0.4 * torch.randn(frames, 3, generator=generator),
        "translation": 0.05 * torch.randn(frames, 3, generator=generator) + torch.tensor([0.0, 0.0, 0.8]),
    }


def test_codes_of_a_known_subject_come_back(head: HeadModel, performance: dict[str, torch.Tensor]) -> None:
    vertices, _ = head.pose(**performance)
    found = codes_from_vertices(head, vertices, shape=performance["shape"], config=QUICK)
    assert found.head_model == head.id
    assert float(found.residual_mm.max()) < 0.02
    for name, tolerance in (("expression", 0.03), ("jaw", 5e-4), ("eyes", 2e-3), ("rotation", 2e-4)):
        assert float((getattr(found, name) - performance[name]).abs().max()) < tolerance, name
    again, _ = head.pose(**found.codes())
    assert float(1000 * torch.linalg.norm(again - vertices, dim=-1).mean()) < 0.02


def test_shape_is_found_once_for_all_frames(head: HeadModel, performance: dict[str, torch.Tensor]) -> None:
    vertices, _ = head.pose(**performance)
    found = codes_from_vertices(head, vertices, config=QUICK)
    assert found.shape.shape == (head.num_shape,)
    assert float(found.residual_mm.mean()) < 0.1
    assert float((found.shape - performance["shape"]).abs().mean()) < 0.1
    assert float((found.jaw - performance["jaw"]).abs().max()) < 5e-3


def test_a_neck_is_solved_where_it_is_asked_for(head: HeadModel, performance: dict[str, torch.Tensor]) -> None:
    neck = torch.tensor([[0.1, -0.15, 0.05]])
    codes = {name: value if name == "shape" else value[:1] for name, value in performance.items()}
    vertices, _ = head.pose(**codes, neck=neck)
    ids = torch.arange(head.num_vertices)  # the shoulders too: without them a neck cannot be told from a rotation
    found = codes_from_vertices(
        head,
        vertices,
        vertex_ids=ids,
        shape=codes["shape"],
        solve_neck=True,
        config=VertexFitConfig(max_vertices=2500),
    )
    assert float((found.neck - neck).abs().max()) < 5e-3


def test_batches_make_no_difference(head: HeadModel, performance: dict[str, torch.Tensor]) -> None:
    vertices, _ = head.pose(**performance)
    whole = codes_from_vertices(head, vertices, shape=performance["shape"], config=QUICK)
    pieces = codes_from_vertices(
        head, vertices, shape=performance["shape"], config=VertexFitConfig(max_vertices=700, batch=2)
    )
    torch.testing.assert_close(whole.expression, pieces.expression, atol=5e-3, rtol=0)
    torch.testing.assert_close(whole.rotation, pieces.rotation, atol=1e-4, rtol=0)


def test_a_head_of_components_has_no_limits(head: HeadModel, performance: dict[str, torch.Tensor]) -> None:
    from dataclasses import replace

    from model.head.names import component_names

    free = replace(head, expression_names=component_names(head.num_expression))
    codes = {name: value if name == "shape" else value[:2] for name, value in performance.items()}
    codes["expression"] = -codes["expression"]
    vertices, _ = free.pose(**codes)
    found = codes_from_vertices(free, vertices, shape=codes["shape"], config=QUICK)
    assert float((found.expression - codes["expression"]).abs().max()) < 0.03
    doubtful = VertexFitConfig(max_vertices=700, noise_m=0.01)
    limited = codes_from_vertices(head, vertices, shape=codes["shape"], config=doubtful)
    unlimited = codes_from_vertices(free, vertices, shape=codes["shape"], config=doubtful)
    assert float(limited.expression.min()) > 0.6 * float(unlimited.expression.min())
    assert float(limited.residual_mm.mean()) > float(unlimited.residual_mm.mean())


def test_joints_that_follow_the_expression_are_followed(head: HeadModel, performance: dict[str, torch.Tensor]) -> None:
    from dataclasses import replace

    generator = torch.Generator().manual_seed(2)
    moved = replace(head, J_exprdirs=0.0004 * torch.randn(5, 3, head.num_expression, generator=generator))
    vertices, _ = moved.pose(**performance)
    assert float((vertices - head.pose(**performance)[0]).abs().max()) > 1e-4
    found = codes_from_vertices(moved, vertices, shape=performance["shape"], config=QUICK)
    assert float(found.residual_mm.max()) < 0.1


@pytest.mark.parametrize(
    ("vertices", "says"),
    [
        (torch.zeros(2, 10, 3), "vertices must be"),
        (torch.zeros(0, 5261, 3), "vertices must be"),
        (torch.full((2, 5261, 3), torch.nan), "not finite in 2 of 2"),
    ],
)
def test_bad_vertices_are_named(head: HeadModel, vertices: torch.Tensor, says: str) -> None:
    if vertices.shape[1] == 5261:
        vertices = vertices[:, :1].expand(-1, head.num_vertices, -1)
    with pytest.raises(ValueError, match=says):
        codes_from_vertices(head, vertices)
