"""The fast kernels against the slow reference, and derivatives against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.gpu_scene import made_skin
from model.camera import Camera
from model.head.load import HeadModel
from model.photometric import kernels, reference, view
from model.photometric.pictures import halve, stack
from model.photometric.surface import Surface, make_surface
from model.photometric.term import PhotometricTerm
from model.raster import interpolate, rasterize, vertex_normals
from model.raster.spherical_harmonics import irradiance
from tests.model.photometric.conftest import CAMERA, Scene


def smooth_pictures(num: int, size: int, seed: int) -> np.ndarray:
    """(T, size, size, 4) uint8 waves: pictures whose derivatives are worth comparing; the matte is one of them."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1) / size
    waves = [np.sin(grid @ rng.uniform(-12, 12, 2) + rng.uniform(0, 6)) for _ in range(num * 4)]
    return np.round(127 + 100 * np.array(waves)).astype(np.uint8).reshape(num, 4, size, size).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("with_shape", [False, True])
def test_term_equals_the_reference(head: HeadModel, with_shape: bool) -> None:
    few = make_surface(head, 500, 0.006)
    rng = np.random.default_rng(0)
    num, size = 2, 96
    camera = Camera(420.0, 400.0, 50.0, 46.0, size, size)
    e, s = head.num_expression, head.num_shape if with_shape else 0
    shape = 0.5 * rng.normal(size=head.num_shape)
    motion = np.zeros((num, 15))
    motion[:, :3] = 0.15, 0.02, -0.03
    motion[:, 3:9] = 0.1 * rng.normal(size=(num, 6))
    motion[:, 9:12] = 0.2 * rng.normal(size=(num, 3))
    motion[:, 12:] = 0.0, 0.1, 0.75
    expression = rng.uniform(0, 0.4, (num, e))
    linear = np.concatenate([expression, np.tile(shape, (num, 1))], 1) if with_shape else expression
    codes = np.concatenate([linear, motion], 1)
    image = smooth_pictures(num, size, 1)
    k = len(few.samples)
    target = rng.uniform(0.2, 0.8, (num, k, 3)).astype(np.float32)
    # A few points only: the reference differentiates each residual by itself.
    some = np.sort(rng.choice(k, 70, replace=False))
    weight = np.zeros((num, k), np.float32)
    weight[:, some] = rng.uniform(0.1, 1, (num, len(some)))
    points = few.points if with_shape else few.points.with_shape(shape)
    term = PhotometricTerm(points, image, camera, target, weight, 0.05, 3.0, 0.1)
    cost, gradient, hessian = term(codes)

    double = {
        name: getattr(few.head, name).double()
        for name in ("v_template", "shapedirs", "exprdirs", "posedirs", "J_template", "J_shapedirs", "weights")
    }
    exact = type(few.head)(**{**{f: getattr(few.head, f) for f in few.head.__dataclass_fields__}, **double})
    at = torch.as_tensor(codes).requires_grad_()
    code = at[:, e : e + s] if with_shape else torch.as_tensor(shape)
    used = torch.cat([at[:, :e], at[:, e + s :]], 1)
    where = reference.sample_points(
        exact, torch.as_tensor(few.sample_corners[some]), torch.as_tensor(few.sample_bary[some]).double(), code, used
    )
    expected, counts = torch.as_tensor(target[:, some]).double(), torch.as_tensor(weight[:, some]).double()
    colours, matte = reference.residuals(torch.as_tensor(image), expected, where, camera, 0.05)
    wanted = reference.cost(colours, matte, counts, 3.0, 0.1)
    np.testing.assert_allclose(cost, wanted.detach().numpy(), rtol=1e-4)
    (slope,) = torch.autograd.grad(wanted.sum(), at, retain_graph=True)
    # A point within float32's reach of a pixel's border takes the slope on its other side: hence a norm, no maximum.
    assert np.linalg.norm(gradient - slope.numpy()) < 5e-3 * np.linalg.norm(slope.numpy())
    matrix = reference.gauss_newton(colours, matte, counts, 3.0, 0.1, at).numpy()
    assert np.linalg.norm(hessian - matrix) < 5e-3 * np.linalg.norm(matrix)
    np.testing.assert_array_equal(hessian, hessian.transpose(0, 2, 1))


