"""Following one or two people through a clip, frame by frame, without ever swapping them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from pipelines.faces.blendshapes import BLENDSHAPES
from pipelines.faces.boxes import assign, centres, cut_square, intersections, motion_cost
from pipelines.faces.nets import NUM_LANDMARKS, Face, FaceDetector, FaceLandmarker

_MIN_NET_PX = 320
"""A smaller window is enlarged to this: the landmarker samples 256 px from the face within it."""
_DRIFT = 0.12
"""The window stays where it is until the face has moved or grown by this share of the window. A window that followed
every landmark would put its own rounding into the landmarks."""
_MAX_MOTION = 1.2
"""Largest `motion_cost` from one frame to the next."""
_MAX_COST = 1.8
"""Largest cost, motion and appearance together, by which a lost person is found again."""
_FORGET = 0.2
"""How much less, with every frame missed, it counts where somebody was."""
_MISS_LIMIT = 25
_APPEARANCE_WEIGHT = 2.0
_OTHER = 0.35
"""Appearance distance from which a face is somebody else's, however near it is. On real clips one face stays within 0.2
of its own mean, over hundreds of frames; two faces are 0.43 to 0.7 apart, two shots of one studio included."""
_LEARN = 0.25
"""Faces further from the mean than this (half covered, in a flash or a dissolve) are not learnt."""
_RIVAL_MARGIN = 0.05
"""A face that looks this much more like another person than like the one whose window it is in is not taken."""
_RETURN_FRAMES = 50
"""For how many frames a lost person's own window is watched besides the search of the whole frame."""
_SAME_FACE = 0.4
"""Two results that share this part of the smaller box are one face found twice."""
_SEARCH_EVERY = 3
"""When somebody is missing for longer, the whole frame is searched only every so many frames."""


@dataclass
class Person:
    """One person while being followed."""

    box: np.ndarray
    """(4,) where the face was last, source px."""
    window: tuple[int, int, int] | None = None
    """(x0, y0, side) of the square searched."""
    looks: np.ndarray | None = None
    """Mean colour histogram of the face."""
    missed: int = 0
    """Frames since it was last found."""


@dataclass
class Found:
    """What was found of one person over a clip; lists of length T."""

    landmarks: list[np.ndarray | None] = field(default_factory=list)
    """(478, 3) float64 source px, or None."""
    blendshapes: list[np.ndarray | None] = field(default_factory=list)
    """(52,) float32."""
    matrices: list[np.ndarray | None] = field(default_factory=list)
    """(4, 4) float32."""
    confidence: list[float] = field(default_factory=list)
    """Detector score in [0, 1]; 0 where nothing was found."""


@dataclass(frozen=True)
class _Candidate:
    face: Face
    """Landmarks in source px."""
    score: float


