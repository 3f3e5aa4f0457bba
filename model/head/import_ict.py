"""ICT-FaceKit from the user's copy: its morph targets become a head with FLAME's interface.

ICT-FaceKit (Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020) has identity and expression
targets, but no joints. As for the open head (docs/decisions/0004), jaw and eyes become joints and their targets leave
the expressions: the jaw's axis and angle are those that move the lower teeth as ``jawOpen`` does, its skinning weight
at a vertex is the share of that turn which ``jawOpen`` shows there, and what is left over is a corrective. Neck and
root are not part of the model: their places relative to the eyes, and their weights, are the open head's.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from model.head.build_rig import PARENTS, PosedTarget, correctives
from model.head.complete import iris
from model.head.file import FORMAT
from model.head.import_flame import TURN
from model.head.load import JOINT_NAMES, HeadModel
from model.head.restricted_pickle import MAX_BYTES, read_bytes
from rsat_data.errors import ModelFileError, UnsafeModelFile

IMPORT_VERSION = "1"
NUM_VERTICES = 26719
METRES = 0.01
GAZE_RAD = 0.5
"""Angle of an eye at full strength of the eyeLook targets, which move the lids only: they go
7.7 mm down over a ball of 15 mm radius, which is where a ball that turned by half a radian would take them."""
MIN_JAW_RAD = 0.05
PARTS = {
    "mouth_interior": ((11248, 13294),),
    "eye_sockets": ((13294, 14062),),
    "gums": ((14062, 17039),),
    "upper_teeth": ((17039, 19247),),
    "lower_teeth": ((19247, 21451),),
    "left_eye": ((21451, 22221),),
    "right_eye": ((23021, 23791),),
    "left_lashes": ((25351, 26035),),
    "right_lashes": ((26035, 26719),),
}
"""Vertex ranges of the parts that are kept beside the skin (0 to 11248), half open."""
LEFT_OUT = ((22221, 23021), (23791, 24591), (24591, 25351))
"""The inner shells of the eyeballs, and the translucent tear, blend and occlusion meshes that would hide the eyes."""
UPPER_LASHES = ((25351, 25693), (26035, 26377))
POSED = {
    "jaw": (("jawOpen", 0), ("jawLeft", 1), ("jawRight", 1)),
    "left_eye": (("eyeLookUpLeft", 0), ("eyeLookDownLeft", 0), ("eyeLookInLeft", 1), ("eyeLookOutLeft", 1)),
    "right_eye": (("eyeLookUpRight", 0), ("eyeLookDownRight", 0), ("eyeLookInRight", 1), ("eyeLookOutRight", 1)),
}
"""Targets that a joint takes over: name, axis."""
GAZE_SIGN = {"Up": -1.0, "Down": 1.0, "InLeft": 1.0, "OutLeft": -1.0, "InRight": -1.0, "OutRight": 1.0}
"""Sign of the angle: down is positive about x, to the subject's left negative about y."""
ARKIT_ORDER = (
    "browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
    "cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward "
    "mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft "
    "mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower "
    "mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight "
    "mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight"
).split()


@dataclass(frozen=True)
class IctFiles:
    """ICT-FaceKit as arrays, in its own frame: centimetres, y up, the face looks to +z."""

    template: np.ndarray
    """(26719, 3) float64."""
    faces: np.ndarray
    """(F, 3 or 4) int64; -1 in the fourth column of a triangle."""
    identity: np.ndarray
    """(26719, 3, S) float32 per standard deviation."""
    expressions: dict[str, np.ndarray]
    """(26719, 3) float32 at full strength, by ICT's names."""
    sha256: str
    """Of the npz file, or of the sorted OBJ files' names and hashes."""


