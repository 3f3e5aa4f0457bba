"""LAM heads: a small one made here, broken in every way, and the real one where it is at hand."""

from __future__ import annotations

import errno
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.avatar import lam as lam_module
from model.avatar.files import load_avatar
from model.avatar.lam import HEAD_FILE, TURN, import_lam, read_lam
from model.avatar.ply import BadAvatarFile, table_bytes
from model.camera import Camera
from model.head import load_head
from model.head.pose import axis_angle_to_matrix
from model.quaternions import quaternion_to_matrix
from model.raster.gaussian import rasterize_gaussians
from rsat_data.errors import DatasetError, DiskFullError

BONES = ("hip", "chestUpper", "neckLower", "neckUpper", "head")
HEIGHTS = (0.0, 1.3, 1.45, 1.5, 1.55)


class Parts:
    """A rigged mesh of 30 vertices as the parts of a GLB file."""

    def __init__(self, vertices: int = 30, faces: int = 40) -> None:
        rng = np.random.default_rng(0)
        self.vertices = (rng.normal(0, 0.1, (vertices, 3)) + [0, 1.6, 0]).astype("<f4")
        self.faces = np.stack([rng.permutation(vertices)[:3] for _ in range(faces)]).astype("<u2")
        self.moved = rng.permutation(vertices)[:7].astype("<u2")
        self.moves = rng.normal(0, 0.01, (7, 3)).astype("<f4")
        self.all_moves = rng.normal(0, 0.01, (vertices, 3)).astype("<f4")
        bones = np.tile([4, 3, 2, 1], (vertices, 1)).astype("u1")
        weights = self.weights = rng.dirichlet([5, 1, 1, 1], vertices).astype("<f4")
        inverse = np.zeros((len(BONES), 4, 4), "<f4")
        for i, height in enumerate(HEIGHTS):
            inverse[i] = np.diag([100, 100, 100, 1])
            inverse[i, 3, 1] = -100 * height  # column by column
        self.binary = b""
        self.document: dict[str, Any] = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": []}
        position = self.add(self.vertices, "VEC3")
        indices = self.add(self.faces.reshape(-1, 1), "SCALAR")
        joints, shares = self.add(bones, "VEC4"), self.add(weights, "VEC4")
        matrices = self.add(inverse.reshape(-1, 16), "MAT4")
        views = [self.view(self.moved), self.view(self.moves)]
        sparse = {"count": 7, "indices": {"bufferView": views[0], "componentType": 5123}}
        sparse["values"] = {"bufferView": views[1]}
        self.document["accessors"].append({"componentType": 5126, "count": vertices, "type": "VEC3", "sparse": sparse})
        targets = [{"POSITION": len(self.document["accessors"]) - 1}, {"POSITION": self.add(self.all_moves, "VEC3")}]
        attributes = {"POSITION": position, "JOINTS_0": joints, "WEIGHTS_0": shares}
        primitive = {"attributes": attributes, "indices": indices, "targets": targets}
        self.document["meshes"] = [{"primitives": [primitive], "extras": {"targetNames": ["jawOpen", "cheekPuff"]}}]
        self.document["nodes"] = [{"name": name} for name in BONES]
        self.document["skins"] = [{"joints": [0, 1, 2, 3, 4], "inverseBindMatrices": matrices}]
        columns = {name: rng.normal(0, 0.03, vertices) for name in "xyz"}
        columns |= {f"f_dc_{i}": rng.uniform(0, 1, vertices) for i in range(3)} | {"opacity": rng.normal(size=vertices)}
        columns |= {f"scale_{i}": rng.uniform(-8, -5, vertices) for i in range(3)}
        columns |= {f"rot_{i}": rng.normal(size=vertices) for i in range(4)}
        self.columns = columns

    def view(self, values: np.ndarray) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        self.document["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": values.nbytes})
        self.binary += values.tobytes()
        return len(self.document["bufferViews"]) - 1

    def add(self, values: np.ndarray, kind: str) -> int:
        number = {"<f4": 5126, "|u1": 5121, "<u2": 5123}[values.dtype.str]
        self.document["accessors"].append(
            {"bufferView": self.view(values), "componentType": number, "count": len(values), "type": kind}
        )
        return len(self.document["accessors"]) - 1

    def glb(self) -> bytes:
        text = json.dumps(self.document).encode()
        text += b" " * (-len(text) % 4)
        body = struct.pack("<II", len(text), 0x4E4F534A) + text
        body += struct.pack("<II", len(self.binary), 0x004E4942) + self.binary
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body

    def write(self, path: Path, *, skin: bytes | None = None, offset: bytes | None = None) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("p/skin.glb", self.glb() if skin is None else skin)
            archive.writestr("__MACOSX/p/skin.glb", b"junk")
            archive.writestr("p/offset.ply", table_bytes(self.columns) if offset is None else offset)
        return path


