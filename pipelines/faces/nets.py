"""The three networks of this package, behind plain functions of arrays. The one place that imports mediapipe.

All run on still images, one at a time and without memory: the same picture always gives the same numbers.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipelines.faces.blendshapes import BLENDSHAPES
from pipelines.faces.boxes import cut_square, merge_detections
from pipelines.faces.quiet import quiet_stderr
from rsat_data.errors import ModelFileError
from rsat_data.optional import require

NUM_LANDMARKS = 478
_DETECTOR = "face_detector.tflite"
_EDGE = 0.02
_SMALLEST = 6.0
"""Faces of this part of a tile's side and more are found surely."""


def _tasks() -> tuple[Any, Any, Any]:
    with quiet_stderr():
        mediapipe = require("mediapipe", needed_for="finding faces")
        tasks = require("mediapipe.tasks.python", needed_for="finding faces")
        vision = require("mediapipe.tasks.python.vision", needed_for="finding faces")
    return mediapipe, tasks, vision


class _Task:
    """A mediapipe task that is closed by ``with`` and says nothing on the terminal when it starts."""

    def __init__(self) -> None:
        self._mediapipe, self._tasks, self._vision = _tasks()
        self._task: Any = None
        self._warm = False

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the network."""
        if self._task is not None:
            with quiet_stderr():
                self._task.close()
            self._task = None

    def _image(self, picture: np.ndarray) -> Any:
        return self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture, dtype=np.uint8)
        )

    def _call(self, function: Any, picture: np.ndarray) -> Any:
        image = self._image(picture)
        if self._warm:
            return function(image)
        with quiet_stderr():  # The first call still builds things and tells of them.
            result = function(image)
        self._warm = True
        return result


class FaceDetector(_Task):
    """Faces in a whole frame: the short-range detector inside the landmark bundle, run on the frame and on tiles.

    The detector sees 128 x 128 px and finds faces from about a seventh of that on, so that the whole frame alone gives
    only near faces. With tiles of 640 px faces from some 90 px on are found in frames of up to 1280 rows, and in larger
    ones where a ``fine`` look is asked for.
    """

    def __init__(self, landmarker_file: Path, *, min_confidence: float = 0.5, tile_px: int = 640) -> None:
        super().__init__()
        self._tile_px = tile_px
        try:
            with zipfile.ZipFile(landmarker_file) as bundle:
                model = bundle.read(_DETECTOR)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ModelFileError(
                f"{landmarker_file.name} holds no {_DETECTOR} ({error})",
                hint="fetch it again: rsat-data models fetch face_landmarker",
                path=landmarker_file,
            ) from error
        with quiet_stderr():
            self._task = self._vision.FaceDetector.create_from_options(
                self._vision.FaceDetectorOptions(
                    base_options=self._tasks.BaseOptions(model_asset_buffer=model),
                    min_detection_confidence=min_confidence,
                    min_suppression_threshold=0.3,
                )
            )

    def in_window(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Faces in one picture (H, W, 3), in one look: boxes (N, 4) in its pixels and scores (N,), best first."""
        found = self._call(self._task.detect, picture).detections
        boxes = [(b.origin_x, b.origin_y, b.width, b.height) for b in (d.bounding_box for d in found)]
        scores = [d.categories[0].score for d in found]
        return np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float64)

    def sure_px(self, picture: np.ndarray) -> float:
        """Least width (px) of faces a picture (H, W, 3) surely gives without a fine look; 0 where that adds nothing."""
        tile = min(picture.shape[:2]) // 2
        return tile / _SMALLEST if tile > self._tile_px else 0.0

    def __call__(self, picture: np.ndarray, *, fine: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Faces in a frame (H, W, 3) by a look at the whole and one at each tile, doubles merged.

        Args:
            picture: the frame.
            fine: in a frame of over twice ``tile_px`` rows look at tiles of ``tile_px`` too: 45 of them in 4K.

        Returns:
            boxes (N, 4) float64 source px, from the brows to the chin, and scores (N,) in [0, 1], best first.
        """
        height, width = picture.shape[:2]
        boxes, scores = self.in_window(picture)
        all_boxes, all_scores = [boxes], [scores]
        for x0, y0, side in tiles(width, height, self._tile_px, fine=fine):
            found, score = self.in_window(cut_square(picture, x0, y0, side))
            # A face on a tile's inner edge is a part of a face; the next tile has the whole of it.
            low, high = found[:, :2], found[:, :2] + found[:, 2:]
            cut = (low < _EDGE * side) & (np.array([x0, y0]) > 0)
            cut |= (high > (1 - _EDGE) * side) & (np.array([x0, y0]) + side < np.array([width, height]))
            keep = ~cut.any(axis=1)
            all_boxes.append(found[keep] + np.array([x0, y0, 0, 0]))
            all_scores.append(score[keep])
        boxes, scores = np.concatenate(all_boxes), np.concatenate(all_scores)
        kept = merge_detections(boxes, scores)
        return boxes[kept], scores[kept]


def tiles(width: int, height: int, tile_px: int, *, fine: bool = False) -> list[tuple[int, int, int]]:
    """Squares (x0, y0, side) at which a frame is looked at closer; none for a small square frame.

    Small squares of ``tile_px`` (or half the frame's shorter side, if that is more) overlap by 0.3 of their side, so a
    face of up to that size is whole in one of them. Where larger faces could fall between them and the whole frame,
    squares of the shorter side, half overlapping, come first. ``fine`` adds squares of ``tile_px`` where the small ones
    are larger.
    """
    short, long = min(width, height), max(width, height)
    small = min(short, max(tile_px, short // 2))
    found = []
    if short > 1.2 * small:
        found += _grid(width, height, short, 0.5)
    if small < long:
        found += _grid(width, height, small, 0.3)
    if fine and small > tile_px:
        found += _grid(width, height, tile_px, 0.3)
    return [t for t in found if t[2] < long]


def _grid(width: int, height: int, side: int, overlap: float) -> list[tuple[int, int, int]]:
    def starts(length: int) -> list[int]:
        if length <= side:
            return [0]
        count = int(np.ceil((length - side) / ((1 - overlap) * side))) + 1
        return [round(i * (length - side) / (count - 1)) for i in range(count)]

    return [(x, y, side) for y in starts(height) for x in starts(width)]


@dataclass(frozen=True)
class Face:
    """What the landmarker says of one face in a window."""

    landmarks: np.ndarray
    """(478, 3) float64 in px of the picture given; z is scaled like x, smaller is nearer to the camera."""
    blendshapes: np.ndarray
    """(52,) float32 in [0, 1], in the order of `pipelines.faces.blendshapes`."""
    matrix: np.ndarray
    """(4, 4) float32 that takes the canonical face to the picture's own camera; both in cm, x to the image's right,
    y up, z to the viewer."""

    @property
    def box(self) -> np.ndarray:
        """(4,) x, y, width, height of the landmarks' extent, px."""
        low, high = self.landmarks[:, :2].min(axis=0), self.landmarks[:, :2].max(axis=0)
        return np.concatenate([low, high - low])


class FaceLandmarker(_Task):
    """478 landmarks, 52 blendshapes and a pose matrix of the faces in a window."""

    def __init__(self, model_file: Path, *, max_faces: int = 1, min_confidence: float = 0.5) -> None:
        super().__init__()
        with quiet_stderr():
            self._task = self._vision.FaceLandmarker.create_from_options(
                self._vision.FaceLandmarkerOptions(
                    base_options=self._tasks.BaseOptions(model_asset_path=str(model_file)),
                    num_faces=max_faces,
                    min_face_detection_confidence=min_confidence,
                    min_face_presence_confidence=min_confidence,
                    output_face_blendshapes=True,
                    output_facial_transformation_matrixes=True,
                )
            )

    def __call__(self, picture: np.ndarray) -> list[Face]:
        """Faces in a square picture (S, S, 3) uint8."""
        height, width = picture.shape[:2]
        result = self._call(self._task.detect, picture)
        faces = []
        for points, shapes, matrix in zip(
            result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes, strict=True
        ):
            landmarks = np.array([(p.x, p.y, p.z) for p in points]) * (width, height, width)
            scores = np.array([s.score for s in shapes], np.float32)
            assert len(landmarks) == NUM_LANDMARKS and len(scores) == len(BLENDSHAPES)
            if np.isfinite(landmarks).all():
                faces.append(Face(landmarks, scores, np.array(matrix, np.float32)))
        return faces


class PersonSegmenter(_Task):
    """How much each pixel belongs to a person; 256 x 256 px inside."""

    SIZE = 256

    def __init__(self, model_file: Path) -> None:
        super().__init__()
        with quiet_stderr():
            self._task = self._vision.ImageSegmenter.create_from_options(
                self._vision.ImageSegmenterOptions(
                    base_options=self._tasks.BaseOptions(model_asset_path=str(model_file)),
                    output_confidence_masks=True,
                    output_category_mask=False,
                )
            )

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(256, 256) float32 in [0, 1] for a square picture (S, S, 3) uint8."""
        small = cv2.resize(picture, (self.SIZE, self.SIZE), interpolation=cv2.INTER_AREA)
        result = self._call(self._task.segment, small)
        # numpy_view() looks into memory that dies with the result: copy while the result is held.
        return np.array(result.confidence_masks[0].numpy_view(), np.float32, copy=True).reshape(self.SIZE, self.SIZE)
