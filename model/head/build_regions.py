"""Semantic vertex groups of the open head, from the source's texture masks, its parts and its geometry."""

from __future__ import annotations

import numpy as np
from PIL import Image

from model.head.build_source import HELPER_PARTS, Source

IRIS_ANGLE = 0.46
"""Half angle of the iris as seen from the eyeball's centre, radians: the two foremost rings of the eyeball."""


BROW_HALF_WIDTH_M = 0.0036
UPPER_LASHES = ("helper-l-eyelashes-2", "helper-r-eyelashes-2")


def above_mouth(lips: np.ndarray, vertices: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """(V,) whether a vertex lies above the mouth's slit in texture space, where both lips are spread flat.

    The face lies on its side there, so "up" is the texture direction along which it rises on the head.
    """
    centred = uv[lips] - uv[lips].mean(0)
    up = -centred.T @ (vertices[lips, 1] - vertices[lips, 1].mean())
    up /= np.linalg.norm(up)
    corners = np.flatnonzero(lips)[np.argsort(-np.abs(vertices[lips, 0]))[:4]]
    return (uv - uv[corners].mean(0)) @ up > 0


def parts(source: Source, names: tuple[str, ...]) -> np.ndarray:
    """Base-mesh vertices of some groups of the OBJ file."""
    return np.concatenate([source.obj[2][name][0].ravel() for name in names])


def sample_mask(source: Source, name: str, uv: np.ndarray) -> np.ndarray:
    """Whether each texture coordinate (N, 2) lies in a mask image of the source."""
    image = np.asarray(Image.open(source.mask_image(name)).convert("L"))
    height, width = image.shape
    column = np.clip((uv[:, 0] * width).astype(np.int64), 0, width - 1)
    row = np.clip(((1 - uv[:, 1]) * height).astype(np.int64), 0, height - 1)
    return image[row, column] > 127


def regions(
    source: Source,
    vertex_ids: np.ndarray,
    vertices: np.ndarray,
    uv: np.ndarray,
    weights: np.ndarray,
    eye_joints: np.ndarray,
    mirror: np.ndarray,
) -> dict[str, np.ndarray]:
    """Masks (V,) by group name.

    Args:
        source: the data they come from.
        vertex_ids: (V,) rows of the base mesh.
        vertices: (V, 3) template, metres.
        uv: (V, 2) one texture coordinate of each vertex.
        weights: (V, 5) skinning weights.
        eye_joints: (2, 3) left and right eye joint, metres.
        mirror: (V,) the vertex on the other side.
    """
    masks: dict[str, np.ndarray] = {}
    for part, names in HELPER_PARTS.items():
        masks[part] = np.isin(vertex_ids, parts(source, names))
    skin = ~np.any(np.stack([masks[part] for part in HELPER_PARTS]), axis=0)
    x, y, z = vertices.T
    eye_y, eye_z = eye_joints[:, 1].mean(), eye_joints[:, 2].mean()

    # In texture space the mouth's and the sockets' insides are islands of their own, the face is a disc.
    # The masks were painted by hand and differ a little from side to side: take what either side has.
    def either_side(mask: np.ndarray) -> np.ndarray:
        return mask | mask[mirror]

    cavity = either_side(skin & sample_mask(source, "inside-mouth", uv))
    sockets = (skin & ~cavity) & (
        (np.hypot(uv[:, 0] - 0.041, (1 - uv[:, 1]) - 0.411) < 0.06)
        | (np.hypot(uv[:, 0] - 0.120, (1 - uv[:, 1]) - 0.411) < 0.06)
    )
    outer = skin & ~cavity & ~sockets
    masks["mouth_interior"] = cavity
    masks["eye_sockets"] = sockets
    masks["lips"] = outer & either_side(sample_mask(source, "lips", uv))
    lower = ~above_mouth(masks["lips"], vertices, uv)
    lower |= lower[mirror]
    masks["lower_lip"] = masks["lips"] & lower
    masks["upper_lip"] = masks["lips"] & ~lower
    masks["ears"] = outer & either_side(sample_mask(source, "ears", uv))
    masks["left_ear"] = masks["ears"] & (x > 0)
    masks["right_ear"] = masks["ears"] & (x < 0)
    masks["eyelids"] = outer & either_side(sample_mask(source, "eyelids", uv))
    # A plane that runs from under the chin up to the skull's base parts neck from head.
    below = y > eye_y + 0.100 + 0.42 * (z - eye_z - 0.02)
    masks["neck"] = outer & below & ~masks["ears"] & (z > eye_z - 0.005)
    masks["neck"] |= outer & (weights[:, 0] > 0.5)
    masks["face"] = outer & either_side(sample_mask(source, "face", uv)) & ~masks["neck"] & ~masks["ears"]
    masks["scalp"] = outer & ~masks["face"] & ~masks["neck"] & ~masks["ears"]
    masks["skin"] = outer
    for side, sign, joint in (("left", 1.0, eye_joints[0]), ("right", -1.0, eye_joints[1])):
        dx, dy = sign * (x - joint[0]), y - joint[1]
        # Where browDown and browOuterUp move the skin most.
        arc = -0.0185 + 4.0 * (dx - 0.008) ** 2
        near = np.abs(dy - arc) < BROW_HALF_WIDTH_M
        masks[f"{side}_brow"] = masks["face"] & near & (dx > -0.021) & (dx < 0.030)
        towards = (vertices - joint) / np.maximum(np.linalg.norm(vertices - joint, axis=1, keepdims=True), 1e-9)
        ball = masks[f"{side}_eye"]
        pole = gaze_axis(vertices[ball], joint)
        masks[f"{side}_iris"] = ball & (towards @ pole > np.cos(IRIS_ANGLE))
    masks["brows"] = masks["left_brow"] | masks["right_brow"]
    masks["eyes"] = masks["left_eye"] | masks["right_eye"]
    masks["lashes"] = masks["left_lashes"] | masks["right_lashes"]
    masks["teeth"] = masks["upper_teeth"] | masks["lower_teeth"]
    masks["upper_lashes"] = masks["lashes"] & either_side(np.isin(vertex_ids, parts(source, UPPER_LASHES)))
    masks["lower_lashes"] = masks["lashes"] & ~masks["upper_lashes"]
    masks["left"] = x > 1e-5
    masks["right"] = x < -1e-5
    return masks


def gaze_axis(ball: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """Unit vector (3,) along which an eyeball (N, 3) at rest looks: through the middle of its two foremost rings."""
    front = ball[np.argsort(ball[:, 2])[:16]].mean(0) - joint
    return front / np.linalg.norm(front)