def moved_by_hand(parts: Parts, name: str) -> torch.Tensor:
    if name == "cheekPuff":
        return torch.from_numpy(parts.all_moves * TURN)
    step = np.zeros_like(parts.vertices)
    step[parts.moved] = parts.moves
    return torch.from_numpy(step * TURN)


def test_gaussians_stand_at_their_vertices_and_move_with_them(tmp_path: Path) -> None:
    parts = Parts()
    avatar, head = import_lam(parts.write(tmp_path / "me.zip"), tmp_path / "out")
    assert head.expression_names == ("jawOpen", "cheekPuff") and head.num_shape == 0
    rest = avatar.posed(head, **head.neutral() | {"shape": avatar.shape})
    offsets = np.stack([parts.columns[name] for name in "xyz"], 1)
    expected = torch.from_numpy((parts.vertices + offsets) * TURN).float()
    shift = rest.means[0] - expected
    assert torch.allclose(shift, shift[:1].expand_as(shift), atol=1e-5)  # the origin is ours to choose
    scales = np.exp(np.stack([parts.columns[f"scale_{i}"] for i in range(3)], 1))
    assert torch.allclose(rest.scales[0], torch.from_numpy(scales).float(), rtol=1e-3)
    colours = np.stack([parts.columns[f"f_dc_{i}"] for i in range(3)], 1)
    assert torch.allclose(rest.colours, torch.from_numpy(colours).float(), atol=1e-6)  # plain RGB, no harmonics
    theirs = quaternion_to_matrix(torch.from_numpy(np.stack([parts.columns[f"rot_{i}"] for i in range(4)], 1)).float())
    turned = torch.from_numpy(np.diag(TURN)).float() @ theirs
    assert torch.allclose(quaternion_to_matrix(rest.quats[0]), turned, atol=2e-3)
    for i, name in enumerate(head.expression_names):
        code = torch.zeros(1, 2)
        code[0, i] = 0.7
        there = avatar.posed(head, expression=code)
        step = 0.7 * moved_by_hand(parts, name).float()
        assert torch.allclose(there.means[0] - rest.means[0], step, atol=5e-5)
        assert torch.allclose(there.scales, rest.scales, rtol=1e-3)


def test_the_neck_turns_the_head_and_leaves_the_chest(tmp_path: Path) -> None:
    parts = Parts()
    lam = read_lam(parts.write(tmp_path / "me.zip"))
    assert np.allclose(lam.joints[0] - lam.joints[1], [0, 0.15, 0], atol=1e-5)  # the neck stands higher: y is down
    share = np.array([1.0, 2 / 3, 1 / 3, 0.0])  # of head, upper and lower neck, chest
    np.testing.assert_allclose(lam.weights[:, 1], parts.weights @ share, atol=1e-6)
    np.testing.assert_allclose(lam.weights.sum(1), 1)
    parts = Parts()
    parts.weights[:] = 0
    parts.weights[:15, 0], parts.weights[15:, 3] = 1, 1  # all head, all chest
    parts.binary = parts.binary.replace(Parts().weights.tobytes(), parts.weights.tobytes())
    avatar, head = import_lam(parts.write(tmp_path / "two.zip"), tmp_path / "out")
    rest = avatar.posed(head, neck=torch.zeros(1, 3)).means[0]
    turned = avatar.posed(head, neck=torch.tensor([[0.0, 0.5, 0.0]])).means[0]
    assert torch.equal(turned[15:], rest[15:])
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.5, 0.0]))
    assert torch.allclose(turned[:15], (rest[:15] - head.J_template[1]) @ turn.T + head.J_template[1], atol=1e-4)


