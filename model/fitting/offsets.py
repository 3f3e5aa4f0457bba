"""Where the detector errs on a face: offsets of its landmarks that stay with the person, as a few learned modes.

FaceLandmarker puts its points on every face a little beside where they lie on others, the same way in every frame:
about 2 mm, and neighbours together. A fit that takes such an error for the face's shape or turn is off by as much. So
the error is given codes of its own, like those of the shape: the landmarks of a person are those of the mesh, plus,
in the head's frame, a sum of modes with codes ~ N(0, 1). The modes are principal components of the errors seen on
synthetic people whose truth is known (``python -m benchmarks.detector_offsets``); they belong to the detector and the
mesh of its points, and so to every head.

What is left after that changes from frame to frame, and neighbours still share it. Further modes, learned from the
same people, say how (``noise_modes``): the fit takes what they explain for noise, frame by frame, before it believes a
turn or an expression in it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from model.fitting.landmark_model import LandmarkModel, Part, make_part
from rsat_data.errors import ModelFileError

FILE = Path(__file__).with_name("detector_offsets.safetensors")


@lru_cache(maxsize=1)
def offset_modes() -> np.ndarray:
    """(478, 3, K) float32 metres, head frame: what a code of 1 adds to each landmark; the strongest mode first.

    Raises:
        ModelFileError: the file is missing or of another form.
    """
    return _stored("modes", "offsets")


@lru_cache(maxsize=1)
def noise_modes() -> np.ndarray:
    """(478, 3, K) float32 metres, head frame: errors of a single frame, beyond a person's own, that landmarks share.

    An error of a frame is a sum of them with amounts ~ N(0, 1); the strongest mode first.

    Raises:
        ModelFileError: the file is missing or of another form.
    """
    return _stored("noise", "noise_modes")


def _stored(name: str, setting: str) -> np.ndarray:
    try:
        modes = load_file(FILE)[name].astype(np.float32)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise ModelFileError(
            f"The detector's offsets cannot be read ({error})",
            hint=f"Install the package again, or set flame.{setting}=0.",
            path=FILE,
        ) from error
    if modes.ndim != 3 or modes.shape[:2] != (478, 3) or not np.isfinite(modes).all():
        raise ModelFileError(f"The detector's offsets should be finite (478, 3, K), they are {modes.shape}", path=FILE)
    modes.flags.writeable = False
    return modes


def frame_noise(count: int, num_landmarks: int = 478) -> np.ndarray:
    """(N, 3, L) float32 metres: the ``count`` strongest modes of noise, none for points that are not the detector's."""
    if count == 0 or num_landmarks != 478:
        return np.zeros((0, 3, num_landmarks), np.float32)
    return np.ascontiguousarray(noise_modes()[:, :, :count].transpose(2, 1, 0))


def with_offsets(model: LandmarkModel, count: int) -> LandmarkModel:
    """The model with the codes of the ``count`` strongest modes after its shape codes.

    Models of other points than the detector's 478, and models that have offsets already, are returned as they are.
    """
    if count == 0 or model.num_offsets or model.num_landmarks != 478:
        return model
    return add_offsets(model, offset_modes()[:, :, :count])


def add_offsets(model: LandmarkModel, modes: np.ndarray) -> LandmarkModel:
    """The model with codes for modes (L, 3, K) in metres, head frame; they move landmarks, not the mesh."""
    count = modes.shape[2]

    def copied(part: Part, more: np.ndarray) -> Part:
        corrective = part.entries.transpose(0, 2, 1)
        return make_part(part.index, part.rest.reshape(-1, 3), np.concatenate([part.linear, more], axis=2), corrective)

    return LandmarkModel(
        (*model.names, *(f"offset_{i:02d}" for i in range(count))),
        model.num_expressions,
        model.weight,
        copied(model.root, modes[np.argsort(model.root.index)]),
        copied(model.jaw, np.zeros((len(model.jaw.linear), 3, count))),
        copied(model.eye, np.zeros((len(model.eye.linear), 3, count))),
        model.eye_side,
        model.root_joint,
        model.root_joint_shape,
        count,
    )
