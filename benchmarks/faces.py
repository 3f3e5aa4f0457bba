"""Finding and following faces, on real clips and on scenes made of real heads whose truth is known.

    python -m benchmarks.faces CLIPS [--frames 50] [--skip small,scenes,found]

CLIPS is a folder with two_interview.mp4, two_debate.avi, one_address.mp4. Three tables:

* recall against the width of a face in a frame of 3840 x 2160: whole frame in one look, tiles as in an ordinary look,
  tiles of a fine look, with milliseconds a look;
* scenes: two real heads, moving pictures, that pass in front of each other, are covered by a bar, leave and return; and
  one place at which the head becomes another by a hard cut or a dissolve that nobody has told of. `swapped` counts
  frames in which a person's landmarks lie on the other's head, `found` is the share of the frames in which the truth is
  to be seen that were found, and `back` the frames until somebody hidden is found again;
* real clips: share of frames found and milliseconds of processor time a frame of the tracker.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks.machine import describe_machine, table
from pipelines.faces.nets import FaceDetector, FaceLandmarker
from pipelines.faces.tracking import PeopleTracker
from pipelines.ingest.media import iter_frames
from rsat_data.registry import model_path

HEAD = 240
SIZE = (360, 900)
CUTOUTS = ((200, 80, 400), (700, 50, 400))
"""x, y, side of the two heads in the interview's frames."""
Place = tuple[int, int] | None


@dataclass(frozen=True)
class Scene:
    """Frames and where each head is to be seen in them."""

    name: str
    frames: list[np.ndarray]
    places: list[list[Place]]
    """For every frame and person the upper left corner of the head's picture, None where there is none."""
    hidden: list[list[bool]]
    """Whether it is covered."""
    start: list[list[float]]
    """Boxes given to the tracker."""