def test_it_is_kept_in_a_folder_with_its_head(tmp_path: Path) -> None:
    avatar, head = import_lam(Parts().write(tmp_path / "my head!.zip"), tmp_path / "out")
    assert head.name == "lam-my-head--1"
    again = load_head(tmp_path / "out" / HEAD_FILE)
    back = load_avatar(tmp_path / "out", again)
    assert back.head == avatar.head == again.id and torch.equal(back.gaussians.mean, avatar.gaussians.mean)
    assert back.about["imported_from"] == "LAM"


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    path = Parts().write(tmp_path / "me.zip")
    monkeypatch.setattr(lam_module, "write_head_file", full)
    with pytest.raises(DiskFullError, match=HEAD_FILE):
        import_lam(path, tmp_path / "out")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot be written"):
        import_lam(path, tmp_path / "file")


def test_a_folder_is_as_good_as_a_zip(tmp_path: Path) -> None:
    parts = Parts()
    (tmp_path / "skin.glb").write_bytes(parts.glb())
    (tmp_path / "offset.ply").write_bytes(table_bytes(parts.columns))
    assert np.array_equal(read_lam(tmp_path).splats, read_lam(parts.write(tmp_path / "me.zip")).splats)


def document(change: Callable[[dict[str, Any]], object]) -> Callable[[Parts], bytes]:
    def made(parts: Parts) -> bytes:
        change(parts.document)
        return parts.glb()

    return made


def spoilt_index(parts: Parts) -> bytes:
    parts.binary = parts.binary.replace(parts.faces.tobytes(), (parts.faces + 20).astype("<u2").tobytes())
    return parts.glb()


def spoilt_number(parts: Parts) -> bytes:
    parts.binary = b"\x00\x00\xc0\x7f" + parts.binary[4:]
    return parts.glb()


SKINS: dict[str, tuple[Callable[[Parts], bytes], str]] = {
    "empty": (lambda parts: b"", "not a binary glTF"),
    "text": (lambda parts: b'{"asset": {"version": "2.0"}}', "not a binary glTF"),
    "cut off": (lambda parts: parts.glb()[:-9], "claims version 2"),
    "part too long": (lambda parts: parts.glb()[:12] + b"\xff\xff\xff\x7f" + parts.glb()[16:], "claims 2147483647"),
    "no json": (lambda parts: parts.glb().replace(b'{"asset"', b'["asset"', 1), "JSON"),
    "deep json": (
        lambda parts: struct.pack("<4sIIII", b"glTF", 2, 400020, 400000, 0x4E4F534A) + b"[" * 400000,
        "JSON",
    ),
    "huge count": (document(lambda d: d["accessors"][0].update(count=10**12)), "not there"),
    "huge sparse": (document(lambda d: d["accessors"][5].update(count=10**12)), "expected 30"),
    "sparse count": (document(lambda d: d["accessors"][5]["sparse"].update(count=10**12)), "not there"),
    "sparse rows": (document(lambda d: d["accessors"][5]["sparse"]["indices"].update(componentType=5126)), "sparse"),
    "sparse nothing": (document(lambda d: d["accessors"][5].update(sparse=[])), "sparse"),
    "negative offset": (document(lambda d: d["bufferViews"][0].update(byteOffset=-4)), "own buffer"),
    "another buffer": (document(lambda d: d["bufferViews"][0].update(buffer=1)), "own buffer"),
    "interleaved": (document(lambda d: d["bufferViews"][0].update(byteStride=44)), "interleaved"),
    "no view": (document(lambda d: d["accessors"][0].update(bufferView=99)), "bufferViews"),
    "wrong kind": (document(lambda d: d["accessors"][0].update(type="VEC2")), "expected VEC3"),
    "no mesh": (document(lambda d: d.pop("meshes")), "meshes"),
    "lines": (document(lambda d: d["meshes"][0]["primitives"][0].update(mode=1)), "triangles"),
    "names": (document(lambda d: d["meshes"][0]["extras"].update(targetNames=["jawOpen"])), "names of their own"),
    "no bones": (document(lambda d: d["skins"][0].update(joints=[])), "no joints"),
    "no neck": (document(lambda d: d["nodes"][2].update(name="spine")), "no bone called neckLower"),
    "bone away": (document(lambda d: d["skins"][0].update(joints=[0, 1, 2, 3, 9])), "nodes"),
    "faces away": (spoilt_index, "do not make triangles"),
    "no number": (spoilt_number, "not finite"),
}


