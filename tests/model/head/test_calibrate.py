"""Landmarks: the casting and merging on known answers, and MediaPipe on rendered heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.head import HeadModel, LandmarkEmbedding
from model.head.calibrate import (
    CalibrationConfig,
    Detector,
    calibrate,
    camera_of,
    closest_in_triangle,
    closest_on_faces,
    face_landmarker,
    geometric_median,
    portraits,
    view_matrix,
)
from model.head.portrait import portrait
from rsat_data.errors import ModelFileError

CONFIG = CalibrationConfig()
DISTANCE = torch.tensor([0.0, 0.0, CONFIG.distance_m])


@pytest.fixture(scope="module")
def detect(landmarker_file: Path) -> Iterator[Detector]:
    with face_landmarker(landmarker_file) as detector:
        yield detector


def projected(points: torch.Tensor) -> np.ndarray:
    camera = camera_of(CONFIG)
    pixels = points[..., :2] / points[..., 2:] * camera.fx + torch.tensor([camera.cx, camera.cy])
    return pixels.numpy()


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_closest_point_in_a_triangle_beats_a_dense_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    triangle, point = torch.tensor(rng.normal(size=(1, 3, 3))).float(), torch.tensor(rng.normal(size=3)).float()
    bary = closest_in_triangle(point, triangle)[0]
    assert float(bary.sum()) == pytest.approx(1, abs=1e-5) and float(bary.min()) >= -1e-6
    steps = torch.linspace(0, 1, 60)
    u, v = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack([1 - u - v, u, v], dim=-1)[(u + v) <= 1]
    searched = torch.linalg.norm(grid @ triangle[0] - point, dim=1).min()
    assert float(torch.linalg.norm(bary @ triangle[0] - point)) <= float(searched) + 1e-5


def test_points_on_the_surface_find_their_face(head: HeadModel) -> None:
    faces = torch.arange(0, len(head.faces), 37)
    triangles = head.v_template[head.faces[faces]]
    found, bary = closest_on_faces(triangles.mean(1)[:50], triangles)
    torch.testing.assert_close((triangles[found] * bary[..., None]).sum(1), triangles.mean(1)[:50], atol=1e-6, rtol=0)


def test_geometric_median_ignores_a_minority_of_outliers() -> None:
    generator = torch.Generator().manual_seed(0)
    points = 0.001 * torch.randn(30, 1, 3, generator=generator)
    points[:9] += 1.0
    assert float(points.mean(0).norm()) > 0.4
    assert float(geometric_median(points, torch.ones(30, 1)).norm()) < 0.002


def test_a_known_embedding_is_recovered(head: HeadModel) -> None:
    """A detector that sees exactly the embedding's own points: calibration must give them back."""
    assert head.landmarks is not None
    config = replace(CONFIG, identities=2, yaw_deg=(-20.0, 0.0, 20.0), pitch_deg=(-8.0, 8.0))
    truth = iter([projected(head.landmark_points(vertices))[0] for vertices, _ in portraits(head, config)])
    found = calibrate(head, lambda image: next(truth), config)
    rest = head.v_template[None]
    error = torch.linalg.norm(found.points(rest, head.faces) - head.landmark_points(rest), dim=-1)[0]
    trusted = head.landmarks.weight > 0.5
    assert float(error[trusted].median()) < 0.0004
    assert float(error[trusted].quantile(0.95)) < 0.002


def test_too_few_faces_is_an_error(head: HeadModel) -> None:
    config = replace(CONFIG, identities=1, yaw_deg=(0.0,), pitch_deg=(0.0,), size=64)
    with pytest.raises(ModelFileError, match="only 0 of 1 portraits"):
        calibrate(head, lambda image: None, config)