def read_ict(path: Path) -> IctFiles:
    """Read ICT-FaceKit.

    Args:
        path: the repository or its folder FaceXModel with OBJ files, a folder that holds one npz, or an npz with
            ``v_template``, ``faces``, ``shapedirs``, ``exprdirs``, ``expr_names``.

    Raises:
        UnsafeModelFile: the npz holds Python objects.
        ModelFileError: files are missing, damaged or of another mesh.
    """
    if path.is_dir():
        for folder in (path, path / "FaceXModel"):
            if (folder / "generic_neutral_mesh.obj").is_file():
                return _checked(path, _read_folder(folder))
        packed = sorted(path.glob("*.npz"))
        if len(packed) != 1:
            raise ModelFileError(
                f"{path} holds no ICT-FaceKit: neither FaceXModel/generic_neutral_mesh.obj nor one npz file",
                hint="Give the folder FaceXModel of ICT-FaceKit.",
                path=path,
            )
        path = packed[0]
    return _checked(path, _read_npz(path))


def _read_npz(path: Path) -> IctFiles:
    content = read_bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
                raise ModelFileError(f"{path} unpacks to more than {MAX_BYTES / 1e6:.0f} MB", path=path)
        with np.load(path, allow_pickle=False) as stored:
            names = [str(name) for name in stored["expr_names"]]
            dirs = stored["exprdirs"]
            if dirs.ndim != 3 or dirs.shape[2] != len(names):
                raise ModelFileError(
                    f"{path}: 'exprdirs' has shape {dirs.shape}, but there are {len(names)} names", path=path
                )
            return IctFiles(
                stored["v_template"].astype(np.float64),
                stored["faces"].astype(np.int64),
                stored["shapedirs"].astype(np.float32),
                {name: dirs[..., i].astype(np.float32) for i, name in enumerate(names)},
                digest,
            )
    except KeyError as error:
        raise ModelFileError(f"{path} lacks {error}: it is no ICT-FaceKit", path=path) from error
    except ValueError as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise UnsafeModelFile(
                f"{path} holds arrays of Python objects, which are programs: refused, nothing was run", path=path
            ) from error
        raise ModelFileError(f"{path} is a damaged npz file ({error})", hint="Copy it again.", path=path) from error
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ModelFileError(
            f"{path} is a damaged or truncated npz file ({error})", hint="Copy or download it again.", path=path
        ) from error


