"""Learns where the landmark detector errs from face to face: writes model/fitting/detector_offsets.safetensors.

    rsat-data synth --out talks --clips 14 --seconds 4 --seed 77
    rsat-data build --videos talks --out talks_dataset
    python -m benchmarks.detector_offsets offsets.safetensors --clips talks talks_dataset --portraits 69

Of every synthetic person (one clip each) and of portraits of further made-up people, drawn by the same renderer under
nine views with random expressions, it takes the detector's landmarks and the true ones. What they differ by is, per
person, one offset of each landmark in the head's frame (``person_offsets``). The modes are the principal components of
these offsets about zero, each scaled so that its codes are N(0, 1); those of what is then left in every frame are the
modes of noise. It prints how far the offsets reach, and how much
of those of people left out the modes of all others explain. Never learn from seeds that are measured afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy.spatial.transform import Rotation

from benchmarks.machine import table
from benchmarks.track import people
from model.camera import Camera
from model.fitting.config import FitConfig
from model.fitting.landmark_model import LandmarkModel, landmark_model
from model.fitting.regions import region_weights
from model.head.load import HeadModel, load_head
from pipelines.synth.truth import read_truth

OFFSET_SD_M = (0.002, 0.002, 0.0015)
"""Prior of an offset: x, y, z of the head frame."""
NOISE_M = 0.0008
"""Error of a landmark in one picture that is none of the person's own."""
NOISE_PICTURES = 9
"""Pictures of a person that the modes of noise are learned from."""
YAW_DEG = (-26, -17, -10, -4, 0, 5, 11, 18, 27)
"""Views of a portrait."""
SPREAD = (
    ("mouthSmile", "cheekSquint"), ("mouthPucker",), ("mouthFunnel",), ("mouthUpperUp", "mouthLowerDown"),
    ("mouthPress",), ("mouthStretch",), ("mouthFrown",), ("eyeBlink",), ("browInnerUp", "browOuterUp"), ("browDown",),
)  # fmt: skip
"""Expressions of portraits, one of these groups at a time."""


@dataclass(frozen=True)
class Views:
    """One person in N pictures."""

    residual: np.ndarray
    """(N, 478, 2) detected less true landmark, across the line of sight, metres at the landmark's depth."""
    derivative: np.ndarray
    """(N, 478, 2, 3) of it by a displacement in the head's frame."""
    facing: np.ndarray
    """(N, 478) cosine of how far the landmark is turned to the camera, 0.1 to 1."""


def views(
    head: HeadModel, shape: np.ndarray, codes: dict[str, np.ndarray], camera: Camera, detected: np.ndarray
) -> Views:
    """Compare detected landmarks (N, 478, 2), pixels, with the truth: shape (S,) and codes of the N pictures."""
    moving = {name: torch.as_tensor(np.asarray(value), dtype=torch.float32) for name, value in codes.items()}
    points = head.landmark_points(head.pose(torch.as_tensor(shape, dtype=torch.float32), **moving)[0]).numpy()
    points = points.astype(np.float64)
    depth = points[..., 2]
    focal, middle = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
    shown = focal * points[..., :2] / depth[..., None] + middle
    turn = Rotation.from_rotvec(np.asarray(codes["rotation"], dtype=np.float64)).as_matrix()
    rows = np.zeros((*depth.shape, 2, 3))
    rows[..., 0, 0] = rows[..., 1, 1] = 1.0
    rows[..., 2] = -points[..., :2] / depth[..., None]
    centre = points.mean(axis=1, keepdims=True)
    outward = points - (centre + 0.06 * turn[:, None, :, 2])
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    sight = points / np.linalg.norm(points, axis=-1, keepdims=True)
    facing = np.clip((0.05 - (outward * sight).sum(axis=-1)) / 0.35, 0.1, 1.0)
    residual = (detected - shown) * depth[..., None] / focal
    return Views(residual, np.einsum("nlia,nab->nlib", rows, turn), facing)