class PeopleTracker:
    """Feed frames in order with `step`; results gather in `found`, one entry a person in the order of ``boxes``."""

    def __init__(
        self,
        boxes: Sequence[Sequence[float]],
        detector: FaceDetector,
        landmarker: FaceLandmarker,
        *,
        window_factor: float = 2.0,
    ) -> None:
        self._people = [Person(np.asarray(box, np.float64)) for box in boxes]
        self.found = [Found() for _ in boxes]
        self._detector, self._landmarker = detector, landmarker
        self._factor = window_factor
        self._frames = 0

    def step(self, picture: np.ndarray) -> None:
        """Find every person in the next frame (H, W, 3) uint8 RGB."""
        results = [self._near(picture, person) for person in self._people]
        self._part_doubles(picture, results)
        missing = [i for i, result in enumerate(results) if result is None]
        first = self._frames == 0
        if missing and (first or any(m < _SEARCH_EVERY or m % _SEARCH_EVERY == 0 for m in self._misses(missing))):
            self._search(picture, results, missing, anywhere=first)
        for person, found, result in zip(self._people, self.found, results, strict=True):
            self._record(picture, person, found, result)
        self._frames += 1

    def _misses(self, people: list[int]) -> list[int]:
        return [self._people[i].missed for i in people]

    def _near(self, picture: np.ndarray, person: Person) -> _Candidate | None:
        """The person's face in its window, if there is one that can have moved there and looks like the person.

        Looks decide even where the place is right: after a cut that nobody noticed, or when somebody passes in front,
        the face in the window is another one.
        """
        if person.window is None or person.missed > _RETURN_FRAMES:
            return None
        best = self._look(picture, person.window)
        if best is None:
            return None
        cost = float(motion_cost(person.box[None], best.face.box[None])[0, 0])
        return best if cost <= _MAX_MOTION and self._is(picture, person, best.face.box) else None

    def _is(self, picture: np.ndarray, person: Person, box: np.ndarray) -> bool:
        """Whether the face in ``box`` looks like the person, and no more like anybody else."""
        if person.looks is None:
            return True
        seen = appearance(picture, box)
        own = appearance_distance(person.looks, seen)
        if own > (_LEARN if person.missed else _OTHER):
            return False
        others = (p.looks for p in self._people if p is not person and p.looks is not None)
        return all(appearance_distance(looks, seen) > own - _RIVAL_MARGIN for looks in others)

    def _look(self, picture: np.ndarray, window: tuple[int, int, int]) -> _Candidate | None:
        x0, y0, side = window
        crop = cut_square(picture, x0, y0, side)
        if side < _MIN_NET_PX:
            crop = cv2.resize(crop, (_MIN_NET_PX, _MIN_NET_PX), interpolation=cv2.INTER_CUBIC)
        faces = self._landmarker(crop)
        if not faces:
            return None
        scale = side / crop.shape[0]
        face = faces[0]
        landmarks = face.landmarks * scale + np.array([x0, y0, 0.0])
        boxes, scores = self._detector.in_window(crop)
        boxes = boxes * scale + np.array([x0, y0, 0, 0])
        moved = Face(landmarks, face.blendshapes, face.matrix)
        shared = intersections(moved.box[None], boxes)[0] / max(float(np.prod(moved.box[2:])), 1e-9)
        score = float(scores[shared > 0.3].max(initial=0.0))
        return _Candidate(moved, score)

    def _part_doubles(self, picture: np.ndarray, results: list[_Candidate | None]) -> None:
        """Where two people's windows gave the same face, leave it to the one it fits better."""
        for i in range(len(results)):
            for j in range(i + 1, len(results)):
                one, two = results[i], results[j]
                if one is None or two is None or not _same_face(one.face.box, two.face.box):
                    continue
                cost_i = self._cost(picture, self._people[i], one.face.box)
                cost_j = self._cost(picture, self._people[j], two.face.box)
                results[j if cost_i <= cost_j else i] = None

    def _cost(self, picture: np.ndarray, person: Person, box: np.ndarray) -> float:
        cost = float(motion_cost(person.box[None], box[None])[0, 0])
        cost /= 1.0 + _FORGET * min(person.missed, _MISS_LIMIT)
        if person.looks is not None:
            distance = appearance_distance(person.looks, appearance(picture, box))
            cost = cost + _APPEARANCE_WEIGHT * distance if distance <= _OTHER else np.inf
        return cost

    def _search(
        self, picture: np.ndarray, results: list[_Candidate | None], missing: list[int], *, anywhere: bool
    ) -> None:
        """Look for the missing people in the whole frame, and assign what is found by motion and appearance."""
        smallest = min(float(self._people[i].box[2]) for i in missing)
        boxes, _ = self._detector(picture, fine=smallest < self._detector.sure_px(picture))
        taken = [r.face.box for r in results if r is not None]
        candidates: list[_Candidate] = []
        for box in boxes:
            if any(_same_face(box, other) for other in taken):
                continue
            found = self._look(picture, self._window(box))
            if found is not None and not any(_same_face(found.face.box, other) for other in taken):
                candidates.append(found)
                taken.append(found.face.box)
        if not candidates:
            return
        cost = np.array([[self._cost(picture, self._people[i], c.face.box) for c in candidates] for i in missing])
        # In the first frame the boxes are medians over the clip: everybody may be some way off.
        limit = 3.0 if anywhere else _MAX_COST
        for row, column in assign(cost, limit):
            results[missing[row]] = candidates[column]

    def _window(self, box: np.ndarray) -> tuple[int, int, int]:
        side = max(16, round(self._factor * float(max(box[2], box[3]))))
        cx, cy = centres(box)
        return round(float(cx) - side / 2), round(float(cy) - side / 2), side

    def _record(self, picture: np.ndarray, person: Person, found: Found, result: _Candidate | None) -> None:
        if result is None:
            person.missed += 1
            found.landmarks.append(None)
            found.blendshapes.append(None)
            found.matrices.append(None)
            found.confidence.append(0.0)
            return
        box = result.face.box
        person.box, person.missed = box, 0
        wanted = self._window(box)
        if person.window is None or _drifted(person.window, wanted):
            person.window = wanted
        seen = appearance(picture, box)
        if person.looks is None:
            person.looks = seen
        elif appearance_distance(person.looks, seen) <= _LEARN:
            person.looks = 0.95 * person.looks + 0.05 * seen
        found.landmarks.append(result.face.landmarks)
        found.blendshapes.append(result.face.blendshapes)
        found.matrices.append(result.face.matrix)
        found.confidence.append(result.score)


