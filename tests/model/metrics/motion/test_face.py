from __future__ import annotations

import numpy as np
import pytest
import torch

from model.head import HeadModel, load_head
from model.metrics.motion import FaceShape


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head("open")


@pytest.fixture(scope="module")
def face(head: HeadModel) -> FaceShape:
    return FaceShape(head)


def test_vertices_are_the_head_models(head: HeadModel, face: FaceShape) -> None:
    rng = np.random.default_rng(0)
    shape = rng.normal(size=head.num_shape).astype(np.float32)
    expression = rng.uniform(0, 1, (5, head.num_expression)).astype(np.float32)
    jaw = (rng.normal(size=(5, 3)) * 0.2).astype(np.float32)
    wanted, _ = head.pose(torch.tensor(shape), expression=torch.tensor(expression), jaw=torch.tensor(jaw))
    np.testing.assert_allclose(face.vertices(shape, expression, jaw), wanted.numpy() * 1000, atol=1e-3)
    np.testing.assert_allclose(face.rest(shape), head.pose(torch.tensor(shape))[0][0].numpy() * 1000, atol=1e-3)
    one = face.vertices(shape, expression[[2] * 4], jaw[[2] * 4])  # a face that does not move
    np.testing.assert_allclose(one[3], wanted[2].numpy() * 1000, atol=1e-3)


def test_sets_have_hashes_and_lie_where_they_should(head: HeadModel, face: FaceShape) -> None:
    lips, upper = face.sets["lips"], face.sets["upper_face"]
    np.testing.assert_array_equal(lips.ids, head.groups["lips"].numpy())
    assert len({one.sha256 for one in face.sets.values()}) == 3 and len(lips.sha256) == 64
    height = head.v_template[:, 1]  # down
    assert len(upper.ids) > 200 and not set(upper.ids) & set(lips.ids)
    assert height[upper.ids].max() < height[lips.ids].min()
    assert set(head.groups["brows"].tolist()) <= set(upper.ids)


def test_the_jaw_opens_the_lips(head: HeadModel, face: FaceShape) -> None:
    shape = np.zeros(head.num_shape, np.float32)
    jaw = np.zeros((3, 3), np.float32)
    jaw[:, 0] = (0.0, 0.1, 0.2)
    gap = face.lip_gap(face.vertices(shape, np.zeros((3, head.num_expression), np.float32), jaw))
    assert gap is not None and gap[0] < gap[1] - 3 < gap[2] - 6


def test_smiles_need_named_codes(head: HeadModel, face: FaceShape) -> None:
    codes = np.zeros((2, head.num_expression), np.float32)
    codes[1, head.expression_index("mouthSmileLeft")] = 1
    assert face.smile(codes).tolist() == [0, 0.5]
    from dataclasses import replace

    bare = FaceShape(replace(head, expression_names=tuple(f"exp_{i:03d}" for i in range(head.num_expression))))
    assert bare.smile(codes) is None
    assert FaceShape(replace(head, landmarks=None)).lip_gap(face.vertices(np.zeros(100), codes, codes[:, :3])) is None