def person_offsets(seen: Views) -> np.ndarray:
    """(478, 3) most probable offsets of one person, metres, head frame; 0 where nothing tells."""
    weight = np.square(seen.facing) / NOISE_M**2 / 2.0
    matrix = np.einsum("nl,nlia,nlib->lab", weight, seen.derivative, seen.derivative)
    right = np.einsum("nl,nlia,nli->la", weight, seen.derivative, seen.residual)
    return np.linalg.solve(matrix + np.diag(np.square(OFFSET_SD_M) ** -1.0), right[..., None])[..., 0]


def frame_errors(seen: Views, offsets: np.ndarray) -> np.ndarray:
    """(N, 478, 3) metres, head frame: what a person's own offsets (478, 3) leave in each picture, as far as it is seen:
    nothing along the line of sight, nothing of what is turned away.
    """
    left = seen.residual - np.einsum("nlia,la->nli", seen.derivative, offsets)
    return np.einsum("nlia,nli->nla", seen.derivative, left) * (seen.facing > 0.5)[..., None]


def principal_modes(offsets: np.ndarray, count: int, weight: np.ndarray) -> np.ndarray:
    """(478, 3, K) modes of offsets (N, 478, 3): K is ``count`` or N - 1; their codes over the N people are N(0, 1).

    Args:
        offsets: of N people, metres.
        count: how many modes.
        weight: (478,) how much a landmark counts in the choice.
    """
    num = len(offsets)
    flat = (offsets * np.sqrt(weight)[:, None]).reshape(num, -1)
    u, _, _ = np.linalg.svd(flat, full_matrices=False)
    kept = u[:, : min(count, num - 1)] * np.sqrt(num)
    return (kept.T @ offsets.reshape(num, -1) / num).reshape(-1, *offsets.shape[1:]).transpose(1, 2, 0)


def of_clips(head: HeadModel, videos: Path, dataset: Path) -> Iterator[Views]:
    """Pictures of every person of a build of synthetic clips, each from the first clip found."""
    names = {hashlib.sha256(path.read_bytes()).hexdigest(): path.stem for path in videos.glob("*.mp4")}
    known = set()
    for seen in people(dataset):
        truth = read_truth(videos, names[seen.sha256])
        codes = truth.codes[seen.person]
        if codes.shape.tobytes() in known:
            continue
        known.add(codes.shape.tobytes())
        frames = np.flatnonzero(seen.valid)[::4]
        parts = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
        at = {name: np.asarray(getattr(codes, name))[seen.start + frames] for name in parts}
        camera = seen.camera(truth.camera.fx / max(truth.camera.width, truth.camera.height))
        yield views(head, codes.shape, at, camera, seen.landmarks[frames])


def of_portraits(head: HeadModel, count: int, seed: int) -> Iterator[Views]:
    """Pictures of made-up people, each drawn from several sides with expressions."""
    from pipelines.faces.nets import FaceLandmarker
    from pipelines.synth.render import SceneRenderer, make_appearance
    from rsat_data.registry import model_path

    names, num = list(head.expression_names), len(YAW_DEG)
    with FaceLandmarker(model_path("face_landmarker")) as detect:
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            shape = np.clip(rng.standard_normal(head.num_shape), -2, 2).astype(np.float32)
            focal = 1700 * rng.uniform(0.85, 1.3)
            camera = Camera(focal, focal, 256.0, 256.0, 512, 512)
            renderer = SceneRenderer(head, [make_appearance(head, 500_000 + number)], camera, 70_000 + number)
            expression, jaw, eyes = np.zeros((num, len(names))), np.zeros((num, 3)), np.zeros((num, 6))
            for view in range(num):
                for name in SPREAD[rng.integers(len(SPREAD))] if rng.random() < 0.75 else ():
                    for column, full in enumerate(names):
                        if full.removesuffix("Left").removesuffix("Right") == name:
                            expression[view, column] = rng.uniform(0.2, 0.7)
            jaw[:, 0] = rng.uniform(0.0, 0.28, num) * (rng.random(num) < 0.6)
            eyes[:, [0, 3]], eyes[:, [1, 4]] = rng.normal(0, 0.08, (num, 1)), rng.normal(0, 0.15, (num, 1))
            angles = np.stack([YAW_DEG + rng.normal(0, 3, num), rng.normal(0, 6, num), rng.normal(0, 4, num)], axis=1)
            turn = Rotation.from_euler("YXZ", np.radians(angles)).as_rotvec()
            place = np.array([0.0, 0.03, 1.1 * focal / 1700]) + rng.normal(0, [0.015, 0.015, 0.0], (num, 3))
            codes = {"expression": expression, "jaw": jaw, "neck": 0 * jaw, "eyes": eyes, "rotation": turn}
            codes["translation"] = place
            moving = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in codes.items()}
            vertices = head.pose(torch.as_tensor(shape), **moving)[0].numpy()
            found = [detect(renderer.render([one])) for one in vertices]
            kept = np.array([bool(faces) for faces in found])
            if kept.sum() < num // 2:
                continue
            marks = np.stack([faces[0].landmarks[:, :2] for faces in found if faces])
            at = {name: value[kept] for name, value in codes.items()}
            yield views(head, shape, at, camera, marks)