def _drifted(window: tuple[int, int, int], wanted: tuple[int, int, int]) -> bool:
    shift = max(abs(window[k] + window[2] / 2 - wanted[k] - wanted[2] / 2) for k in (0, 1))
    return shift > _DRIFT * wanted[2] or abs(np.log(window[2] / wanted[2])) > _DRIFT


def _same_face(a: np.ndarray, b: np.ndarray) -> bool:
    smaller = min(float(np.prod(a[2:])), float(np.prod(b[2:])))
    return float(intersections(a[None], b[None])[0, 0]) > _SAME_FACE * max(smaller, 1e-9)


def appearance(picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Colour histogram (512,) float64 of the box (x, y, width, height) in a picture, summing to 1.

    8 x 8 x 8 bins of RGB over the box enlarged by a fifth, so that hair and collar count as well.
    """
    height, width = picture.shape[:2]
    margin = 0.1 * box[2:]
    x0, y0 = np.clip(np.floor(box[:2] - margin).astype(int), 0, [max(width - 2, 0), max(height - 2, 0)])
    x1, y1 = np.ceil(box[:2] + box[2:] + margin).astype(int)
    patch = picture[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    step = max(1, min(patch.shape[:2]) // 32)
    bins = patch[::step, ::step].reshape(-1, 3).astype(np.int64) >> 5
    counts = np.bincount(bins @ np.array([64, 8, 1]), minlength=512).astype(np.float64)
    return counts / counts.sum()


def appearance_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Hellinger distance of two histograms: 0 the same, 1 nothing in common."""
    return float(np.sqrt(max(0.0, 1.0 - float(np.sqrt(a * b).sum()))))


def stack(found: Found) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lists of a `Found` as arrays, zero where nothing was found.

    Returns:
        landmarks (T, 478, 3) float64, blendshapes (T, 52) float32, matrix (T, 4, 4) float32, confidence (T,) float32,
        valid (T,) bool.
    """
    count = len(found.landmarks)
    landmarks = np.zeros((count, NUM_LANDMARKS, 3))
    blendshapes = np.zeros((count, len(BLENDSHAPES)), np.float32)
    matrix = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    valid = np.array([x is not None for x in found.landmarks], bool)
    for t in np.flatnonzero(valid):
        landmarks[t], blendshapes[t], matrix[t] = found.landmarks[t], found.blendshapes[t], found.matrices[t]
    return landmarks, blendshapes, matrix, np.asarray(found.confidence, np.float32), valid
