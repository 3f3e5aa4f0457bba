"""Tracking against truth: ours `fast`, ours `full` and the plain approach, on the same synthetic clips in one run.

    rsat-data synth --out talks --clips 2 --seconds 6 --seed 11
    rsat-data build --videos talks --out talks_dataset
    python -m benchmarks.track talks talks_dataset --real real_dataset

Landmarks are those the build has left in its workspace; detection is not timed. Focal length and shape are unknown
to the fit unless a line says otherwise. Columns, all over valid frames:

reprojection (px of the 512 px crop, and share of the eye distance) with the detector's own error on this face, which
the fit finds, taken off; reprojection of the mesh's own points, that error included (mesh px); face vertices after
rigid alignment and after one with scale (mm), rotation (degrees), correlation with truth of the jaw's opening, of the
mouth (the courses of all lip vertices in the head frame, about their means; the opening between the lips in brackets)
and of the blinks, error of the eyes' angles (degrees), jitter (mean second difference of face vertices over that of
the truth), frames a second.

The plain approach is the field's: frame by frame, 200 steps of Adam through the posed mesh by automatic
differentiation, on the same landmarks, loss and priors and with our shape; it is given few frames, because it is slow.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from scipy.spatial.transform import Rotation

from benchmarks import landmark_fit
from benchmarks.machine import describe_machine, table
from benchmarks.truth import aligned_error, correlation
from model.camera import Camera
from model.fitting.config import FitConfig
from model.fitting.fit import FitResult, fit_landmarks
from model.fitting.inputs import prepare
from model.fitting.landmark_model import landmark_model
from model.fitting.problem import linearise, make_priors
from model.fitting.start import start_codes
from model.head.load import HeadModel, load_head
from model.photometric.refine import Landmarks, refine
from pipelines.faces.blendshapes import BLENDSHAPES
from pipelines.faces.crop import crop_camera
from pipelines.flame.config import FlameConfig
from pipelines.flame.pictures import Frames
from pipelines.synth.truth import Codes, read_truth

MOTION = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
HEADER = [
    "", "px", "of eyes", "mesh px", "rigid mm", "scaled mm", "rotation", "jaw", "mouth (opening)", "blinks", "eyes",
    "jitter", "frames/s",
]  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One person of one clip as the faces stage left it."""

    name: str
    folder: Path
    person: str
    landmarks: np.ndarray
    blendshapes: np.ndarray
    valid: np.ndarray
    camera: Callable[[float], Camera]
    """Crop camera for a focal length in units of the longer side."""
    sha256: str
    start: int

    def fit(self, model: Any, focal: float, **more: Any) -> FitResult:
        """Our landmark fit."""
        return fit_landmarks(
            model, self.landmarks, self.valid, self.camera(focal), blendshapes=self.blendshapes,
            blendshape_names=BLENDSHAPES, **more,
        )  # fmt: skip


def people(dataset: Path) -> Iterator[Seen]:
    """Everybody in the workspace of a build, in the order of its folders."""
    for done in sorted(dataset.glob(".work/units/faces/*/*/done.json")):
        unit = json.loads(done.read_text(encoding="utf-8"))["unit"]
        faces = json.loads((done.parent / "faces.json").read_text(encoding="utf-8"))
        for entry in faces["persons"]:
            with np.load(done.parent / f"{entry['person']}.npz") as stored:
                landmarks, scores, valid = stored["landmarks"], stored["blendshapes"], stored["valid"]
            yield Seen(
                f"{unit['clip_id'][5:11]} {entry['person']}", done.parent, entry["person"],
                landmarks[..., :2].astype(np.float64), scores, valid,
                partial(crop_camera, int(faces["width"]), int(faces["height"]), entry["crop"]),
                unit["sha256"], round(unit["start_s"] * 25),
            )  # fmt: skip


def bare_px(model: Any, seen: Seen, found: FitResult, focal: float, frames: np.ndarray | None = None) -> np.ndarray:
    """(T,) mean distance of the mesh's own landmarks, without any offset, from those detected; pixels."""
    plain, camera = FitConfig(offsets=0, noise_modes=0), seen.camera(focal)
    frames = np.arange(len(seen.valid)) if frames is None else frames
    inputs = prepare(model, seen.landmarks[frames], seen.valid[frames], None, (), plain, camera)
    own = model.with_shape(found.shape.astype(np.float64))
    priors = make_priors(own, np.zeros((1, own.num_expressions + 1)), plain, smooth=False)
    points = linearise(own, found.codes[frames], inputs.observations, camera, priors, plain, derive=False).points
    share = np.where(model.weight > 0, inputs.facing, 0.0)
    return (share * np.linalg.norm(points - seen.landmarks[frames], axis=2)).sum(axis=1) / share.sum(axis=1)


