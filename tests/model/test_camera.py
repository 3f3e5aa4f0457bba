from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.camera import Camera, project, unproject

CAMERA = Camera(fx=900.0, fy=880.0, cx=300.5, cy=255.25, width=640, height=480)


def _points(count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(count, 3))
    points[:, 2] = 0.4 + np.abs(points[:, 2])
    return points


def test_optical_axis_hits_the_principal_point() -> None:
    assert np.allclose(project(np.array([0.0, 0.0, 2.0]), CAMERA), [300.5, 255.25])


def test_x_goes_right_and_y_goes_down() -> None:
    pixel = project(np.array([0.1, 0.2, 1.0]), CAMERA)
    assert np.allclose(pixel, [300.5 + 90.0, 255.25 + 176.0])


def test_numpy_and_torch_agree_and_torch_has_gradients() -> None:
    points = _points()
    tensor = torch.tensor(points, requires_grad=True)
    pixels = project(tensor, CAMERA)
    assert np.allclose(pixels.detach().numpy(), project(points, CAMERA))
    assert torch.autograd.gradcheck(lambda p: project(p, CAMERA), (tensor[:4].detach().requires_grad_(True),))


def test_unproject_inverts_project() -> None:
    points = _points()
    assert np.allclose(unproject(project(points, CAMERA), points[:, 2], CAMERA), points)
    tensor = torch.tensor(points)
    assert torch.allclose(unproject(project(tensor, CAMERA), tensor[:, 2], CAMERA), tensor)


def test_matrix_projects_like_project() -> None:
    points = _points()
    homogeneous = points @ CAMERA.matrix().T
    assert np.allclose(homogeneous[:, :2] / homogeneous[:, 2:], project(points, CAMERA))


@given(x0=st.floats(-200, 200), y0=st.floats(-200, 200), side=st.floats(20, 900), size=st.sampled_from([64, 256, 512]))
def test_square_crop_is_shift_and_scale(x0: float, y0: float, side: float, size: int) -> None:
    points = _points()
    expected = (project(points, CAMERA) - [x0, y0]) * size / side
    assert np.allclose(project(points, CAMERA.crop_square(x0, y0, side, size)), expected, atol=1e-6)


def test_scaled_and_crop() -> None:
    points = _points()
    half = CAMERA.scaled(320, 160)
    assert np.allclose(project(points, half), project(points, CAMERA) * [0.5, 1 / 3])
    window = CAMERA.crop(10, 20, 100, 50)
    assert (window.width, window.height) == (100, 50)
    assert np.allclose(project(points, window), project(points, CAMERA) - [10, 20])


def test_from_fov_spans_the_height() -> None:
    camera = Camera.from_fov(40.0, 1280, 720)
    top = np.array([0.0, -np.tan(np.radians(20.0)), 1.0])
    assert np.allclose(project(top, camera), [640.0, 0.0])


def test_points_behind_the_camera_stay_finite() -> None:
    assert np.isfinite(project(np.array([[0.1, 0.1, 0.0], [0.1, 0.1, -1.0]]), CAMERA)).all()


@pytest.mark.parametrize(
    "bad",
    [
        {"fx": 0.0},
        {"fy": -1.0},
        {"width": 0},
        {"cx": float("nan")},
    ],
)
def test_impossible_cameras_are_refused(bad: dict[str, float]) -> None:
    values: dict[str, float] = {"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "width": 4, "height": 4} | bad
    with pytest.raises(ValueError, match="Camera"):
        Camera(**values)  # type: ignore[arg-type]


def test_a_crop_needs_a_side() -> None:
    with pytest.raises(ValueError, match="side"):
        CAMERA.crop_square(0, 0, 0, 64)
