"""What an imported head lacks: landmarks, vertex groups, texture coordinates.

The order follows what needs what. Eyeballs are told by their skinning weights; with them painted, a few portraits give
rough landmarks; these guide a correspondence with the open head, from which the groups come over; and with lips and
brows painted as well, the landmarks are calibrated properly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from model.head.calibrate import CalibrationConfig, Detector, calibrate
from model.head.correspond import MAX_DISTANCE_M, Correspondence, correspond, vertex_normals
from model.head.landmarks import LandmarkEmbedding
from model.head.load import HeadModel, head_from_arrays

ROUGH = CalibrationConfig(identities=1, yaw_deg=(-20.0, 0.0, 20.0), pitch_deg=(-10.0, 0.0, 10.0))
"""Portraits for the first, rough landmarks."""
CALIBRATION = CalibrationConfig(identities=8)
"""Portraits for the final ones."""
CARRIED_OVER = ("face", "scalp", "neck", "ears", "lips", "brows", "eyelids")
"""Groups that come from the open head; the others follow from them, the weights, or the geometry."""
FAR_M = 0.03
"""Skin farther than this from the open head's skin is in no group but ``skin``."""
IRIS_ANGLE = 0.46
"""Half angle of the iris as seen from the eyeball's centre, radians; as in the open head."""
SOCKET_RADII = 1.5
"""Skin that faces an eyeball from within this many of its radii is the inside of the socket."""
MASKS = {"face": "face", "lips": "lips", "neck": "neck", "scalp": "scalp", "left_ear": "ears", "right_ear": "ears"}
"""Regions in the masks file of FLAME, and the groups that they are."""
Report = Callable[[str], None]


@dataclass(frozen=True)
class Completed:
    """The tensors of the finished head file, and how sure its landmarks are."""

    tensors: dict[str, np.ndarray]
    """All of a head file."""
    spread_mm: float
    """Median over the landmarks of the spread between portraits, millimetres."""
    distance_mm: float
    """Median distance between its face and the open head's after the warp, millimetres; nan where not computed."""


def complete(
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
    open_head: HeadModel,
    detect: Detector,
    *,
    masks: Mapping[str, np.ndarray] | None = None,
    calibration: CalibrationConfig = CALIBRATION,
    report: Report = lambda text: None,
) -> Completed:
    """Add groups, landmarks and texture coordinates where they are missing.

    Args:
        tensors: of a head file; what is there already stays.
        metadata: of the head file.
        open_head: the head that lends its groups.
        detect: the landmark detector.
        masks: vertex ids by region from the masks file of FLAME, where the user has it.
        calibration: portraits for the final landmarks.
        report: told what is being done.

    Raises:
        ModelFileError: the detector finds no face in the head's portraits.
    """
    made = dict(tensors)
    if "group.eyes" not in made:
        made |= eye_groups(made["v_template"], made["faces"], made["weights"])
    distance = float("nan")
    if "group.face" not in made or masks:
        report("rough landmarks from a few portraits")
        rough = _head(made, metadata)
        rough = replace(rough, landmarks=calibrate(rough, detect, ROUGH))
        report("correspondence with the open head, vertex groups")
        found = correspond(open_head, rough)
        made |= carried_groups(open_head, rough, found, masks or {})
        distance = 1000 * float(np.median(found.distance[found.in_face]))
    report("landmarks from portraits")
    head = _head(made, metadata)
    embedding = calibrate(head, detect, calibration)
    made |= embedding_tensors(embedding)
    if "uv" not in made:
        made |= cylindrical_uv(made["v_template"], made["faces"])
    if "mirror" not in made:
        made |= mirror_map(made["v_template"])
    spread = 1000 * float(embedding.spread[embedding.weight > 0.1].median())
    return Completed(made, spread, distance)


