from __future__ import annotations

import numpy as np
import pytest
import torch

from model.camera import Camera, project
from model.head import HeadModel, load_head
from pipelines.synth import body
from pipelines.synth.layout import make_layout
from pipelines.synth.render import HeadAppearance, Lighting, SceneRenderer, make_appearance
from rsat_data.errors import RsatError

CAMERA = Camera.from_fov(24.0, 384, 216)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def looks(head: HeadModel) -> list[HeadAppearance]:
    return [make_appearance(head, seed) for seed in (3, 4)]


def posed(head: HeadModel, x: float = 0.0, z: float = 1.2, yaw_deg: float = 0.0, jaw: float = 0.0) -> np.ndarray:
    codes = head.neutral()
    codes["translation"] = torch.tensor([[x, 0.0, z]])
    codes["rotation"] = torch.tensor([[0.0, np.radians(yaw_deg), 0.0]], dtype=torch.float32)
    codes["jaw"] = torch.tensor([[jaw, 0.0, 0.0]])
    return head.pose(**codes)[0][0].numpy()


def test_same_arguments_same_bytes(head: HeadModel, looks: list[HeadAppearance]) -> None:
    again = make_appearance(head, 3)
    assert np.array_equal(again.texels, looks[0].texels) and again.traits == looks[0].traits
    pair = [posed(head, -0.2), posed(head, 0.2, yaw_deg=20)]
    one = SceneRenderer(head, looks, CAMERA, seed=1)
    frame = one.render(pair)
    assert frame.shape == (216, 384, 3) and frame.dtype == np.uint8
    one.render([posed(head, -0.1), posed(head, 0.3)])
    assert np.array_equal(one.render(pair), frame)  # nothing is left of the frame between
    assert np.array_equal(SceneRenderer(head, looks, CAMERA, seed=1, threads=3).render(pair), frame)


def test_mattes_say_where_the_people_are(head: HeadModel, looks: list[HeadAppearance]) -> None:
    renderer = SceneRenderer(head, looks, CAMERA, seed=1)
    pair = [posed(head, -0.2), posed(head, 0.2)]
    frame, mattes = renderer.render_with_mattes(pair)
    empty = renderer.render([posed(head, 50.0), posed(head, -50.0)])
    alone = (mattes[0] == 0) & (mattes[1] == 0)
    assert alone.any() and np.array_equal(frame[alone], empty[alone])
    for vertices, matte in zip(pair, mattes, strict=True):
        column, row = project(vertices[head.groups["face"].numpy()], CAMERA).astype(int).T
        assert (matte[row, column] == 255).mean() > 0.99
        assert (frame[matte == 255] != empty[matte == 255]).any(-1).mean() > 0.9


def test_the_nearer_person_hides_the_other(head: HeadModel, looks: list[HeadAppearance]) -> None:
    renderer = SceneRenderer(head, looks, CAMERA, seed=1)
    near, far = posed(head, 0.0, z=1.2), posed(head, 0.02, z=1.9)
    frame, (front, back) = renderer.render_with_mattes([near, far])
    assert np.array_equal(frame[front == 255], renderer.render([near, posed(head, 9.0)])[front == 255])
    assert (back[front == 255] == 0).all()
    assert (back > 0).any()


def test_people_differ(head: HeadModel, looks: list[HeadAppearance]) -> None:
    crops = []
    for look in [*looks, make_appearance(head, 5)]:
        renderer = SceneRenderer(head, [look], CAMERA, seed=0)
        frame, (matte,) = renderer.render_with_mattes([posed(head)])
        crops.append(np.where(matte[..., None] > 0, frame, 0).astype(np.float64))
    distances = [np.abs(a - b).mean() for i, a in enumerate(crops) for b in crops[i + 1 :]]
    assert min(distances) > 2.0


