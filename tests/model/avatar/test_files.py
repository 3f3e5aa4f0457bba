"""Avatars as files: what goes out comes back, others can read it, and hostile files are refused by name."""

from __future__ import annotations

import errno
import json
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.avatar import files, ply
from model.avatar.avatar import Avatar
from model.avatar.files import export_static, gaussians_bytes, load_avatar, read_gaussians, save_avatar
from model.avatar.ply import BadAvatarFile
from model.gaussians import BoundGaussians, one_per_face, sh_colours, to_world
from model.gaussians import triangle_frames as frames_of
from model.head import load_head
from model.quaternions import multiply, quaternion_to_matrix
from rsat_data.errors import DatasetError, DiskFullError, HeadMismatch

TURN = torch.tensor([1.0, -1.0, -1.0])
FIELDS = (
    "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3 binding_0"
).split()


def some_gaussians(count: int = 20, faces: int = 30, degree: int = 0, seed: int = 0) -> BoundGaussians:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    face = torch.randint(faces, (count,), generator=generator)
    sh = 0.3 * draw(count, (degree + 1) ** 2, 3)
    return BoundGaussians(draw(count, 3), draw(count, 3) - 1, draw(count, 4), draw(count), sh, face)


def some_mesh(vertices: int = 24, faces: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    triangles = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(faces)])
    return torch.randn(1, vertices, 3, generator=generator), triangles


def equal(a: BoundGaussians, b: BoundGaussians) -> bool:
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values(), strict=True))


def read_as_others_do(path: Path) -> dict[str, np.ndarray]:
    """A .ply as the common readers of splats see it: float32 columns by name."""
    header, _, content = path.read_bytes().partition(b"end_header\n")
    names = re.findall(rb"property float (\w+)", header)
    count = int(re.search(rb"element vertex (\d+)", header)[1])  # type: ignore[index]
    table = np.frombuffer(content, "<f4").reshape(count, len(names))
    return {name.decode(): table[:, i] for i, name in enumerate(names)}


# There and back -----------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 3), st.integers(0, 40), st.integers(0, 99))
def test_gaussians_come_back_bit_for_bit(tmp_path_factory, degree: int, count: int, seed: int) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("ply") / "a.ply"
    gaussians = some_gaussians(count, degree=degree, seed=seed)
    path.write_bytes(gaussians_bytes(gaussians))
    assert equal(read_gaussians(path, 30), gaussians)


def test_the_layout_is_the_published_one(tmp_path: Path) -> None:
    """Fields in the published order, raw local values, f_rest by channel, as their loader takes them apart."""
    path = tmp_path / "a.ply"
    gaussians = some_gaussians(degree=3)
    path.write_bytes(gaussians_bytes(gaussians))
    columns = read_as_others_do(path)
    assert list(columns) == FIELDS[:9] + [f"f_rest_{i}" for i in range(45)] + FIELDS[9:]
    assert not any(columns[name].any() for name in ("nx", "ny", "nz"))
    rest = np.stack([columns[f"f_rest_{i}"] for i in range(45)], 1).reshape(len(gaussians), 3, 15)
    signs = np.array(files.HALF_TURN_SIGNS[1:])
    np.testing.assert_array_equal(rest.transpose(0, 2, 1), gaussians.sh[:, 1:].numpy() * signs[:, None])
    np.testing.assert_array_equal(columns["binding_0"].astype(np.int64), gaussians.face.numpy())
    np.testing.assert_array_equal(columns["rot_0"], gaussians.rotation[:, 0].numpy())
    np.testing.assert_array_equal(columns["scale_2"], gaussians.log_scale[:, 2].numpy())