def test_gradient_is_the_slope_of_the_cost(surface: Surface, scene: Scene) -> None:
    image = smooth_pictures(1, 128, 5)
    rng = np.random.default_rng(2)
    k = len(surface.samples)
    target = rng.uniform(0.2, 0.8, (1, k, 3)).astype(np.float32)
    points = surface.points.with_shape(scene.shape)
    term = PhotometricTerm(points, image, CAMERA, target, np.ones((1, k), np.float32), 0.1, 4.0, 0.05)
    codes = scene.codes[:1]
    _, gradient, _ = term(codes)
    for column in (*range(0, codes.shape[1] - 15, 7), *range(codes.shape[1] - 15, codes.shape[1])):
        step = np.zeros_like(codes)
        step[0, column] = 1e-3 if column < codes.shape[1] - 3 else 1e-4
        slope = (term(codes + step)[0] - term(codes - step)[0])[0] / (2 * step[0, column])
        assert gradient[0, column] == pytest.approx(slope, rel=0.05, abs=0.02 * np.abs(gradient[0]).max())


def test_points_outside_the_picture_cost_something_and_pull_nowhere(surface: Surface, scene: Scene) -> None:
    k = len(surface.samples)
    term = PhotometricTerm(
        surface.points.with_shape(scene.shape), smooth_pictures(2, 128, 5), CAMERA, np.zeros((2, k, 3), np.float32),
        np.ones((2, k), np.float32), 0.1, 4.0, 0.05,
    )  # fmt: skip
    away = scene.codes[:2].copy()
    away[0, -3] += 3.0  # beyond the right edge
    away[1, -1] = -1.0  # behind the camera
    cost, gradient, hessian = term(away)
    assert (cost > 0).all() and np.isfinite(gradient).all() and np.isfinite(hessian).all()
    assert not gradient[1].any()
    far = away.copy()
    far[0, -3] += 1.0
    assert term(far)[0][0] == pytest.approx(cost[0], rel=0.2)


def test_threads_and_batches_change_nothing(surface: Surface, scene: Scene) -> None:
    num, k = 9, len(surface.samples)
    image = smooth_pictures(num, 128, 5)
    target = np.random.default_rng(2).uniform(0.2, 0.8, (num, k, 3)).astype(np.float32)
    whole = PhotometricTerm(
        surface.points.with_shape(scene.shape), image, CAMERA, target, np.ones((num, k), np.float32), 0.1, 4.0, 0.05, 3
    )
    alone = PhotometricTerm(whole.points, image[4:5], CAMERA, target[4:5], whole.weight[4:5], 0.1, 4.0, 0.05, threads=1)
    for all_frames, one in zip(whole(scene.codes[:num]), alone(scene.codes[4:5]), strict=True):
        assert all_frames[4].tobytes() == one[0].tobytes()


def test_normals_and_rendering_equal_the_torch_raster(surface: Surface, scene: Scene) -> None:
    vertices = surface.pose(scene.shape, scene.codes[:2], scene.root)
    posed = view.pose(surface, vertices, CAMERA)
    points, faces = torch.from_numpy(vertices), torch.from_numpy(surface.faces)
    np.testing.assert_allclose(posed.normals, vertex_normals(points, faces).numpy(), atol=2e-4)
    # A texture that is linear in every triangle is a colour a vertex.
    template = surface.head.v_template.numpy()
    colour = np.clip(0.5 + 4 * template, 0, 1).astype(np.float32)
    texels = np.einsum("nk,nkx->nx", surface.texel_bary, colour[surface.texel_corners])
    skin = view.Skin(texels.astype(np.float32), np.ones(len(texels), bool), made_skin(surface).light)
    image, covered = view.render(surface, posed, skin, np.full((2, 3), 0.9), CAMERA)
    fragments = rasterize(points, faces, CAMERA)
    normals = torch.nn.functional.normalize(interpolate(fragments, faces, torch.from_numpy(posed.normals)), dim=-1)
    base = interpolate(fragments, faces, torch.from_numpy(colour)[None].expand(2, -1, -1))
    wanted = base * irradiance(normals, torch.from_numpy(skin.light)).clamp_min(0) * 0.9
    assert covered.mean() > 0.05
    np.testing.assert_allclose(image[covered], wanted.numpy()[covered], atol=2e-3)