def posed(head: HeadModel, shape: np.ndarray, codes: Any, frames: np.ndarray, *, still: bool = False) -> np.ndarray:
    """Vertices (N, V, 3) of some frames, metres; in the head frame if ``still``."""
    out = []
    for part in np.array_split(frames, max(1, len(frames) // 64)):
        moving = {name: torch.as_tensor(np.asarray(getattr(codes, name))[part], dtype=torch.float32) for name in MOTION}
        if still:
            moving |= {name: torch.zeros_like(moving[name]) for name in ("rotation", "translation")}
        out.append(head.pose(torch.as_tensor(shape, dtype=torch.float32), **moving)[0].numpy())
    return np.concatenate(out)


def bent(points: np.ndarray) -> float:
    """Mean length of second differences over time of points (T, V, 3)."""
    return float(np.linalg.norm(np.diff(points, 2, axis=0), axis=2).mean())


def measure(head: HeadModel, found: FitResult, truth: Codes, start: int, frames: np.ndarray) -> dict[str, float]:
    """All columns but the speed, for frames (numbers in the clip) in a row; NaN where the person did not do that."""
    frames = frames[found.valid[frames]]
    shifted = _Shifted(truth, start)
    face, lips = head.groups["face"], head.groups["lips"]
    some = frames[:: max(1, len(frames) // 30)]
    pairs = list(
        zip(posed(head, found.shape, found, some)[:, face], posed(head, truth.shape, shifted, some)[:, face],
            strict=True)
    )  # fmt: skip
    turn = Rotation.from_rotvec(found.rotation[frames]) * Rotation.from_rotvec(shifted.rotation[frames]).inv()
    ours = posed(head, found.shape, found, frames, still=True)[:, lips]
    true = posed(head, truth.shape, shifted, frames, still=True)[:, lips]
    apart = [_opening(head, lip) for lip in (ours, true)]
    moves = [lip - lip.mean(axis=0) for lip in (ours, true)]
    speaks = np.linalg.norm(moves[1], axis=2).mean() > 2e-4
    power = float((moves[0] ** 2).sum() * (moves[1] ** 2).sum())
    mouth = float((moves[0] * moves[1]).sum()) / np.sqrt(power) if speaks and power > 0 else np.nan
    columns = [head.expression_names.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]
    blinks = [
        correlation(shifted.expression[frames, column], found.expression[frames, column], 0.02) for column in columns
    ]
    jaw = correlation(shifted.jaw[frames, 0], found.jaw[frames, 0], 0.01)
    gaze = [0, 1, 3, 4]
    smooth = [bent(posed(head, s, c, frames)[:, face[::6]]) for s, c in ((found.shape, found), (truth.shape, shifted))]
    return {
        "px": float(found.reprojection_px[frames].mean()),
        "share": float(np.median(found.reprojection_px[frames] / found.eye_distance_px[frames])),
        "rigid": 1e3 * float(np.mean([aligned_error(a, b, scale=False) for a, b in pairs])),
        "scaled": 1e3 * float(np.mean([aligned_error(a, b, scale=True) for a, b in pairs])),
        "rotation": float(np.degrees(turn.magnitude()).mean()),
        "jaw": np.nan if jaw is None else jaw,
        "mouth": mouth,
        "opening": float(np.corrcoef(apart[0], apart[1])[0, 1]) if speaks else np.nan,
        "blinks": np.nan if None in blinks else float(np.mean([b for b in blinks if b is not None])),
        "eyes": float(np.degrees(np.abs(found.eyes[frames][:, gaze] - shifted.eyes[frames][:, gaze]).mean())),
        "jitter": smooth[0] / smooth[1],
    }


class _Shifted:
    """Truth counted from a clip's first frame."""

    def __init__(self, truth: Codes, start: int) -> None:
        for name in MOTION:
            setattr(self, name, np.asarray(getattr(truth, name))[start:])

    def __getattr__(self, name: str) -> np.ndarray:
        raise AttributeError(name)


def _opening(head: HeadModel, lips: np.ndarray) -> np.ndarray:
    """How far the lower lip's vertices lie below the upper lip's, (T,) metres, of lips (T, N, 3) in the head frame."""
    ids = head.groups["lips"]
    upper = torch.isin(ids, head.groups["upper_lip"]).numpy()
    lower = torch.isin(ids, head.groups["lower_lip"]).numpy()
    return lips[:, lower, 1].mean(axis=1) - lips[:, upper, 1].mean(axis=1)


def line(name: str, rows: list[dict[str, float]], speed: float | None) -> list[str]:
    """A row of the table: means over persons."""

    def mean(key: str) -> float:
        values = [row[key] for row in rows if np.isfinite(row[key])]
        return float(np.mean(values)) if values else float("nan")

    return [
        name, f"{mean('px'):.2f}", f"{mean('share'):.2%}", f"{mean('mesh'):.2f}", f"{mean('rigid'):.2f}",
        f"{mean('scaled'):.2f}", f"{mean('rotation'):.2f}", f"{mean('jaw'):.2f}",
        f"{mean('mouth'):.2f} ({mean('opening'):.2f})", f"{mean('blinks'):.2f}", f"{mean('eyes'):.1f}",
        f"{mean('jitter'):.2f}",
        "-" if speed is None else f"{speed:.2f}" if speed < 10 else f"{speed:.0f}",
    ]  # fmt: skip


def adam(head: HeadModel, model: Any, seen: Seen, found: FitResult, frames: np.ndarray, config: FitConfig) -> FitResult:
    """The plain approach on some frames; other frames keep what ``found`` says."""
    camera = seen.camera(FlameConfig().focal)
    inputs = prepare(model, seen.landmarks, seen.valid, seen.blendshapes, BLENDSHAPES, config, camera)
    own = model.with_shape(found.shape.astype(np.float64))
    start = start_codes(own, inputs.rotation, inputs.origin, inputs.scores, inputs.names, config)
    shape, small = torch.as_tensor(found.shape), head.subset(head.landmark_vertices())
    codes = found.codes
    pixels = found.reprojection_px.copy()
    for frame in frames:
        one = inputs.observations.select(slice(frame, frame + 1))
        codes[frame] = landmark_fit.adam_frame(small, shape, start[frame], one, config, camera)
        at = torch.as_tensor(codes[frame : frame + 1], dtype=torch.float32)
        points = landmark_fit.reference.landmarks(small, shape, at, camera)[0].numpy()
        share = np.where(model.weight > 0, inputs.facing[frame], 0.0)
        pixels[frame] = share @ np.linalg.norm(points - seen.landmarks[frame], axis=1) / share.sum()
    e = found.expression.shape[1]
    return replace(
        found, expression=codes[:, :e], jaw=codes[:, e : e + 3], eyes=codes[:, e + 3 : e + 9],
        rotation=codes[:, e + 9 : e + 12], translation=codes[:, e + 12 :] - found.root_joint, reprojection_px=pixels,
    )  # fmt: skip


def refined(head: HeadModel, seen: Seen, found: FitResult, config: FlameConfig, threads: int) -> FitResult:
    """Codes of the profile `full`."""
    num = len(seen.valid)
    marks = Landmarks(seen.landmarks, seen.valid, seen.blendshapes, BLENDSHAPES)
    crop, matte = (seen.folder / f"{seen.person}{end}.mp4" for end in ("", "_matte"))
    return refine(
        head, found, marks, Frames(crop, num), Frames(matte, num, grey=True), seen.camera(config.focal),
        fit=config, config=config.photometric, threads=threads,
    ).codes  # fmt: skip


def curve(model: Any, lengths: list[int]) -> list[list[str]]:
    """Seconds a frame and peak memory of made clips, shortest first (the peak is that of the process so far)."""
    lines = [["frames", "ms/frame", "frames/s", "peak memory of the process"]]
    head = load_head()
    clip = landmark_fit.make_clip(head.subset(head.landmark_vertices()), 1000)
    for frames in lengths:
        marks = np.concatenate([clip.landmarks] * (frames // 1000 + 1))[:frames]
        best = np.inf
        for _ in range(3 if frames <= 1000 else 1):
            started = time.perf_counter()
            fit_landmarks(model, marks, np.ones(frames, dtype=bool), landmark_fit.CAMERA)
            best = min(best, time.perf_counter() - started)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        lines.append([f"{frames}", f"{1e3 * best / frames:.2f}", f"{frames / best:.0f}", f"{peak:.2f} GB"])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="folder of synthetic videos with truth")
    parser.add_argument("dataset", type=Path, help="its build, workspace included")
    parser.add_argument("--real", type=Path, help="a build of real clips: reprojection only")
    parser.add_argument("--rival-frames", type=int, default=6, help="frames of each person given to Adam; 0: none")
    parser.add_argument("--full", action="store_true", help="measure the profile `full` too")
    parser.add_argument(
        "--lengths", default="100,300,1000,3000,10000,15000", help="frames of the cost curve; '' for none"
    )
    parser.add_argument("--threads", type=int, default=numba.get_num_threads())
    arguments = parser.parse_args()
    numba.set_num_threads(arguments.threads)
    torch.set_num_threads(arguments.threads)
    head, config = load_head(), FlameConfig()
    model = landmark_model(head)

    def judged(seen: Seen, found: FitResult, codes: Codes, frames: np.ndarray, focal: float) -> dict[str, float]:
        used = frames[found.valid[frames]]
        mesh = float(bare_px(model, seen, found, focal, used).mean())
        return measure(head, found, codes, seen.start, frames) | {"mesh": mesh}

    names = {hashlib.sha256(path.read_bytes()).hexdigest(): path.stem for path in arguments.videos.glob("*.mp4")}
    each, known, short, plain, full = [HEADER], [], [], [], []
    seconds, plain_seconds, full_seconds, frames, plain_frames = 0.0, 0.0, 0.0, 0, 0
    for number, seen in enumerate(people(arguments.dataset)):
        truth = read_truth(arguments.videos, names[seen.sha256])
        codes, everything = truth.codes[seen.person], np.arange(len(seen.valid))
        if not number:
            seen.fit(model, config.focal, config=config)  # compiles or loads the kernels
        started = time.perf_counter()
        found = seen.fit(model, config.focal, config=config)
        took = time.perf_counter() - started
        seconds, frames = seconds + took, frames + len(everything)
        row = judged(seen, found, codes, everything, config.focal)
        each.append(line(f"{names[seen.sha256]} {seen.person}", [row], len(everything) / took))
        known.append(row)
        true_focal = truth.camera.fx / max(truth.camera.width, truth.camera.height)
        short.append(judged(seen, seen.fit(model, true_focal, config=config), codes, everything, true_focal))
        few = np.arange(len(everything) // 2, len(everything) // 2 + arguments.rival_frames)
        if len(few) > 2:
            started = time.perf_counter()
            theirs = adam(head, model, seen, found, few, config)
            plain_seconds, plain_frames = plain_seconds + time.perf_counter() - started, plain_frames + len(few)
            plain.append(
                (judged(seen, theirs, codes, few, config.focal), judged(seen, found, codes, few, config.focal))
            )
        if arguments.full:
            started = time.perf_counter()
            better = refined(head, seen, found, config, arguments.threads)
            full_seconds += time.perf_counter() - started
            full.append(judged(seen, better, codes, everything, config.focal))
    print(describe_machine())
    print(f"{head.id}, {arguments.threads} threads, detection excluded\n")
    print(table(each))
    methods = [HEADER, line("ours `fast`", known, frames / seconds), line("... known focal length", short, None)]
    if full:
        methods.append(line("ours `full`", full, frames / full_seconds))
    if plain:
        methods.append(line(f"Adam, {landmark_fit.ADAM_STEPS} steps a frame", [a for a, _ in plain],
                            plain_frames / plain_seconds))  # fmt: skip
        methods.append(line("... ours on its frames", [b for _, b in plain], None))
    print("\n" + table(methods))
    if arguments.real is not None:
        lines = [["real clip", "frames", "of eyes", "mesh of eyes", "px", "valid"]]
        for seen in people(arguments.real):
            found = seen.fit(model, config.focal, config=config)
            mesh = float(np.median((bare_px(model, seen, found, config.focal) / found.eye_distance_px)[found.valid]))
            lines.append(
                [seen.name, f"{len(seen.valid)}", f"{found.reprojection:.2%}", f"{mesh:.2%}",
                 f"{found.reprojection_px[found.valid].mean():.2f}", f"{found.valid.mean():.0%}"]
            )  # fmt: skip
        print("\n" + table(lines))
    lengths = [int(length) for length in arguments.lengths.split(",") if length]
    if lengths:
        print("\n" + table(curve(model, lengths)))


if __name__ == "__main__":
    main()
