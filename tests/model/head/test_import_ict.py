"""ICT-FaceKit: joints that do what its targets do, and faults of its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.head import HeadModel
from model.head.import_ict import (
    ARKIT_ORDER,
    NUM_VERTICES,
    TURN,
    arkit_targets,
    convert_ict,
    jaw_axis,
    read_ict,
    read_obj,
    triangles,
)
from model.head.load import head_from_arrays
from rsat_data.errors import ModelFileError, UnsafeModelFile


@pytest.fixture(scope="module")
def folder(real_data: Path) -> Path:
    return real_data / "heads" / "ict"


@pytest.fixture(scope="module")
def ict(folder: Path, head: HeadModel) -> HeadModel:
    tensors, metadata = convert_ict(read_ict(folder), "ict", folder, head)
    return head_from_arrays(tensors, metadata, "0" * 64)


def target(folder: Path, ict: HeadModel, name: str) -> np.ndarray:
    """(V, 3) a target of the file in our frame, metres, at the vertices that were kept."""
    found = read_ict(folder)
    kept = convert_ids(found.template.shape[0])
    return (arkit_targets(found.expressions)[name] * TURN * 0.01)[kept]


def convert_ids(count: int) -> np.ndarray:
    from model.head.import_ict import LEFT_OUT

    keep = np.ones(count, dtype=bool)
    for start, stop in LEFT_OUT:
        keep[start:stop] = False
    return np.flatnonzero(keep)


def test_sizes_and_frame(ict: HeadModel, head: HeadModel) -> None:
    assert ict.num_vertices == NUM_VERTICES - 2360 and ict.num_shape == 100
    assert ict.expression_names == tuple(ARKIT_ORDER)
    assert int(ict.faces.min()) >= 0 and int(ict.faces.max()) < ict.num_vertices
    nose = int(ict.v_template[:, 2].argmin())
    assert abs(float(ict.v_template[nose, 0])) < 0.01  # foremost is the nose: the face looks to -z
    torch.testing.assert_close(ict.J_template[3:].mean(0), head.J_template[3:].mean(0), atol=2e-4, rtol=0)
    assert float(ict.J_template[3, 0]) > 0.02  # the left eye is on the image's right
    assert float((ict.weights.sum(1) - 1).abs().max()) < 1e-5 and float(ict.weights.min()) >= 0


def test_the_jaw_gives_back_the_target_at_full_strength(folder: Path, ict: HeadModel) -> None:
    assert ict.full_strength_rad is not None
    angle = ict.full_strength_rad["jawOpen"]
    assert 0.15 < angle < 0.6
    found, _ = ict.pose(torch.zeros(100), jaw=torch.tensor([[angle, 0.0, 0.0]]))
    moved = (found[0] - ict.v_template).numpy()
    distance = 1000 * np.linalg.norm(moved - target(folder, ict, "jawOpen"), axis=1)
    assert float(distance.max()) < 0.2
    teeth = ict.groups["lower_teeth"].numpy()
    assert float(moved[teeth, 1].mean()) > 0.01  # opening moves down, which is +y


def test_expressions_are_the_targets_of_the_files(folder: Path, ict: HeadModel) -> None:
    for name in ("mouthSmileLeft", "browInnerUp", "mouthClose"):
        expression = torch.zeros(1, len(ARKIT_ORDER))
        expression[0, ict.expression_index(name)] = 1
        found, _ = ict.pose(torch.zeros(100), expression=expression)
        expected = target(folder, ict, name)
        assert float(np.abs((found[0] - ict.v_template).numpy() - expected).max()) < 3e-5


def test_eyes_turn_and_lids_follow(ict: HeadModel) -> None:
    down, _ = ict.pose(torch.zeros(100), eyes=torch.tensor([[0.3, 0.0, 0.0, 0.3, 0.0, 0.0]]))
    moved = (down[0] - ict.v_template).numpy()
    for side in ("left", "right"):
        assert float(moved[ict.groups[f"{side}_iris"].numpy(), 1].mean()) > 0.002
        lashes = np.intersect1d(ict.groups[f"{side}_lashes"].numpy(), ict.groups["upper_lashes"].numpy())
        assert float(moved[lashes, 1].mean()) > 0.001
    left, _ = ict.pose(torch.zeros(100), eyes=torch.tensor([[0.0, -0.3, 0.0, 0.0, -0.3, 0.0]]))
    assert float((left[0] - ict.v_template)[ict.groups["left_iris"], 0].mean()) > 0.002  # the subject's left is +x


def test_jaw_axis_of_a_known_turn() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 3))
    joint, angle = np.array([0.0, 0.4, -0.3]), 0.35
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    found, turned = jaw_axis(points, (points - joint) @ turn.T + joint - points)
    np.testing.assert_allclose(found, joint, atol=1e-9)
    assert turned == pytest.approx(angle)
    with pytest.raises(ModelFileError, match="rad only"):
        jaw_axis(points, np.zeros_like(points))


def test_quads_are_cut_and_triangles_stay() -> None:
    faces = np.array([[0, 1, 2, 3], [4, 5, 6, -1]])
    assert triangles(faces).tolist() == [[0, 1, 2], [4, 5, 6], [0, 2, 3]]


def test_obj_files(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    path.write_text("# c\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nvt 0 0\nf 1/1/1 2/1 4 3\nf 1 2 3\n", encoding="utf-8")
    vertices, faces = read_obj(path, with_faces=True)
    assert vertices.shape == (4, 3) and faces.tolist() == [[0, 1, 3, 2], [0, 1, 2, -1]]
    path.write_text("v 0 0 x\n", encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"a\.obj is a damaged OBJ"):
        read_obj(path, with_faces=False)


def test_bad_copies_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds no ICT-FaceKit"):
        read_ict(tmp_path)
    neutral = tmp_path / "generic_neutral_mesh.obj"
    neutral.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", encoding="utf-8")
    with pytest.raises(ModelFileError, match="0 identity and 0 expression"):
        read_ict(tmp_path)
    (tmp_path / "identity000.obj").write_text("v 0 0 0\n", encoding="utf-8")
    with pytest.raises(ModelFileError, match="identity000.obj has 1 vertices"):
        read_ict(tmp_path)
    (tmp_path / "identity000.obj").write_text(neutral.read_text(), encoding="utf-8")
    (tmp_path / "jawOpen.obj").write_text(neutral.read_text(), encoding="utf-8")
    with pytest.raises(ModelFileError, match="its mesh has 3 vertices"):
        read_ict(tmp_path)
    packed = tmp_path / "ict.npz"
    np.savez(packed, v_template=np.zeros((3, 3)))
    with pytest.raises(ModelFileError, match="lacks"):
        read_ict(packed)
    np.savez(packed, expr_names=np.array([{}], dtype=object))
    with pytest.raises(UnsafeModelFile, match="objects"):
        read_ict(packed)
    packed.write_bytes(packed.read_bytes()[:50])
    with pytest.raises(ModelFileError, match="truncated"):
        read_ict(packed)