def test_in_their_axes_the_same_picture() -> None:
    """Opened with our mesh turned by half a turn about x, every Gaussian is ours turned, and has the same colour."""
    vertices, faces = some_mesh()
    gaussians = some_gaussians(degree=3)
    eye = torch.tensor([0.3, -0.2, -4.0])
    ours = to_world(gaussians, frames_of(vertices, faces), eye)
    signs = torch.tensor(files.HALF_TURN_SIGNS, dtype=torch.float32)
    theirs = replace(gaussians, sh=gaussians.sh * signs[:, None])  # what the file says
    there = to_world(theirs, frames_of(vertices * TURN, faces), eye * TURN)
    assert torch.allclose(there.means, ours.means * TURN, atol=1e-5)
    half = quaternion_to_matrix(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    spread = [quaternion_to_matrix(world.quats) * world.scales[..., None, :] for world in (ours, there)]
    expected = half @ spread[0] @ spread[0].mT @ half.T
    assert torch.allclose(spread[1] @ spread[1].mT, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    assert torch.allclose(there.colours, ours.colours, atol=1e-4)


def test_a_file_can_be_filled_up_to_their_degree(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    gaussians = some_gaussians()
    path.write_bytes(gaussians_bytes(gaussians, degree=3))
    assert equal(read_gaussians(path), gaussians.with_degree(3))


def test_an_avatar_comes_back(tmp_path: Path) -> None:
    head = load_head()
    gaussians = one_per_face(head, degree=1, seed=3)
    generator = torch.Generator().manual_seed(1)
    shape, offsets = torch.randn(head.num_shape, generator=generator), 1e-3 * torch.randn(head.num_vertices, 3)
    about = {"metrics": {"psnr": 31.5, "lpips": float("nan")}, "seconds": np.float32(2.5), "steps": [1, 2]}
    extras = {"torso.follow": torch.rand(7, generator=generator)}
    avatar = Avatar(gaussians, head.id, len(head.faces), shape, offsets, extras, about)
    assert save_avatar(avatar, tmp_path / "s1") == tmp_path / "s1"
    assert sorted(path.name for path in (tmp_path / "s1").iterdir()) == ["avatar.json", "avatar.npz", "avatar.ply"]
    back = load_avatar(tmp_path / "s1", head)
    assert equal(back.gaussians, gaussians) and back.head == head.id and back.num_faces == len(head.faces)
    assert torch.equal(back.shape, shape) and back.offsets is not None and torch.equal(back.offsets, offsets)
    assert back.about == {"metrics": {"psnr": 31.5, "lpips": None}, "seconds": 2.5, "steps": [1, 2]}
    assert list(back.extras) == ["torso.follow"] and torch.equal(back.extras["torso.follow"], extras["torso.follow"])
    save_avatar(replace(avatar, offsets=None, extras={}), tmp_path / "s1")
    again = load_avatar(tmp_path / "s1" / "avatar.ply")
    assert again.offsets is None and not (tmp_path / "s1" / "avatar.npz").exists()


def test_equal_avatars_give_equal_bytes(tmp_path: Path) -> None:
    avatar = Avatar(some_gaussians(), "h@1", 30, torch.ones(3), torch.zeros(4, 3))
    first, second = (save_avatar(avatar, tmp_path / name) for name in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_offsets_move_the_template_and_nothing_else() -> None:
    head = load_head()
    offsets = torch.zeros(head.num_vertices, 3)
    offsets[:, 1] = 0.01
    avatar = Avatar(one_per_face(head), head.id, len(head.faces), torch.zeros(head.num_shape))
    moved = replace(avatar, offsets=offsets)
    difference = moved.posed(head).means - avatar.posed(head).means
    assert torch.allclose(difference, torch.tensor([0.0, 0.01, 0.0]).expand_as(difference), atol=1e-6)


def test_another_head_is_refused(tmp_path: Path) -> None:
    head = load_head()
    avatar = Avatar(one_per_face(head), "flame2023-1@0123456789ab", len(head.faces), torch.zeros(3))
    with pytest.raises(HeadMismatch, match="flame2023"):
        avatar.posed(head)
    with pytest.raises(HeadMismatch, match="flame2023"):
        load_avatar(save_avatar(avatar, tmp_path), head)
    part = head.subset(torch.arange(100))
    with pytest.raises(HeadMismatch, match="faces"):
        replace(avatar, head=head.id).posed(part)


# A full disk and interruptions --------------------------------------------------------------------------------------


def broken_write(number: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, "no")

    return fail


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFullError), (errno.EACCES, DatasetError)])
def test_a_write_that_fails_leaves_the_old_avatar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    avatar = Avatar(some_gaussians(), "h@1", 30, torch.ones(3))
    save_avatar(avatar, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(ply.os, "fsync", broken_write(number))
    with pytest.raises(kind, match=r"avatar\.ply"):
        save_avatar(replace(avatar, shape=torch.zeros(3)), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interruption_while_writing_leaves_the_old_avatar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    avatar = Avatar(some_gaussians(), "h@1", 30, torch.ones(3))
    save_avatar(avatar, tmp_path)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ply.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_avatar(replace(avatar, shape=torch.zeros(3)), tmp_path)
    assert torch.equal(load_avatar(tmp_path).shape, torch.ones(3)) and len(list(tmp_path.iterdir())) == 2


def test_files_of_two_avatars_are_not_mixed(tmp_path: Path) -> None:
    save_avatar(Avatar(some_gaussians(), "h@1", 30, torch.ones(3)), tmp_path)
    (tmp_path / "avatar.ply").write_bytes(gaussians_bytes(some_gaussians(seed=1)))
    with pytest.raises(BadAvatarFile, match=r"avatar\.ply is not the file"):
        load_avatar(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "other", "format"),
        ("shape", [1, "x"], "shape"),
        ("faces", 0, "faces"),
        ("faces", True, "faces"),
        ("files", [], "files"),
        ("head", None, "head"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, key: str, value: object, message: str) -> None:
    save_avatar(Avatar(some_gaussians(), "h@1", 30, torch.ones(3)), tmp_path)
    record = json.loads((tmp_path / "avatar.json").read_text()) | {key: value}
    (tmp_path / "avatar.json").write_text(json.dumps(record))
    with pytest.raises(BadAvatarFile, match=message):
        load_avatar(tmp_path)


def test_a_record_that_is_no_json_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadAvatarFile, match="cannot be read"):
        load_avatar(tmp_path)
    for text in ("{", "[" * 100_000, "[]", "\x00"):
        (tmp_path / "avatar.json").write_text(text)
        with pytest.raises(BadAvatarFile, match=r"avatar\.json"):
            load_avatar(tmp_path)


def test_keys_of_the_file_itself_cannot_be_overwritten(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        save_avatar(Avatar(some_gaussians(), "h@1", 30, torch.ones(3), about={"shape": 1}), tmp_path)


# Hostile files ------------------------------------------------------------------------------------------------------


def good() -> bytes:
    return gaussians_bytes(some_gaussians())


def changed(old: bytes, new: bytes) -> bytes:
    content = good()
    assert old in content
    return content.replace(old, new, 1)


def with_value(column: str, value: float, row: int = 7) -> bytes:
    header, mark, content = good().partition(b"end_header\n")
    table = np.frombuffer(content, "<f4").reshape(20, len(FIELDS)).copy()
    table[row, FIELDS.index(column)] = value
    return header + mark + table.tobytes()


def zero_quaternion() -> bytes:
    header, mark, content = good().partition(b"end_header\n")
    table = np.frombuffer(content, "<f4").reshape(20, len(FIELDS)).copy()
    table[3, FIELDS.index("rot_0") : FIELDS.index("rot_0") + 4] = 0
    return header + mark + table.tobytes()


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "is empty"),
    "not a ply": (lambda: b"PK\x03\x04" + b"0" * 100, "does not start with 'ply'"),
    "text": (lambda: changed(b"binary_little_endian", b"ascii"), "its format is ascii"),
    "big endian": (lambda: changed(b"binary_little_endian", b"binary_big_endian"), "its format is binary_big_endian"),
    "no format": (lambda: changed(b"format binary_little_endian 1.0\n", b""), "its format is not said"),
    "no end": (lambda: changed(b"end_header\n", b"end_heaver\n"), "header does not end"),
    "endless": (lambda: b"ply\n" + b"comment x\n" * 20_000, "header does not end"),
    "cut off": (lambda: good()[:-5], "claims 20 vertices"),
    "only a header": (lambda: good().partition(b"end_header\n")[0] + b"end_header\n", "only 0 follow"),
    "ten million rows": (lambda: changed(b"vertex 20", b"vertex 10000000"), "claims 10000000 vertices"),
    "more rows than memory": (lambda: changed(b"vertex 20", b"vertex 999999999999999999"), "claims 9999"),
    "a count beyond counting": (lambda: changed(b"vertex 20", b"vertex " + b"9" * 5000), "expected a whole number"),
    "a negative count": (lambda: changed(b"vertex 20", b"vertex -1"), "expected a whole number"),
    "too long": (lambda: good() + b"123", "3 bytes follow"),
    "a list": (lambda: changed(b"property float nx", b"property list uchar int nx"), "'nx' is a list"),
    "an unknown type": (lambda: changed(b"float nx", b"float128 nx"), "float128"),
    "another element": (lambda: changed(b"element vertex", b"element face"), "first element is 'face'"),
    "a field twice": (lambda: changed(b"float nx", b"float x"), "'x' is there twice"),
    "no opacity": (lambda: changed(b"float opacity", b"float alpha"), "lacks the field opacity"),
    "no binding": (lambda: changed(b"float binding_0", b"float b"), "lacks the field binding_0"),
    "a wild line": (lambda: changed(b"element vertex", b"hello\nelement vertex"), "header line 'hello'"),
    "NaN": (lambda: with_value("scale_1", np.nan), "field scale_1 is nan in row 7"),
    "infinite": (lambda: with_value("x", -np.inf), "field x is -inf in row 7"),
    "a scale that overflows": (lambda: with_value("scale_1", 90.0), "row 7"),
    "no rotation": (zero_quaternion, "rot_0..3 are all zero"),
    "half a face": (lambda: with_value("binding_0", 2.5), "not a whole number"),
    "a face below": (lambda: with_value("binding_0", -1.0), "not a face of the mesh, which has 30"),
    "a face too far": (lambda: with_value("binding_0", 30.0), "not a face of the mesh, which has 30"),
    "some harmonics": (lambda: changed(b"float nx", b"float f_rest_0"), "1 fields f_rest_"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    path = tmp_path / "point_cloud.ply"
    path.write_bytes(content())
    tracemalloc.start()
    try:
        with pytest.raises(BadAvatarFile, match=re.escape(message)) as caught:
            read_gaussians(path, 30)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert str(path) in caught.value.message and caught.value.hint and caught.value.path == path


def test_any_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    content = good()
    path = tmp_path / "a.ply"
    for end in (*range(0, 600, 37), *range(600, len(content), 301)):
        path.write_bytes(content[:end])
        with pytest.raises(BadAvatarFile):
            read_gaussians(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadAvatarFile, match="cannot be read"):
        read_gaussians(tmp_path / "none.ply")


def test_other_types_columns_and_line_ends_are_read(tmp_path: Path) -> None:
    """Bindings as integers, doubles, fields in another order, further fields and elements, comments, CRLF."""
    gaussians = some_gaussians(faces=30)
    columns = {name: values for name, values in zip("xyz", gaussians.mean.numpy().T.astype("<f8"), strict=True)}
    columns |= {f"f_dc_{i}": gaussians.sh[:, 0, i].numpy() for i in range(3)} | {"extra": np.arange(20, dtype="u1")}
    columns |= {"binding_0": gaussians.face.numpy().astype("<i4"), "opacity": gaussians.opacity.numpy()}
    columns |= {f"rot_{i}": gaussians.rotation[:, i].numpy() for i in range(4)}
    columns |= {f"scale_{i}": gaussians.log_scale[:, i].numpy() for i in range(3)}
    kinds = {"<f8": "double", "|u1": "uchar", "<i4": "int", "<f4": "float32"}
    lines = ["ply", "format binary_little_endian 1.0", "comment end_header", "element vertex 20"]
    lines += [f"property {kinds[values.dtype.str]} {name}" for name, values in columns.items()]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header", ""]
    table = np.rec.fromarrays(list(columns.values()), names=list(columns))
    path = tmp_path / "a.ply"
    path.write_bytes("\r\n".join(lines).encode() + table.tobytes() + b"\x01\x00\x00\x00\x00")
    back = read_gaussians(path, 30)
    assert equal(back, gaussians)


@pytest.mark.parametrize("what", ["objects", "shape", "nan", "zip bomb", "cut off"])
def test_offsets_from_anywhere_are_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "avatar.npz"
    offsets = {
        "objects": np.array([{"a": 1}], dtype=object),
        "shape": np.zeros((4, 2)),
        "nan": np.full((4, 3), np.nan),
        "zip bomb": np.zeros((1 << 20, 3)),
        "cut off": np.zeros((4, 3)),
    }[what]
    np.savez(path, static_offset=offsets)
    if what == "cut off":
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BadAvatarFile, match=r"avatar\.npz"):
        files.read_arrays(path, {"static_offset": (None, 3)}, max_bytes=1 << 20)


# Splats for viewers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("y_up", [False, True])
def test_static_splats_are_the_world(tmp_path: Path, y_up: bool) -> None:
    vertices, faces = some_mesh()
    gaussians = some_gaussians(degree=2)
    path = tmp_path / "static.ply"
    export_static(gaussians, vertices[0], faces, path, y_up=y_up)
    world = to_world(gaussians, frames_of(vertices, faces))
    columns = read_as_others_do(path)
    assert "binding_0" not in columns and list(columns)[-4:] == ["rot_0", "rot_1", "rot_2", "rot_3"]
    turn = TURN if y_up else torch.ones(3)
    means = torch.from_numpy(np.stack([columns[c] for c in "xyz"], 1))
    assert torch.allclose(means, world.means[0] * turn, atol=1e-6)
    scales = torch.from_numpy(np.exp(np.stack([columns[f"scale_{i}"] for i in range(3)], 1)))
    assert torch.allclose(scales, world.scales[0], rtol=1e-5)
    assert torch.allclose(torch.sigmoid(torch.from_numpy(columns["opacity"].copy())), world.opacities)
    quats = torch.from_numpy(np.stack([columns[f"rot_{i}"] for i in range(4)], 1))
    expected = world.quats[0]
    if y_up:
        expected = multiply(torch.tensor([0.0, 1.0, 0.0, 0.0]).expand_as(expected), expected)
    assert torch.allclose((quats * expected).sum(-1).abs(), torch.ones(len(quats)), atol=1e-5)
    rest = torch.from_numpy(np.stack([columns[f"f_rest_{i}"] for i in range(24)], 1)).unflatten(1, (3, 8)).mT
    first = torch.from_numpy(np.stack([columns[f"f_dc_{i}"] for i in range(3)], 1))[:, None]
    directions = torch.nn.functional.normalize(world.means[0], dim=-1) * turn
    assert torch.allclose(sh_colours(torch.cat([first, rest], 1), directions), world.colours[0], atol=1e-5)
