from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.avatar.density import choose, divide, repair, survivors
from model.gaussians import BoundGaussians, to_world, triangle_frames


def made(count: int, faces: int, seed: int) -> BoundGaussians:
    generator = torch.Generator().manual_seed(seed)
    return BoundGaussians(
        mean=torch.randn(count, 3, generator=generator), log_scale=torch.randn(count, 3, generator=generator),
        rotation=torch.randn(count, 4, generator=generator), opacity=3 * torch.randn(count, generator=generator),
        sh=torch.randn(count, 1, 3, generator=generator),
        face=torch.randint(0, faces, (count,), generator=generator),
    )  # fmt: skip


@settings(deadline=None)
@given(count=st.integers(1, 60), faces=st.integers(1, 20), seed=st.integers(0, 99), least=st.floats(0.01, 0.99))
def test_every_face_keeps_one(count: int, faces: int, seed: int, least: float) -> None:
    gaussians = made(count, faces, seed)
    keep = survivors(gaussians, least)
    assert set(gaussians.face[keep].tolist()) == set(gaussians.face.tolist())
    opacity = torch.sigmoid(gaussians.opacity)
    assert bool(keep[opacity >= least].all())
    for index in torch.nonzero(keep & (opacity < least))[:, 0].tolist():
        same = gaussians.face == gaussians.face[index]
        assert opacity[index] == opacity[same].max() and int((keep & same).sum()) == 1


def test_what_is_not_finite_goes_unless_it_is_the_last_of_its_face() -> None:
    gaussians = made(4, 1, 0)
    gaussians.face = torch.tensor([0, 0, 1, 2])
    gaussians.opacity[:] = 2.0
    gaussians.mean[0, 1], gaussians.log_scale[2, 0] = torch.nan, torch.inf
    assert survivors(gaussians, 0.1).tolist() == [False, True, True, True]
    repair(gaussians)
    assert all(bool(torch.isfinite(value).all()) for value in gaussians.parameters().values())
    assert gaussians.mean[2].tolist() == made(4, 1, 0).mean[2].tolist() or gaussians.mean[2].tolist() == [0, 0, 0]


@settings(deadline=None)
@given(seed=st.integers(0, 99), edge=st.sampled_from([1e-3, 1.0, 30.0]))
def test_children_lie_half_a_deviation_from_their_parent_in_the_world(seed: int, edge: float) -> None:
    """Offsets are local: on a triangle of a millimetre they are a part of a millimetre, not of a metre."""
    gaussians = made(5, 1, seed)
    vertices = edge * torch.tensor([[[0.0, 0.0, 5.0], [1.0, 0.0, 5.0], [0.3, 0.8, 5.2]]])
    frames = triangle_frames(vertices, torch.tensor([[0, 1, 2]]))
    before = to_world(gaussians, frames)
    which = torch.tensor([1, 3])
    divided, descent = divide(gaussians, which)
    after = to_world(divided, frames)
    assert len(divided) == 7 and descent.parent.tolist() == [0, 1, 2, 3, 4, 1, 3]
    assert descent.fresh.tolist() == [False, True, False, True, False, True, True]
    longest = before.scales[0].amax(1)
    for first, second in ((1, 5), (3, 6)):
        middle = (after.means[0, first] + after.means[0, second]) / 2
        torch.testing.assert_close(middle, before.means[0, first], atol=1e-4 * edge, rtol=1e-4)
        apart = (after.means[0, first] - after.means[0, second]).norm()
        torch.testing.assert_close(apart, longest[first], rtol=2e-3, atol=1e-5 * edge)
        assert after.scales[0, first].amax() < longest[first]
    assert torch.equal(divided.face, gaussians.face[descent.parent])
    assert torch.equal(divided.sh, gaussians.sh[descent.parent])


def test_only_those_with_a_gradient_are_chosen() -> None:
    score = torch.tensor([0.0, 3.0, 1.0, 0.0, 2.0])
    assert choose(score, 1.0, 99).tolist() == [1, 2, 4]
    assert choose(score, 0.4, 99).tolist() == [1, 4]
    assert choose(score, 1.0, 1).tolist() == [1]
    assert choose(score, 1.0, -3).tolist() == []