def test_observed_colours_are_those_of_the_picture(surface: Surface, scene: Scene) -> None:
    image = stack(scene.frames[:2], None, 128)
    vertices = surface.pose(scene.shape, scene.codes[:2], scene.root)
    posed = view.pose(surface, vertices, CAMERA)
    colour, normal, weight = view.look(surface, posed, image, CAMERA, 0.3)
    seen = weight > 0
    assert 0.3 < seen.mean() < 0.95
    places = np.einsum("tkmx,km->tkx", vertices[:, surface.sample_corners], surface.sample_bary)
    pixels = places[..., :2] / places[..., 2:] * 560 + np.array([66.0, 60.0])
    wanted = reference.bilinear(torch.from_numpy(image).double() / 255, torch.from_numpy(pixels)).numpy()[..., :3]
    np.testing.assert_allclose(colour[seen], wanted[seen], atol=2e-3)
    view_ray = places / np.linalg.norm(places, axis=2, keepdims=True)
    cosine = -(normal * view_ray).sum(2)
    np.testing.assert_allclose(weight[seen], ((cosine - 0.3) / 0.7)[seen], atol=1e-4)
    assert not (seen & (cosine <= 0.3)).any()


def test_hidden_points_have_no_weight(surface: Surface, scene: Scene) -> None:
    """With the eyes shut no eyeball is seen; turned to the side, the far cheek is not."""
    codes = np.repeat(scene.codes[:1], 3, axis=0)
    codes[:, : surface.head.num_expression] = 0
    for side in ("Left", "Right"):
        codes[0, surface.head.expression_index(f"eyeBlink{side}")] = 1.0
    codes[1, -5] = 0.9
    vertices = surface.pose(scene.shape, codes, scene.root)
    image = np.zeros((3, 128, 128, 4), np.uint8)
    _, _, weight = view.look(surface, view.pose(surface, vertices, CAMERA), image, CAMERA, 0.2)
    eye = ~surface.skin[surface.texel_face[surface.samples]]
    assert (weight[0, eye] > 0).mean() < 0.05 < 0.1 < (weight[2, eye] > 0).mean()
    x = np.einsum("km,km->k", surface.head.v_template.numpy()[surface.sample_corners][..., 0], surface.sample_bary)
    shares = [(weight[1, part] > 0).mean() for part in (x < -0.04, x > 0.04)]
    assert min(shares) < 0.35 < 0.7 < max(shares)


def test_pictures_are_averaged(scene: Scene) -> None:
    frames = scene.frames[:3]
    matte = frames[..., 0]
    small = stack(frames, matte, 32, threads=2)
    mean = frames.reshape(3, 32, 4, 32, 4, 3).mean((2, 4))
    assert np.abs(small[..., :3] - mean).max() <= 0.51 and np.array_equal(small[..., 3], small[..., 0])
    odd = stack(frames, None, 48)  # no whole number of pixels
    assert odd.shape == (3, 48, 48, 4) and (odd[..., 3] == 255).all()
    assert np.abs(odd[..., :3].mean((1, 2)) - frames.mean((1, 2))).max() < 1.5
    assert np.abs(halve(small).astype(float) - stack(frames, matte, 16)).max() <= 1
    assert kernels._CHUNK % 2 == 0
