"""Import of LAM heads: a Gaussian a vertex of a rigged mesh, made from one photograph (He et al., SIGGRAPH 2025).

Such a head is a zip file, or a folder, with ``skin.glb`` (a mesh of FLAME's topology, subdivided once; a skeleton;
ARKit blendshapes) and ``offset.ply``: Gaussian i stands at vertex i plus an offset (metres, y up); its scale is a
logarithm, its opacity a logit, its quaternion w x y z, and its colour **plain red, green, blue** in the fields f_dc.

What becomes of it: a head of its own with the mesh, the blendshapes as expressions, and the skeleton in two of our
joints: chest and collars are the root, the chain of neck and head our neck joint, each bone with its share of the turn.
Jaw and eyes have no joint there; they move by blendshapes (jawOpen, eyeLook...). There is no identity code, and no
embedding of landmarks. A Gaussian there moves with its vertex and keeps its size, whatever the triangles around it do
(lids and lips unfold to a dozen times their size), so each is bound to a triangle of its own, half a millimetre large,
that is carried by its vertex. These carriers come after the faces of the mesh. ``animation.glb`` (the body's idle
motions) and ``vertex_order.json`` (an order for drawing) are not needed.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from model.avatar.avatar import Avatar
from model.avatar.files import MAX_LOG_SCALE, save_avatar
from model.avatar.glb import Glb, read_glb
from model.avatar.ply import BadAvatarFile, finite, read_table, write_error
from model.gaussians import BoundGaussians, colour_to_sh, from_world, triangle_frames
from model.head import JOINT_NAMES, HeadModel, load_head
from model.head.file import FORMAT, write_head_file
from model.quaternions import multiply

HEAD_FILE = "head.safetensors"
"""The head that belongs to the avatar, in the same folder."""
MAX_MEMBER_BYTES = 512 << 20
TURN = np.array([1.0, -1.0, -1.0])
"""Their axes (y up) to ours."""
NECK_SHARE = {"neckLower": 1 / 3, "neckUpper": 2 / 3, "head": 1.0}
"""How much of our neck joint's turn each bone takes; all others stay with the root."""
NECK, ROOT = "neckLower", "chestUpper"
"""Bones whose places our joints take."""
CARRIER_M = 5e-4
"""Edges of the carriers, metres: small beside a Gaussian, large beside float32's steps."""
_COLUMNS = (
    "x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
    "rot_0", "rot_1", "rot_2", "rot_3",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LamHead:
    """A LAM head in our axes: V vertices, F triangles, E expressions."""

    vertices: np.ndarray
    """(V, 3) float64 metres, at rest; origin in the middle of the head."""
    faces: np.ndarray
    """(F, 3) int64."""
    expressions: dict[str, np.ndarray]
    """ARKit's name -> (V, 3) float32 displacement at full strength, metres."""
    weights: np.ndarray
    """(V, 2) share of root and neck."""
    joints: np.ndarray
    """(2, 3) places of root and neck."""
    splats: np.ndarray
    """(V, 14) float32 columns of offset.ply as they are."""


def read_lam(path: Path) -> LamHead:
    """Read a LAM head from its zip file or folder.

    Raises:
        BadAvatarFile: a file is missing or damaged, or they do not belong together; names file and field.
    """
    skin = _member(path, "skin.glb")
    glb = read_glb(skin, path / "skin.glb")
    vertices, faces, expressions, weights, joints = _mesh(glb)
    splats = _splats(path, len(vertices))
    middle = vertices[weights[:, 1] > 0.9] if (weights[:, 1] > 0.9).any() else vertices
    origin = 0.5 * (middle.min(0) + middle.max(0))
    return LamHead((vertices - origin) * TURN, faces, expressions, weights, (joints - origin) * TURN, splats)


def import_lam(path: Path, folder: Path) -> tuple[Avatar, HeadModel]:
    """Make an avatar of a LAM head: ``avatar.ply``, ``avatar.json`` and its own head, ``head.safetensors``.

    Args:
        path: the zip file, or the folder it was unpacked to.
        folder: where to.

    Returns:
        The avatar, and the head that it is drawn with (``load_head(folder / "head.safetensors")``).

    Raises:
        BadAvatarFile: see :func:`read_lam`.
        DiskFullError, DatasetError: the folder cannot be written.
    """
    lam = read_lam(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_head_file(folder / HEAD_FILE, *_head_arrays(lam, path.stem))
    except OSError as error:
        raise write_error(error, folder / HEAD_FILE) from error
    head = load_head(folder / HEAD_FILE)
    about = {"source": path.name, "imported_from": "LAM", "head_file": HEAD_FILE}
    avatar = Avatar(_bound(lam), head.id, len(head.faces), torch.zeros(0), about=about)
    save_avatar(avatar, folder)
    return avatar, head


def _member(path: Path, name: str) -> bytes:
    """Contents of a file of the zip, wherever it lies in it, or of the folder."""

    def bad(what: str) -> BadAvatarFile:
        return BadAvatarFile(f"{path}: {what}.", hint="Name the zip file that LAM exports, or its folder.", path=path)

    try:
        if path.is_dir():
            with (path / name).open("rb") as file:
                content = file.read(MAX_MEMBER_BYTES + 1)
        else:
            with zipfile.ZipFile(path) as archive:
                found = [
                    info
                    for info in archive.infolist()
                    if PurePosixPath(info.filename).name == name and "__MACOSX" not in info.filename
                ]
                if len(found) != 1:
                    raise bad(f"it holds {len(found)} files called {name}, expected one")
                with archive.open(found[0]) as stream:
                    content = stream.read(MAX_MEMBER_BYTES + 1)
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError) as error:
        raise bad(f"{name} cannot be read from it ({error})") from error
    if len(content) > MAX_MEMBER_BYTES:
        raise bad(f"{name} is larger than {MAX_MEMBER_BYTES >> 20} MiB")
    return content


def _mesh(glb: Glb) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Vertices (V, 3), faces, expressions in our axes, weights (V, 2) and joints (2, 3) in the file's own axes."""
    mesh = glb.entry("meshes", 0)
    primitives = mesh.get("primitives")
    if not isinstance(primitives, list) or len(primitives) != 1 or not isinstance(primitives[0], dict):
        raise glb.bad("its mesh does not consist of one part")
    primitive = primitives[0]
    attributes, targets = primitive.get("attributes"), primitive.get("targets", [])
    extras = mesh.get("extras")
    names = extras.get("targetNames") if isinstance(extras, dict) else None
    if not isinstance(attributes, dict) or primitive.get("mode", 4) != 4 or not isinstance(targets, list):
        raise glb.bad("its mesh does not consist of triangles with attributes")
    if not isinstance(names, list) or len(names) != len(targets) or len(set(map(str, names))) != len(names):
        raise glb.bad("its blendshapes have no names of their own (extras.targetNames)")
    vertices = glb.accessor(attributes.get("POSITION"), "VEC3").astype(np.float64)
    count = len(vertices)
    corners = glb.accessor(primitive.get("indices"), "SCALAR").astype(np.int64)
    if len(corners) % 3 or not len(corners) or not count or corners.min() < 0 or corners.max() >= count:
        raise glb.bad(f"its {len(corners)} indices do not make triangles of its {count} vertices")
    expressions = {}
    for name, target in zip(names, targets, strict=True):
        if not isinstance(target, dict):
            raise glb.bad(f"blendshape {name} is not an object")
        moved = glb.accessor(target.get("POSITION"), "VEC3", count)
        expressions[str(name)] = (moved * TURN).astype(np.float32)
    weights, joints = _rig(glb, attributes, count)
    return vertices, corners.reshape(-1, 3), expressions, weights, joints


def _rig(glb: Glb, attributes: dict[str, object], count: int) -> tuple[np.ndarray, np.ndarray]:
    skin = glb.entry("skins", 0)
    bones = skin.get("joints")
    if not isinstance(bones, list) or not bones:
        raise glb.bad("its skin has no joints")
    names = [str(glb.entry("nodes", index).get("name")) for index in bones]
    inverse = glb.accessor(skin.get("inverseBindMatrices"), "MAT4", len(bones)).astype(np.float64)
    who = glb.accessor(attributes.get("JOINTS_0"), "VEC4", count)
    how_much = glb.accessor(attributes.get("WEIGHTS_0"), "VEC4", count).astype(np.float64)
    if who.dtype.kind not in "u" or int(who.max()) >= len(bones) or how_much.min() < 0:
        raise glb.bad("JOINTS_0 or WEIGHTS_0 do not belong to its skin")
    share = np.array([NECK_SHARE.get(name, 0.0) for name in names])
    total = how_much.sum(1)
    neck = np.where(total > 0, (how_much * share[who]).sum(1) / np.maximum(total, 1e-12), 1.0)

    def place(name: str) -> np.ndarray:
        if name not in names:
            raise glb.bad(f"its skeleton has no bone called {name}; it has {', '.join(names[:8])}...")
        matrix = inverse[names.index(name)].reshape(4, 4).T  # column by column in the file
        if not abs(np.linalg.det(matrix[:3, :3])) > 1e-12:
            raise glb.bad(f"the bind matrix of bone {name} cannot be inverted")
        return -np.linalg.solve(matrix[:3, :3], matrix[:3, 3])

    return np.stack([1 - neck, neck], axis=1), np.stack([place(ROOT), place(NECK)])


def _splats(path: Path, count: int) -> np.ndarray:
    """(V, 14) columns of offset.ply."""
    if path.is_dir():
        return _splat_columns(path / "offset.ply", path / "offset.ply", count)
    import tempfile

    # The reader of tables wants a file: its length is what claims are compared with.
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "offset.ply"
        copy.write_bytes(_member(path, "offset.ply"))
        return _splat_columns(copy, path / "offset.ply", count)


def _splat_columns(path: Path, shown: Path, count: int) -> np.ndarray:
    try:
        columns = read_table(path, _COLUMNS)
        values = finite(path, columns, _COLUMNS)
    except BadAvatarFile as error:
        raise BadAvatarFile(error.message.replace(str(path), str(shown)), hint=error.hint, path=shown) from error
    if len(values) != count:
        raise BadAvatarFile(
            f"{shown} has {len(values)} Gaussians, the mesh in skin.glb {count} vertices: each vertex has one.",
            hint="Take both files from the same export.",
            path=shown,
        )
    if (np.abs(values[:, 10:]).max(1) < 1e-10).any() or values[:, 7:10].max() > MAX_LOG_SCALE:
        raise BadAvatarFile(f"{shown}: a quaternion is zero, or a scale is no logarithm.", hint="Export it again.")
    return values


def _bound(lam: LamHead) -> BoundGaussians:
    """Gaussians in the frames of their carriers."""
    vertices, faces = with_carriers(lam)
    count = len(lam.vertices)
    splats = torch.from_numpy(lam.splats).double()
    quats = torch.nn.functional.normalize(splats[:, 10:], dim=-1)
    quats = multiply(quats.new_tensor([0.0, 1.0, 0.0, 0.0]).expand_as(quats), quats)
    scales = splats[:, 7:10].clamp_min(-MAX_LOG_SCALE + 10).exp()
    means = torch.from_numpy(lam.vertices) + splats[:, :3] * splats.new_tensor(TURN)
    face = len(lam.faces) + torch.arange(count)
    frames = triangle_frames(torch.from_numpy(vertices)[None], torch.from_numpy(faces))
    mean, rotation, log_scale = from_world(means, quats, scales, face, frames)
    return BoundGaussians(
        mean=mean.float(),
        log_scale=log_scale.float(),
        rotation=rotation.float(),
        opacity=splats[:, 6].float(),
        sh=colour_to_sh(splats[:, 3:6].float())[:, None],
        face=face,
    )


def with_carriers(lam: LamHead) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (3 V, 3) and faces (F + V, 3) with a carrier a vertex: itself, and two more beside it, along x and y."""
    beside = [lam.vertices + CARRIER_M * np.eye(3)[axis] for axis in (0, 1)]
    count = len(lam.vertices)
    own = np.arange(count)
    carriers = np.stack([own, own + count, own + 2 * count], axis=1)
    return np.concatenate([lam.vertices, *beside]), np.concatenate([lam.faces, carriers])


def _head_arrays(lam: LamHead, stem: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of the head file."""
    vertices, faces = with_carriers(lam)
    count, names = len(vertices), list(lam.expressions)
    weights = np.zeros((count, len(JOINT_NAMES)), np.float32)
    weights[:, :2] = np.tile(lam.weights, (3, 1))  # what carries a Gaussian moves as its vertex does
    joints = lam.joints[[0, 1, 1, 1, 1]]  # jaw and eyes carry nothing: they lie where the neck does
    moves = np.zeros((count, 3, len(names)), np.float16)
    for i, name in enumerate(names):
        moves[:, :, i] = np.tile(lam.expressions[name], (3, 1))
    tensors: dict[str, np.ndarray] = {
        "v_template": vertices.astype(np.float32),
        "faces": faces.astype(np.int32),
        "shapedirs": np.zeros((count, 3, 0), np.float32),
        "exprdirs": moves,
        "posedirs": np.zeros((count, 3, 0), np.float16),
        "J_template": joints.astype(np.float32),
        "J_shapedirs": np.zeros((len(joints), 3, 0), np.float32),
        "weights": weights,
        "parents": np.array([-1, 0, 1, 1, 1], np.int32),
        "group.skin": np.arange(len(lam.vertices), dtype=np.int32),
        "group.carriers": np.arange(len(lam.vertices), count, dtype=np.int32),
    }
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in stem)
    metadata = {
        "format": FORMAT,
        "name": f"lam-{plain or 'head'}",
        "version": "1",
        "expression_names": json.dumps(names),
        "source": "skin.glb of a LAM head",
    }
    return tensors, metadata
