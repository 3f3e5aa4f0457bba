"""GaussianAvatars' files: their program's own posing, in their axes, puts every Gaussian where ours does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.avatar.avatar import Avatar
from model.avatar.files import gaussians_bytes
from model.avatar.gaussian_avatars import TEETH_FACES, export_gaussian_avatars, import_gaussian_avatars
from model.avatar.ply import BadAvatarFile
from model.gaussians import join, one_per_face, to_world, triangle_frames
from model.head import HeadModel, load_head
from tests import flame_factory

TURN = torch.tensor([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[flame_factory.MadeFlame, HeadModel]:
    flame = flame_factory.make_flame()
    path = tmp_path_factory.mktemp("head") / "flame.safetensors"
    flame.write(path, "flame2023")
    return flame, load_head(path)


def an_avatar(head: HeadModel) -> Avatar:
    generator = torch.Generator().manual_seed(5)
    gaussians = one_per_face(head, degree=1)
    gaussians = replace(
        gaussians,
        mean=0.3 * torch.randn(gaussians.mean.shape, generator=generator),
        rotation=torch.randn(gaussians.rotation.shape, generator=generator),
        sh=0.2 * torch.randn(gaussians.sh.shape, generator=generator),
    )
    offsets = 1e-3 * torch.randn(head.num_vertices, 3, generator=generator)
    shape = torch.randn(head.num_shape, generator=generator)
    return Avatar(gaussians, head.id, len(head.faces), shape, offsets)


def some_codes(head: HeadModel, frames: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    sizes = {name: value.shape[-1] for name, value in head.neutral().items() if name != "shape"}
    return {name: 0.3 * torch.randn(frames, size, generator=generator) for name, size in sizes.items()}


def test_there_and_back(made, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _, head = made
    avatar, codes = an_avatar(head), some_codes(head)
    export_gaussian_avatars(avatar, codes, tmp_path, num_vertices=head.num_vertices)
    back, again = import_gaussian_avatars(tmp_path, head)
    assert torch.equal(back.gaussians.mean, avatar.gaussians.mean) and torch.equal(back.shape, avatar.shape)
    assert torch.equal(back.gaussians.sh[:, :4], avatar.gaussians.sh)
    assert back.offsets is not None and avatar.offsets is not None and torch.equal(back.offsets, avatar.offsets)
    assert again.keys() == codes.keys()
    for name, value in codes.items():
        assert torch.equal(again[name], value), name
    assert torch.allclose(back.posed(head, **again).means, avatar.posed(head, **codes).means)


def test_their_own_posing_in_their_axes_puts_gaussians_where_we_do(made, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """The yardstick poses in FLAME's axes from the arrays in the file; the binding follows from its vertices."""
    flame, head = made
    avatar, codes = replace(an_avatar(head), offsets=None), some_codes(head, 1)
    export_gaussian_avatars(avatar, codes, tmp_path, num_vertices=head.num_vertices)
    stored = np.load(tmp_path / "flame_param.npz")
    names = ("jaw_pose", "neck_pose", "eyes_pose", "rotation", "translation")
    theirs = flame.pose_y_up(stored["shape"], stored["expr"][0], *(stored[name][0] for name in names))
    vertices = torch.from_numpy(np.asarray(theirs, np.float32))[None]
    there = to_world(avatar.gaussians.with_degree(0), triangle_frames(vertices, torch.from_numpy(flame.faces).long()))
    ours = avatar.posed(head, **codes)
    assert torch.allclose(there.means * TURN, ours.means, atol=1e-5)
    assert torch.allclose(there.scales, ours.scales, rtol=1e-3)


def test_gaussians_on_their_teeth_are_left_out_and_counted(made, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    _, head = made
    gaussians = an_avatar(head).gaussians
    teeth = gaussians.select(torch.arange(5))
    teeth.face = len(head.faces) + torch.arange(5)
    path = tmp_path / "point_cloud.ply"
    path.write_bytes(gaussians_bytes(join([teeth, gaussians])))
    avatar, codes = import_gaussian_avatars(path, head)
    assert len(avatar.gaussians) == len(gaussians) and not codes and not avatar.shape.any()
    assert avatar.about["dropped_teeth_gaussians"] == 5
    teeth.face += TEETH_FACES
    path.write_bytes(gaussians_bytes(join([teeth, gaussians])))
    with pytest.raises(BadAvatarFile, match="belongs to another head"):
        import_gaussian_avatars(path, head)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("jaw_pose", None, "'jaw_pose' is missing"),
        ("rotation", np.zeros((2, 4), np.float32), "'rotation' is"),
        ("translation", np.zeros((3, 3), np.float32), "number of frames"),
        ("shape", np.ones(900, np.float32), "900 codes in use"),
        ("expr", np.array([{}], dtype=object), "readable"),
        ("static_offset", np.ones((1, 5, 3), np.float32), "static_offset"),
        ("neck_pose", np.full((2, 3), np.nan, np.float32), "neck_pose"),
    ],
)
def test_parameters_that_do_not_fit_are_named(made, tmp_path: Path, name: str, value, message: str) -> None:  # type: ignore[no-untyped-def]
    _, head = made
    export_gaussian_avatars(an_avatar(head), some_codes(head), tmp_path, num_vertices=head.num_vertices)
    arrays = dict(np.load(tmp_path / "flame_param.npz"))
    arrays[name] = value
    if value is None:
        del arrays[name]
    np.savez(tmp_path / "flame_param.npz", **arrays)
    with pytest.raises(BadAvatarFile, match=message):
        import_gaussian_avatars(tmp_path, head)