def _head(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> HeadModel:
    return head_from_arrays(dict(tensors), dict(metadata), "0" * 64)


def embedding_tensors(embedding: LandmarkEmbedding) -> dict[str, np.ndarray]:
    """The arrays of a head file that hold a landmark embedding."""
    return {
        "landmarks.face_index": embedding.face_index.numpy().astype(np.int32),
        "landmarks.bary": embedding.bary.numpy(),
        "landmarks.weight": embedding.weight.numpy(),
        "landmarks.spread": embedding.spread.numpy(),
    }


def _groups(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"group.{name}": np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()}


def eye_groups(template: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Eyeballs and irises by the weights of the eye joints, sockets as the skin that faces a ball; all else is skin.

    Args:
        template: (V, 3) metres, our frame.
        faces: (F, 3).
        weights: (V, 5).
    """
    normals = vertex_normals(template.astype(np.float64), faces)
    masks: dict[str, np.ndarray] = {"eye_sockets": np.zeros(len(template), dtype=bool)}
    for side, joint in (("left", 3), ("right", 4)):
        ball = weights[:, joint] > 0.5
        masks[f"{side}_eye"] = ball
        masks[f"{side}_iris"] = np.zeros(len(template), dtype=bool)
        if ball.sum() >= 16:
            masks[f"{side}_iris"] = ball & iris(template, ball)
            from_centre = template - 0.5 * (template[ball].min(0) + template[ball].max(0))
            radius = 0.5 * np.ptp(template[ball], axis=0).max()
            distance = np.linalg.norm(from_centre, axis=1)
            inwards = (normals * from_centre).sum(1) < -0.3 * distance
            masks["eye_sockets"] |= ~ball & inwards & (distance < SOCKET_RADII * radius)
    masks["eyes"] = masks["left_eye"] | masks["right_eye"]
    masks["skin"] = ~masks["eyes"] & ~masks["eye_sockets"]
    masks["left"], masks["right"] = template[:, 0] > 1e-5, template[:, 0] < -1e-5
    return _groups(masks)


def iris(template: np.ndarray, ball: np.ndarray) -> np.ndarray:
    """(V,) which vertices lie within the iris' angle of the direction in which an eyeball (mask) looks at rest."""
    centre = 0.5 * (template[ball].min(0) + template[ball].max(0))
    front = template[ball][np.argsort(template[ball][:, 2])[:16]].mean(0) - centre
    towards = template - centre
    cosine = towards @ front / np.maximum(np.linalg.norm(towards, axis=1) * np.linalg.norm(front), 1e-12)
    return np.asarray(cosine > np.cos(IRIS_ANGLE))


def carried_groups(
    source: HeadModel, target: HeadModel, found: Correspondence, given: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Groups of the target's skin, by majority of the corners that a vertex lies between; given regions win."""
    skin = np.zeros(target.num_vertices, dtype=bool)
    skin[target.groups["skin"].numpy()] = True
    indicator = torch.zeros(source.num_vertices, len(CARRIED_OVER))
    for column, name in enumerate(CARRIED_OVER):
        indicator[source.groups[name], column] = 1
    share = found.transfer(source.faces, indicator).numpy()
    near = skin & (found.distance < FAR_M)
    # The mouth's and the nose's insides lie near lips and face as well, but face elsewhere.
    fine = near & (found.valid | (found.distance > MAX_DISTANCE_M))
    masks: dict[str, np.ndarray] = {name: fine & (share[:, column] > 0.5) for column, name in enumerate(CARRIED_OVER)}
    for region, name in MASKS.items():
        if region in given:
            mask = np.zeros(target.num_vertices, dtype=bool)
            mask[given[region]] = True
            other = "right_ear" if region == "left_ear" else "left_ear"
            masks[name] = mask | masks[name] if name == "ears" and region == "right_ear" and other in given else mask
    template = target.v_template.numpy()
    left = template[:, 0] > 0
    for name, parts in (("ears", ("left_ear", "right_ear")), ("brows", ("left_brow", "right_brow"))):
        masks[parts[0]], masks[parts[1]] = masks[name] & left, masks[name] & ~left
    lower = (target.weights[:, 2] > 0.5).numpy()
    masks["lower_lip"], masks["upper_lip"] = masks["lips"] & lower, masks["lips"] & ~lower
    masks["face"] = masks["face"] & ~masks["neck"] & ~masks["ears"]
    return _groups(masks)


def cylindrical_uv(template: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """Texture coordinates by unrolling a cylinder around the head's axis, the seam at the back.

    Args:
        template: (V, 3) metres, our frame: the face looks to -z, y is down.
        faces: (F, 3).

    Returns:
        ``uv`` (T, 2) in [0, 1], origin at the top left, the nose in the middle, and ``uv_faces`` (F, 3).
    """
    low, high = template.min(0), template.max(0)
    angle = np.arctan2(template[:, 0], -(template[:, 2] - 0.5 * (low[2] + high[2])))  # 0 at the nose, + to the left
    u = 0.5 + angle / (2 * np.pi)
    v = (template[:, 1] - low[1]) / max(high[1] - low[1], 1e-9)
    corners = u[faces]
    # A triangle across the seam gets copies of its corners on the far side, pressed to the edge.
    torn = np.ptp(corners, axis=1) > 0.5
    uv = np.stack([u, v], axis=1)
    uv_faces = faces.astype(np.int64).copy()
    wrap = torn[:, None] & (corners < 0.5)
    ids = np.unique(faces[wrap])
    copy = np.full(len(template), -1, dtype=np.int64)
    copy[ids] = len(template) + np.arange(len(ids))
    uv_faces[wrap] = copy[faces[wrap]]
    uv = np.concatenate([uv, np.stack([np.ones(len(ids)), v[ids]], axis=1)])
    return {"uv": uv.clip(0, 1).astype(np.float32), "uv_faces": uv_faces.astype(np.int32)}


def mirror_map(template: np.ndarray) -> dict[str, np.ndarray]:
    """``mirror`` (V,), if all vertices have partners on the other side within a millimetre, mutually; else nothing."""
    distance, partner = cKDTree(template).query(template * [-1, 1, 1])
    if distance.max() > 0.001 or (partner[partner] != np.arange(len(template))).any():
        return {}
    return {"mirror": partner.astype(np.int32)}