def unexplained(offsets: np.ndarray, count: int, weight: np.ndarray, folds: int = 5) -> float:
    """Share of the squared offsets of people left out that modes of the others, with codes ~ N(0, 1), leave over."""
    left = 0.0
    root = np.sqrt(weight)[:, None]
    for fold in range(folds):
        out = np.arange(len(offsets)) % folds == fold
        modes = (principal_modes(offsets[~out], count, weight) * root[..., None]).reshape(-1, count)
        wanted = (offsets[out] * root).reshape(int(out.sum()), -1)
        noise = NOISE_M**2 * weight.mean()
        codes = np.linalg.solve(modes.T @ modes + noise * np.eye(count), modes.T @ wanted.T)
        left += float(np.square(wanted - (modes @ codes).T).sum())
    return left / float(np.square(offsets * root).sum())


def landmark_weight(model: LandmarkModel) -> np.ndarray:
    """(478,) how much each landmark counts in the choice of modes: as in the fit, nowhere quite 0."""
    config = FitConfig()
    regions = region_weights(config.lips, config.lids, 2.0, config.oval)
    return np.clip(model.weight, 0.02, None) * regions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--clips", type=Path, nargs=2, action="append", default=[], metavar=("VIDEOS", "DATASET"))
    parser.add_argument("--portraits", type=int, default=0, help="further people, drawn here")
    parser.add_argument("--modes", type=int, default=40)
    parser.add_argument("--noise-modes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=77)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    head = load_head()
    model = landmark_model(head)
    everybody = [one for videos, dataset in arguments.clips for one in of_clips(head, videos, dataset)]
    everybody += list(of_portraits(head, arguments.portraits, arguments.seed))
    if len(everybody) <= arguments.modes:
        parser.error(f"{len(everybody)} people are too few for {arguments.modes} modes")
    offsets, weight = np.stack([person_offsets(one) for one in everybody]), landmark_weight(model)
    found = {"modes": principal_modes(offsets, arguments.modes, weight)}
    # At most NOISE_PICTURES of each, or long clips would outweigh all others.
    errors = [frame_errors(one, own) for one, own in zip(everybody, offsets, strict=True)]
    some = [one[np.unique(np.linspace(0, len(one) - 1, NOISE_PICTURES).astype(int))] for one in errors]
    found["noise"] = principal_modes(np.concatenate(some), arguments.noise_modes, weight)
    save_file({name: np.ascontiguousarray(one.astype(np.float16)) for name, one in found.items()}, arguments.out)
    known = model.weight > 0
    reach = 1e3 * np.sqrt(np.square(offsets[:, known]).sum(axis=2).mean())
    common = 1e3 * np.sqrt(np.square(offsets[:, known].mean(axis=0)).sum(axis=1).mean())
    rest = [f"{count}: {unexplained(offsets, count, weight):.0%}" for count in (5, 10, 20, arguments.modes)]
    print(table([["people", "offsets, rms", "common to all", "left over by modes of others"],
                 [str(len(offsets)), f"{reach:.2f} mm", f"{common:.2f} mm", ", ".join(rest)]]))  # fmt: skip


if __name__ == "__main__":
    main()