def heads(clip: Path, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures (240, 240, 3) of the interview's two heads in ``count`` frames."""
    pairs = []
    for frame in iter_frames(clip, 6.0, count):
        one, two = (
            cv2.resize(frame[y : y + s, x : x + s], (HEAD, HEAD), interpolation=cv2.INTER_AREA) for x, y, s in CUTOUTS
        )
        pairs.append((one, two))
    return pairs


def _stage(pictures: list[tuple[np.ndarray, Place]]) -> np.ndarray:
    frame = np.full((*SIZE, 3), 90, np.uint8)
    for head, place in pictures:
        if place is None:
            continue
        x, y = place
        x0, x1 = max(x, 0), min(x + HEAD, SIZE[1])
        if x0 < x1:
            frame[y : y + HEAD, x0:x1] = head[:, x0 - x : x1 - x]
    return frame


def scenes(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Scene]:
    """The scenes, each as long as ``pairs``."""
    count = len(pairs)
    both = [[95.0, 115.0, 120.0, 120.0], [655.0, 115.0, 120.0, 120.0]]

    for name, front in (("crossing, A in front", 0), ("crossing, B in front", 1)):
        frames, places, hidden = [], [], []
        for i, pair in enumerate(pairs):
            x = round(40 + 560 * i / (count - 1))
            at: list[Place] = [(x, 60), (640 - x, 60)]
            order = (1 - front, front)
            frames.append(_stage([(pair[k], at[k]) for k in order]))
            places.append(at)
            covered = abs(640 - 2 * x) < 170
            hidden.append([covered and front != 0, covered and front != 1])
        yield Scene(name, frames, places, hidden, both)

    frames, places, hidden = [], [], []
    for i, pair in enumerate(pairs):
        frame = _stage([(pair[0], (40, 60)), (pair[1], (600, 60))])
        covered = count // 3 <= i < count // 3 + 18
        if covered:
            frame[40:320, 650:790] = (60, 45, 40)
        frames.append(frame)
        places.append([(40, 60), (600, 60)])
        hidden.append([False, covered])
    yield Scene("a bar over B for 0.7 s", frames, places, hidden, both)

    frames, places, hidden = [], [], []
    for i, pair in enumerate(pairs):
        away = min(i, count - 1 - i) * 36 - 36 * count // 8
        x = 600 + max(0, away)
        frames.append(_stage([(pair[0], (40, 60)), (pair[1], (x, 60))]))
        places.append([(40, 60), (x, 60)])
        hidden.append([False, x + 0.8 * HEAD >= SIZE[1]])
    yield Scene("B leaves and returns", frames, places, hidden, both)

    for name, length in (("jump cut", 0), ("flash, then the other", 2), ("dissolve of 0.5 s", 12)):
        frames, places, hidden = [], [], []
        for i, pair in enumerate(pairs):
            k = float(np.clip((i - count // 2 + 0.5) / length, 0, 1)) if length else float(i >= count // 2)
            mixed = cv2.addWeighted(pair[0], 1 - k, pair[1], k, 60.0 if 0 < k < 1 and length == 2 else 0.0)
            frames.append(_stage([(mixed, (330, 60))]))
            places.append([(330, 60) if k < 0.5 else None])
            hidden.append([False])
        yield Scene(name, frames, places, hidden, [[385.0, 115.0, 120.0, 120.0]])


def score(scene: Scene, tracker: PeopleTracker) -> list[str]:
    """Swapped frames, share found, frames until found again."""
    swapped = seen = hit = 0
    back: list[int] = []
    for person, found in enumerate(tracker.found):
        waiting = -1
        for i, landmarks in enumerate(found.landmarks):
            place = scene.places[i][person]
            on = None
            if landmarks is not None:
                x = float(landmarks[:, 0].mean())
                others = [q for k, q in enumerate(scene.places[i]) if k != person and q is not None]
                mine = np.inf if place is None else abs(x - place[0] - HEAD / 2)
                theirs = min((abs(x - q[0] - HEAD / 2) for q in others), default=np.inf)
                on = mine <= theirs and np.isfinite(mine)
                swapped += not on
            if place is None or scene.hidden[i][person]:
                waiting = 0
                continue
            seen += 1
            hit += bool(on)
            if waiting >= 0 and not on:
                waiting += 1
            elif waiting >= 0:
                back.append(waiting)
                waiting = -1
    return [str(swapped), f"{100 * hit / max(seen, 1):.0f} %", ", ".join(map(str, back)) or "-"]


def small_faces(clip: Path, detector: FaceDetector, frames: int) -> list[list[str]]:
    """Recall of faces of known width in frames of 3840 x 2160, and milliseconds a look."""
    rows = [["face px in 4K", "whole frame", "tiles", "fine tiles", "ms", "ms", "ms"]]
    rng = np.random.default_rng(0)
    pictures = list(iter_frames(clip, 6.0, 25 * frames))[::25]
    for width in (60, 80, 100, 130, 160, 200, 300):
        hits, cost = [0, 0, 0], [0.0, 0.0, 0.0]
        for picture in pictures:
            canvas = np.full((2160, 3840, 3), 90, np.uint8)
            scale = width / 195.0  # the interview's faces are some 195 px wide
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            x, y = rng.integers(0, 3840 - small.shape[1]), rng.integers(0, 2160 - small.shape[0])
            canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
            looks: tuple[Callable[..., tuple[np.ndarray, np.ndarray]], ...] = (
                detector.in_window,
                detector,
                partial(detector, fine=True),
            )
            for k, look in enumerate(looks):
                began = time.process_time()
                boxes, _ = look(canvas)
                cost[k] += time.process_time() - began
                inside = [b for b in boxes if x < b[0] + b[2] / 2 < x + small.shape[1] and 0.5 < b[2] / width < 2.0]
                hits[k] += min(len(inside), 2)
        rows.append(
            [str(width), *(f"{100 * h / 2 / len(pictures):.0f} %" for h in hits)]
            + [f"{1000 * c / len(pictures):.0f}" for c in cost]
        )
    return rows


def found_shares(folder: Path, detector: FaceDetector, landmarker: FaceLandmarker, frames: int) -> list[list[str]]:
    """Share of frames found and cost of the tracker on real clips."""
    rows = [["clip", "found", "ms a frame"]]
    for name in ("two_interview.mp4", "two_debate.avi", "one_address.mp4"):
        path = folder / name
        pictures = list(iter_frames(path, 0.2, frames))
        boxes, _ = detector(pictures[len(pictures) // 2])
        people = sorted(boxes[np.argsort(-boxes[:, 2])][: 1 if name.startswith("one") else 2].tolist())
        tracker = PeopleTracker(people, detector, landmarker)
        began = time.process_time()
        for picture in pictures:
            tracker.step(picture)
        cost = (time.process_time() - began) / len(pictures)
        shares = [np.mean([x is not None for x in found.landmarks]) for found in tracker.found]
        rows.append([name, ", ".join(f"{100 * s:.1f} %" for s in shares), f"{1000 * cost:.1f}"])
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--frames", type=int, default=50, help="frames of a scene and of a real clip")
    parser.add_argument("--looks", type=int, default=4, help="frames for each size of small faces")
    parser.add_argument("--skip", default="", help="tables left out: small, scenes, found")
    args = parser.parse_args()
    skip = set(args.skip.split(","))
    print(describe_machine())
    model = model_path("face_landmarker")
    with FaceDetector(model) as detector, FaceLandmarker(model) as landmarker:
        if "scenes" not in skip:
            rows = [["scene", "swapped", "found", "back"]]
            for scene in scenes(heads(args.clips / "two_interview.mp4", args.frames)):
                tracker = PeopleTracker(scene.start, detector, landmarker)
                for frame in scene.frames:
                    tracker.step(frame)
                rows.append([scene.name, *score(scene, tracker)])
            print(table(rows), flush=True)
        if "found" not in skip:
            print("\n" + table(found_shares(args.clips, detector, landmarker, args.frames)), flush=True)
        if "small" not in skip:
            print("\n" + table(small_faces(args.clips / "two_interview.mp4", detector, args.looks)))


if __name__ == "__main__":
    main()