def test_paint_sticks_to_the_surface(head: HeadModel, looks: list[HeadAppearance]) -> None:
    """The same points of the cheeks keep their fine detail when the head turns (under light from everywhere)."""
    even = np.zeros((9, 3))
    even[0] = 0.7
    light = Lighting(even, np.array([0.0, 0.0, -1.0]), np.zeros(3))
    camera = Camera(3200.0, 3200.0, 320.0, 320.0, 640, 640)
    renderer = SceneRenderer(head, looks[:1], camera, seed=1, lighting=light)
    layout = make_layout(head)
    places = layout.vertices - layout.middle
    cheek = (np.abs(np.abs(places[:, 0]) - 0.03) < 0.02) & (np.abs(places[:, 1] - 0.03) < 0.02) & (places[:, 2] < 0.02)
    cheek &= layout.masks["face"] > 0
    faces = layout.faces[cheek[layout.faces].all(1)]
    bary = np.random.default_rng(0).dirichlet((1, 1, 1), (len(faces), 4))
    colours = []
    for yaw in (0.0, 12.0):
        vertices = posed(head, z=1.5, yaw_deg=yaw)
        frame = renderer.render([vertices]).astype(np.float64).mean(-1)
        points = np.einsum("fsk,fkc->fsc", bary, vertices[faces]).reshape(-1, 3)
        column, row = project(points, camera).astype(int).clip(1, 638).T
        around = np.mean([frame[row + i, column + j] for i in (-4, 4) for j in (-4, 4)], axis=0)
        colours.append(frame[row, column] - around)
    turned = np.corrcoef(colours[0], colours[1])[0, 1]
    chance = np.corrcoef(colours[0], np.roll(colours[1], 37))[0, 1]
    assert turned > 0.4 > 0.2 > chance


def test_shoulders_stay_when_the_head_turns(head: HeadModel) -> None:
    shoulders = body.make_shoulders(make_layout(head))
    assert len(np.unique(shoulders.loop)) == len(shoulders.loop) > 20
    straight, turned = (body.carry(shoulders, posed(head, yaw_deg=yaw), 0.0, 0.0) for yaw in (0.0, 30.0))
    moved = np.linalg.norm(turned - straight, axis=1)
    rim = np.concatenate([shoulders.loop, np.arange(head.num_vertices, len(straight))])
    assert moved[rim].max() < 0.004
    assert moved[head.groups["face"].numpy()].min() > 0.02
    following = body.carry(shoulders, posed(head, yaw_deg=30.0), 0.0, 1.0)
    assert np.abs(following[: head.num_vertices] - posed(head, yaw_deg=30.0)).max() < 0.004


def test_wrong_input_is_named(head: HeadModel, looks: list[HeadAppearance]) -> None:
    renderer = SceneRenderer(head, looks, CAMERA, seed=1)
    with pytest.raises(ValueError, match="2 people"):
        renderer.render([posed(head)])
    with pytest.raises(ValueError, match="shape"):
        renderer.render([posed(head), posed(head)[:-1]])
    with pytest.raises(ValueError, match="torso_yaw_deg"):
        SceneRenderer(head, looks, CAMERA, seed=1, torso_yaw_deg=[0.0])
    with pytest.raises(ValueError, match="background"):
        SceneRenderer(head, looks, CAMERA, seed=1, background=np.zeros((2, 2, 3), np.uint8))


def test_a_given_background_is_kept(head: HeadModel, looks: list[HeadAppearance]) -> None:
    wall = np.random.default_rng(0).integers(0, 170, (216, 384, 3)).astype(np.uint8)
    renderer = SceneRenderer(head, looks[:1], CAMERA, seed=1, background=wall)
    frame, (matte,) = renderer.render_with_mattes([posed(head)])
    assert np.abs(frame[matte == 0].astype(int) - wall[matte == 0]).max() <= 1


def test_a_landmark_model_finds_and_reads_the_faces(head: HeadModel, looks: list[HeadAppearance]) -> None:
    from rsat_data.registry import model_path

    try:
        file = model_path("face_landmarker", offline=True)
    except RsatError as error:
        pytest.skip(f"no landmark model at hand: {error.message}")
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    camera = Camera.from_fov(20.8, 640, 480)
    renderer = SceneRenderer(head, looks[:1], camera, seed=1)
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(file)), output_face_blendshapes=True
    )
    scores = {}
    with vision.FaceLandmarker.create_from_options(options) as landmarker:
        for yaw, jaw in ((0.0, 0.0), (0.0, 0.3), (35.0, 0.0), (-35.0, 0.0)):
            frame = renderer.render([posed(head, yaw_deg=yaw, jaw=jaw)])
            found = landmarker.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame))
            assert len(found.face_landmarks) == 1, f"no face found at yaw {yaw}, jaw {jaw}"
            scores[yaw, jaw] = {item.category_name: item.score for item in found.face_blendshapes[0]}
    assert scores[0.0, 0.0]["jawOpen"] < 0.1
    assert scores[0.0, 0.3]["jawOpen"] > 0.4