def _read_folder(folder: Path) -> IctFiles:
    neutral_path = folder / "generic_neutral_mesh.obj"
    template, faces = read_obj(neutral_path, with_faces=True)
    hashes = [f"{neutral_path.name} {hashlib.sha256(neutral_path.read_bytes()).hexdigest()}"]
    identity, expressions = [], {}
    for path in sorted(folder.glob("*.obj")):
        if path == neutral_path:
            continue
        vertices, _ = read_obj(path, with_faces=False)
        if vertices.shape != template.shape:
            raise ModelFileError(
                f"{path} has {len(vertices)} vertices, {neutral_path.name} {len(template)}",
                hint="A file of the folder is damaged or of another mesh: fetch it again.",
                path=path,
            )
        hashes.append(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
        delta = (vertices - template).astype(np.float32)
        if re.fullmatch(r"identity\d+", path.stem):
            identity.append(delta)
        else:
            expressions[path.stem] = delta
    if not identity or not expressions:
        raise ModelFileError(
            f"{folder} has {len(identity)} identity and {len(expressions)} expression files",
            hint="Give the whole folder FaceXModel of ICT-FaceKit.",
            path=folder,
        )
    digest = hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
    return IctFiles(template, faces, np.stack(identity, axis=2), expressions, digest)


def read_obj(path: Path, with_faces: bool) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and, if wanted, faces (F, 4) with -1 for the fourth corner of triangles, of a Wavefront file.

    Raises:
        ModelFileError: a line cannot be read.
    """
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    try:
        for line in read_bytes(path).decode("utf-8", errors="replace").splitlines():
            if line.startswith("v "):
                vertices.append([float(word) for word in line.split()[1:4]])
            elif with_faces and line.startswith("f "):
                corners = [int(word.split("/")[0]) - 1 for word in line.split()[1:]]
                if len(corners) not in (3, 4) or min(corners) < 0:
                    raise ValueError(f"face with corners {corners}")
                faces.append([*corners, -1][:4])
        found = np.array(vertices, dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise ModelFileError(f"{path} is a damaged OBJ file ({error})", hint="Fetch it again.", path=path) from error
    return found, np.array(faces, dtype=np.int64).reshape(-1, 4)


def _checked(path: Path, found: IctFiles) -> IctFiles:
    """Refuse what is not ICT-FaceKit's mesh."""

    def wrong(what: str) -> ModelFileError:
        return ModelFileError(
            f"{path} is not ICT-FaceKit: {what}", hint="Give its unchanged folder FaceXModel.", path=path
        )

    if found.template.shape != (NUM_VERTICES, 3):
        raise wrong(f"its mesh has {len(found.template)} vertices, ICT-FaceKit's has {NUM_VERTICES}")
    if found.faces.ndim != 2 or found.faces.shape[1] not in (3, 4) or found.faces.max(initial=0) >= NUM_VERTICES:
        raise wrong("its faces name vertices that it does not have")
    if found.identity.ndim != 3 or found.identity.shape[:2] != (NUM_VERTICES, 3):
        raise wrong(f"its identity targets have shape {found.identity.shape}")
    arrays = [found.template, found.identity, *found.expressions.values()]
    if any(not np.isfinite(array).all() for array in arrays):
        raise wrong("it has values that are not finite")
    names = {name for targets in POSED.values() for name, _ in targets} | set(ARKIT_ORDER)
    missing = sorted(names - set(arkit_targets(found.expressions)))
    if missing:
        raise wrong(f"it lacks the expressions {', '.join(missing[:6])}{'...' if len(missing) > 6 else ''}")
    return found


def arkit_targets(expressions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Targets by ARKit's names: _L and _R become Left and Right; browInnerUp and cheekPuff are both sides at once.

    What ARKit does not have (pupils, cheekRaiser) is left out: it would describe a movement twice, or none of the mesh.
    """
    renamed = {re.sub("_R$", "Right", re.sub("_L$", "Left", name)): delta for name, delta in expressions.items()}
    for name in ("browInnerUp", "cheekPuff"):
        if name not in renamed and f"{name}Left" in renamed and f"{name}Right" in renamed:
            renamed[name] = renamed[f"{name}Left"] + renamed[f"{name}Right"]
    return renamed


def _mask(ranges: tuple[tuple[int, int], ...]) -> np.ndarray:
    mask = np.zeros(NUM_VERTICES, dtype=bool)
    for start, stop in ranges:
        mask[start:stop] = True
    return mask


def jaw_axis(vertices: np.ndarray, delta: np.ndarray) -> tuple[np.ndarray, float]:
    """Joint (3,) on the middle plane and angle (radians, about x) of the turn that moves points (N, 3) by (N, 3).

    Raises:
        ModelFileError: they hardly turn.
    """
    moved = vertices + delta
    a, b = vertices[:, 1:] - vertices[:, 1:].mean(0), moved[:, 1:] - moved[:, 1:].mean(0)
    angle = float(np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum()))
    if abs(angle) < MIN_JAW_RAD:
        raise ModelFileError(
            f"jawOpen turns the lower teeth by {angle:.3f} rad only: this is not ICT-FaceKit's jawOpen"
        )
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = moved[:, 1:].mean(0) - turn @ vertices[:, 1:].mean(0)
    y, z = np.linalg.solve(np.eye(2) - turn, shift)
    return np.array([0.0, y, z]), angle


def convert_ict(
    found: IctFiles, name: str, path: Path, open_head: HeadModel
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors and metadata of a head file, with groups of the parts, without landmarks.

    Args:
        found: ICT-FaceKit's arrays.
        name: what the head is called.
        path: for messages.
        open_head: lends neck, root, and the origin's place relative to the eyes.
    """
    keep = ~_mask(LEFT_OUT)
    ids = np.flatnonzero(keep)
    new_of_old = np.full(NUM_VERTICES + 1, -1)  # the last entry serves the -1 of triangles
    new_of_old[ids] = np.arange(len(ids))
    faces = triangles(found.faces)
    faces = new_of_old[faces[keep[faces].all(1)]]
    masks = {part: _mask(ranges)[ids] for part, ranges in PARTS.items()}
    template = (found.template * TURN * METRES)[ids]
    balls = [masks["left_eye"], masks["right_eye"]]
    eyes = np.stack([0.5 * (template[ball].min(0) + template[ball].max(0)) for ball in balls])
    # The origin lies as the open head's does, seen from the eyes.
    lend = open_head.J_template.double().numpy()
    template += lend[3:].mean(0) - eyes.mean(0)
    eyes += lend[3:].mean(0) - eyes.mean(0)
    targets = {
        key: (delta[ids] * TURN * METRES).astype(np.float64) for key, delta in arkit_targets(found.expressions).items()
    }
    jaw, angle = jaw_axis(template[masks["lower_teeth"]], targets["jawOpen"][masks["lower_teeth"]])
    joints = np.stack([lend[0], lend[1], jaw, eyes[0], eyes[1]])
    weights = _weights(template, masks, joints, targets["jawOpen"], angle, open_head)

    posedirs, angles = [], {}
    for joint, actions in POSED.items():
        index = JOINT_NAMES.index(joint)
        if joint == "jaw":
            teeth = masks["lower_teeth"]
            sideways = [_turn_about_y(template[teeth] - jaw, targets[key][teeth]) for key, _ in actions[1:]]
            given = [angle, *sideways]
        else:
            given = [_gaze_angle(key) for key, _ in actions]
        chosen = [PosedTarget(joint, axis, targets[key]) for key, axis in actions]
        dirs, made = correctives(chosen, template, joints[index], weights[:, index], given)
        if joint != "jaw":
            dirs[weights[:, index] > 0.5] = 0  # an eyeball is rigid
        posedirs.append(dirs)
        angles.update({key: round(turn, 6) for (key, _), turn in zip(actions, made, strict=True)})
    identity = (found.identity[ids] * (TURN * METRES)[:, None]).astype(np.float32)
    tensors = {
        "v_template": template.astype(np.float32),
        "faces": faces.astype(np.int32),
        "shapedirs": identity.astype(np.float16),
        "exprdirs": np.stack([targets[key] for key in ARKIT_ORDER], axis=2).astype(np.float16),
        "posedirs": np.concatenate(posedirs, axis=2).astype(np.float16),
        "J_template": joints.astype(np.float32),
        "J_shapedirs": _joint_identity(template, masks, joints, identity),
        "weights": weights.astype(np.float32),
        "parents": np.array(PARENTS, dtype=np.int16),
        "source_vertex": ids.astype(np.int32),
    }
    masks["teeth"] = masks["upper_teeth"] | masks["lower_teeth"]
    masks["eyes"] = masks["left_eye"] | masks["right_eye"]
    masks["lashes"] = masks["left_lashes"] | masks["right_lashes"]
    masks["upper_lashes"] = _mask(UPPER_LASHES)[ids]
    masks["lower_lashes"] = masks["lashes"] & ~masks["upper_lashes"]
    masks["mouth_interior"] = masks["mouth_interior"] | masks.pop("gums")
    masks["skin"] = ids < PARTS["mouth_interior"][0][0]
    masks["left"], masks["right"] = template[:, 0] > 1e-5, template[:, 0] < -1e-5
    for side, ball in zip(("left", "right"), balls, strict=True):
        masks[f"{side}_iris"] = ball & iris(template, ball)
    tensors |= {f"group.{key}": np.flatnonzero(mask).astype(np.int32) for key, mask in masks.items()}
    metadata = {
        "format": FORMAT,
        "name": name,
        "version": found.sha256[:8],
        "joint_names": json.dumps(JOINT_NAMES),
        "expression_names": json.dumps(ARKIT_ORDER),
        "full_strength_rad": json.dumps(angles),
        "source": "ICT-FaceKit (MIT), from the user's copy",
        "source_sha256": found.sha256,
        "script": "model/head/import_ict.py",
        "script_version": IMPORT_VERSION,
        "frame": "OpenCV: x right in the image (the subject's left), y down, z away from the camera; metres",
    }
    return tensors, metadata


def _turn_about_y(arm: np.ndarray, delta: np.ndarray) -> float:
    """The small angle about y (radians) that moves points (N, 3) about the origin by (N, 3), by least squares."""
    velocity = np.cross([0.0, 1.0, 0.0], arm)
    return float((velocity * delta).sum() / (velocity**2).sum())


def _gaze_angle(name: str) -> float:
    direction = name.removeprefix("eyeLook")
    return GAZE_RAD * next(sign for key, sign in GAZE_SIGN.items() if direction.startswith(key))


def triangles(faces: np.ndarray) -> np.ndarray:
    """(F, 3) triangles of faces with three or four corners (-1 for none), quads cut along the first diagonal."""
    if faces.shape[1] == 3:
        return faces
    quads = faces[faces[:, 3] >= 0]
    return np.concatenate([faces[:, :3], quads[:, [0, 2, 3]]])


def _weights(
    template: np.ndarray,
    masks: dict[str, np.ndarray],
    joints: np.ndarray,
    jaw_open: np.ndarray,
    angle: float,
    open_head: HeadModel,
) -> np.ndarray:
    """Skinning weights (V, 5)."""
    arm = template - joints[2]
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack([arm[:, 0], c * arm[:, 1] - s * arm[:, 2], s * arm[:, 1] + c * arm[:, 2]], axis=1) - arm
    # Near the axis nothing moves, and the share is not defined there: a millimetre of doubt draws it to 0.
    jaw = ((jaw_open * turned).sum(1) / ((turned**2).sum(1) + 1e-6)).clip(0, 1)
    jaw[masks["lower_teeth"]] = 1
    for rigid in ("upper_teeth", "left_eye", "right_eye", "left_lashes", "right_lashes", "eye_sockets"):
        jaw[masks[rigid]] = 0
    # Root and neck: as at the nearest places of the open head, whose eyes stand at the same place.
    distance, near = cKDTree(open_head.v_template.numpy()).query(template, k=6)
    lend = open_head.weights.double().numpy()[near]
    closeness = 1 / (distance + 1e-3)
    root = (lend[..., 0] * closeness).sum(1) / closeness.sum(1)
    weights = np.zeros((len(template), 5))
    weights[:, 0], weights[:, 1], weights[:, 2] = root * (1 - jaw), (1 - root) * (1 - jaw), jaw
    for joint, part in ((3, "left_eye"), (4, "right_eye")):
        weights[masks[part]] = np.eye(5)[joint]
    return weights


def _joint_identity(
    template: np.ndarray, masks: dict[str, np.ndarray], joints: np.ndarray, identity: np.ndarray
) -> np.ndarray:
    """(5, 3, S) how joints follow the identity: eyes with their balls, the others with the skin around them."""
    skin = np.flatnonzero(~np.any(np.stack(list(masks.values())), axis=0))
    rows = []
    for index, joint in enumerate(joints):
        if index >= 3:
            around = np.flatnonzero(masks["left_eye" if index == 3 else "right_eye"])
        else:
            around = skin[np.argsort(np.linalg.norm((template[skin] - joint) * [0.3, 1, 1], axis=1))[:400]]
        rows.append(identity[around].mean(0))
    return np.stack(rows).astype(np.float32)
