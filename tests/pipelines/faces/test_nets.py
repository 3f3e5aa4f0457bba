from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.faces.blendshapes import BLENDSHAPES, INDEX
from pipelines.faces.nets import FaceDetector, FaceLandmarker, PersonSegmenter, tiles
from pipelines.ingest.media import iter_frames
from rsat_data.errors import ModelFileError
from tests.pipelines.ingest.helpers import need_model


@settings(deadline=None)
@given(width=st.integers(64, 5000), height=st.integers(64, 5000), tile=st.sampled_from([256, 1024]))
def test_tiles_cover_the_frame_with_overlap(width, height, tile):
    found = tiles(width, height, tile)
    assert bool(found) == (width != height or width > tile)
    for side in {t[2] for t in found}:
        assert side <= min(width, height) and side < max(width, height)
        for axis, length in ((0, width), (1, height)):
            starts = sorted({t[axis] for t in found if t[2] == side})
            assert starts[0] == 0 and starts[-1] + side == length
            assert all(b - a <= 0.7 * side + 1 for a, b in zip(starts, starts[1:], strict=False))
    assert len(found) <= 36 or max(width, height) > 3 * min(width, height)


def test_small_faces_in_a_large_frame_are_found(real_data):
    frame = next(iter_frames(real_data / "clips" / "two_interview.mp4", 6.0, 1, size=(640, 360)))
    wide = np.full((1080, 1920, 3), 80, np.uint8)
    wide[500:860, 900:1540] = frame  # faces of some 100 px
    with FaceDetector(need_model("face_landmarker")) as detector:
        alone, _ = detector.in_window(wide)
        boxes, scores = detector(wide)
    assert len(alone) < 2  # one look at the whole frame is not enough
    assert len(boxes) == 2 and (scores > 0.5).all()
    assert sorted(boxes[:, 0] + boxes[:, 2] / 2) == pytest.approx([900 + 198, 900 + 449], abs=15)


def test_landmarks_are_where_the_face_is(real_data):
    frame = next(iter_frames(real_data / "clips" / "one_address.mp4", 2.0, 1))
    with FaceLandmarker(need_model("face_landmarker")) as landmarker:
        (one,) = landmarker(frame)
        (two,) = landmarker(frame)
    assert (one.landmarks == two.landmarks).all() and (one.blendshapes == two.blendshapes).all()
    nose, left_eye, right_eye, chin = one.landmarks[[1, 263, 33, 152]]  # "left" is the subject's
    assert right_eye[0] < nose[0] < left_eye[0] and right_eye[1] < nose[1] < chin[1]
    assert one.landmarks[1, 2] < one.landmarks[234, 2]  # the nose is nearer than the cheek
    assert one.matrix[2, 3] < 0 and 0 <= one.blendshapes.min() <= one.blendshapes.max() <= 1


def test_names_are_those_of_the_model(real_data):
    frame = next(iter_frames(real_data / "clips" / "one_address.mp4", 2.0, 1))
    with FaceLandmarker(need_model("face_landmarker")) as landmarker:
        result = landmarker._task.detect(landmarker._image(frame))
    assert tuple(shape.category_name for shape in result.face_blendshapes[0]) == BLENDSHAPES
    assert INDEX["jawOpen"] == 25 and len(BLENDSHAPES) == 52


def test_the_mask_holds_the_person_and_outlives_its_result(real_data):
    frame = next(iter_frames(real_data / "clips" / "one_address.mp4", 2.0, 1))
    with PersonSegmenter(need_model("selfie_segmenter")) as segmenter:
        mask = segmenter(frame)
        before = mask.copy()
        for _ in range(3):
            segmenter(np.zeros_like(frame))
    assert (mask == before).all()
    assert mask.shape == (256, 256) and mask[128, 128] > 0.9 and mask[:40, :20].max() < 0.2


def test_a_model_file_that_is_none(tmp_path):
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match="face_detector"):
        FaceDetector(path)


def test_a_fine_look_finds_small_faces_in_4k(real_data):
    frame = next(iter_frames(real_data / "clips" / "two_interview.mp4", 6.0, 1, size=(640, 360)))
    wide = np.full((2160, 3840, 3), 80, np.uint8)
    wide[500:860, 900:1540] = frame  # faces of some 100 px
    with FaceDetector(need_model("face_landmarker")) as detector:
        assert detector.sure_px(wide) > 100 > detector.sure_px(wide[:1080, :1920]) == 0
        boxes, _ = detector(wide, fine=True)
    assert sorted(boxes[:, 0] + boxes[:, 2] / 2) == pytest.approx([900 + 198, 900 + 449], abs=15)
    assert len(tiles(3840, 2160, 640, fine=True)) > len(tiles(3840, 2160, 640))
    assert tiles(1920, 1080, 640, fine=True) == tiles(1920, 1080, 640)