def test_embedding_lies_where_it_should(head: HeadModel) -> None:
    embedding = head.landmarks
    assert isinstance(embedding, LandmarkEmbedding)
    assert float(embedding.bary.min()) >= -1e-6
    torch.testing.assert_close(embedding.bary.sum(1), torch.ones(478), atol=1e-5, rtol=0)
    points = head.landmark_points(head.v_template[None])[0]
    joints = head.J_template
    for centre, eye in ((468, joints[4]), (473, joints[3])):  # 468 is the subject's right iris
        assert float((points[centre] - eye)[:2].norm()) < 0.003
        ring = points[centre + 1 : centre + 5] - points[centre]
        assert 0.004 < float(ring.norm(dim=1).mean()) < 0.008
    ball = torch.zeros(head.num_vertices, dtype=torch.bool)
    ball[head.groups["eyes"]] = True
    assert bool(ball[head.faces[embedding.face_index[468:]]].all())
    # The outline of the face, which profiles tempt to slide: chin, corners of the jaw, in front of the ears, temples.
    for right, left, least in ((172, 397, 0.030), (132, 361, 0.050), (234, 454, 0.055), (54, 284, 0.045)):
        assert points[right, 0] < -least and points[left, 0] > least
        assert float((points[right] * torch.tensor([-1.0, 1.0, 1.0]) - points[left]).norm()) < 0.012
    lids = [33, 7, 163, 144, 145, 153, 154, 155, 133, 263, 249, 390, 373, 374, 380, 381, 382, 362]
    assert float(points[lids, 2].max()) < float(joints[3, 2]) - 0.004  # lids lie in front of the eye joints
    assert points[10, 1] < points[1, 1] < points[13, 1] < points[152, 1]  # forehead, nose tip, lip, chin
    assert points[13, 1] < points[14, 1]  # upper above lower lip
    assert points[33, 0] < points[133, 0] < points[362, 0] < points[263, 0]  # corners of the eyes, from right to left
    assert points[1, 2] < points[[33, 263, 152]][:, 2].min()  # the nose is foremost


def test_irises_turn_with_the_eyes(head: HeadModel) -> None:
    eyes = torch.tensor([[0.0, 0.3, 0.0, 0.0, 0.3, 0.0]])
    shape = torch.zeros(head.num_shape)
    moved = head.landmark_points(head.pose(shape, eyes=eyes)[0]) - head.landmark_points(head.pose(shape)[0])
    assert float(moved[0, 468:].norm(dim=1).min()) > 0.003
    assert float(moved[0, [1, 152, 10, 61, 291]].norm(dim=1).max()) < 1e-4


def test_landmarks_reproject_onto_new_people(head: HeadModel, detect: Detector) -> None:
    assert head.landmarks is not None
    errors = []
    shapes = 0.8 * torch.randn(3, head.num_shape, generator=torch.Generator().manual_seed(99))
    for shape, yaw in zip(shapes, (0.0, 18.0, -22.0), strict=True):
        vertices = head.pose(shape)[0] @ view_matrix(yaw, 4.0).T + DISTANCE
        pixels = detect(portrait(head, vertices, camera_of(CONFIG))[0].numpy())
        assert pixels is not None
        points = projected(head.landmark_points(vertices))[0]
        distance_between_eyes = np.linalg.norm(points[468] - points[473])
        error = np.linalg.norm(points - pixels, axis=1) / distance_between_eyes
        errors.append(np.average(error, weights=head.landmarks.weight.numpy()))
    assert max(errors) < 0.06 and float(np.mean(errors)) < 0.045


def test_mediapipe_reads_the_expressions(head: HeadModel, landmarker_file: Path) -> None:
    mediapipe = pytest.importorskip("mediapipe")
    vision = mediapipe.tasks.vision
    options = vision.FaceLandmarkerOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(landmarker_file)), output_face_blendshapes=True
    )
    assert head.full_strength_rad is not None
    shape = torch.zeros(head.num_shape)

    def expression(*names: str) -> torch.Tensor:
        code = torch.zeros(1, head.num_expression)
        code[0, [head.expression_index(name) for name in names]] = 1
        return code

    poses = {
        "rest": head.pose(shape),
        "jaw": head.pose(shape, jaw=torch.tensor([[head.full_strength_rad["jawOpen"], 0.0, 0.0]])),
        "smile": head.pose(shape, expression("mouthSmileLeft", "mouthSmileRight")),
        "blink": head.pose(shape, expression("eyeBlinkLeft", "eyeBlinkRight")),
        "aside": head.pose(shape, eyes=torch.tensor([[0.0, -0.4, 0.0, 0.0, -0.4, 0.0]])),
    }
    read = {}
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for name, (vertices, _) in poses.items():
            image = portrait(head, vertices + DISTANCE, camera_of(CONFIG))[0].numpy()
            result = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image))
            assert result.face_blendshapes, f"no face seen in {name}"
            read[name] = {item.category_name: item.score for item in result.face_blendshapes[0]}
    for name, wanted in (
        ("jaw", ("jawOpen",)),
        ("smile", ("mouthSmileLeft", "mouthSmileRight")),
        ("blink", ("eyeBlinkLeft", "eyeBlinkRight")),
        ("aside", ("eyeLookOutLeft", "eyeLookInRight")),  # a negative turn about y looks to the subject's left
    ):
        for action in wanted:
            assert read[name][action] > 0.45, (action, read[name][action])
            assert read["rest"][action] < 0.2, (action, read["rest"][action])