@pytest.mark.parametrize("name", SKINS)
def test_a_hostile_skin_is_refused_by_name(tmp_path: Path, name: str) -> None:
    change, message = SKINS[name]
    parts = Parts()
    path = parts.write(tmp_path / "me.zip", skin=change(parts))
    with pytest.raises(BadAvatarFile, match=message) as caught:
        read_lam(path)
    assert "skin.glb" in caught.value.message and caught.value.hint


def test_hostile_offsets_and_zips(tmp_path: Path) -> None:
    parts = Parts()
    for offset, message in (
        (b"ply\n", "header does not end"),
        (table_bytes(Parts(29).columns), "29 Gaussians"),
        (table_bytes({**parts.columns, "opacity": np.full(30, np.nan)}), "opacity is nan"),
        (table_bytes({name: v for name, v in parts.columns.items() if name != "rot_3"}), "lacks the field rot_3"),
        (table_bytes({**parts.columns, "scale_0": np.full(30, 99.0)}), "scale"),
    ):
        with pytest.raises(BadAvatarFile, match=message) as caught:
            read_lam(parts.write(tmp_path / "me.zip", offset=offset))
        assert "offset.ply" in caught.value.message and str(tmp_path / "me.zip") in caught.value.message
    (tmp_path / "no.zip").write_bytes(b"no zip")
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    (tmp_path / "empty.zip").write_bytes(empty.getvalue())
    for name in ("no.zip", "empty.zip", "absent.zip"):
        with pytest.raises(BadAvatarFile, match=name):
            read_lam(tmp_path / name)


def test_the_real_head_can_be_drawn_and_driven(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "lam_avatar" / "p2-1.zip"
    if not path.is_file():
        pytest.skip(f"no LAM head at {path}")
    avatar, head = import_lam(path, tmp_path)
    assert len(avatar.gaussians) == 20_018 and len(head.faces) == 39_904 + 20_018 and head.num_expression == 51
    codes = {
        name: value.repeat(2, *[1] * (value.dim() - 1)) for name, value in head.neutral().items() if name != "shape"
    }
    codes["expression"][1, head.expression_index("jawOpen")] = 1.0
    codes["translation"][:, 2] = 0.9
    world = avatar.posed(head, **codes)
    camera = Camera(225.0, 225.0, 48.0, 48.0, 96, 96)
    splats = rasterize_gaussians(
        world.means, world.quats, world.scales, world.opacities, world.colours, camera, background=torch.ones(3)
    )
    rgb, alpha = splats.rgb[0], splats.alpha[0]
    assert float(alpha[48, 48]) > 0.99 and float(alpha[5, 5]) < 0.01  # a face in the middle, nothing in the corner
    assert float(rgb[40:60, 40:56].mean()) > float(rgb[22:27, 36:60].mean()) + 0.2  # skin below dark hair
    change = (splats.rgb[1] - rgb).abs().sum(-1)
    assert float(change[55:80, 35:60].mean()) > 5 * float(change[15:45, 35:60].mean())  # the mouth opens, not the brow
