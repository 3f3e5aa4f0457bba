"""Where the detector errs on a face: offsets of its landmarks that stay with the person, as a few learned modes.

FaceLandmarker puts its points on every face a little beside where they lie on others, the same way in every frame:
about 2 mm, and neighbours together. A fit that takes such an error for the face's shape or turn is off by as much. So
the error is given codes of its own, like those of the shape: the landmarks of a person are those of the mesh, plus,
in the head's frame, a sum of modes with codes ~ N(0, 1). The modes are principal components of the errors seen on
synthetic people whose truth is known (``python -m benchmarks.detector_offsets``); they belong to the detector and the
mesh of its points, and so to every head.
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
    try:
        modes = load_file(FILE)["modes"].astype(np.float32)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise ModelFileError(
            f"The detector's offsets cannot be read ({error})",
            hint="Install the package again, or set flame.offsets=0.",
            path=FILE,
        ) from error
    if modes.ndim != 3 or modes.shape[:2] != (478, 3) or not np.isfinite(modes).all():
        raise ModelFileError(f"The detector's offsets should be finite (478, 3, K), they are {modes.shape}", path=FILE)
    modes.flags.writeable = False
    return modes


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
