"""An avatar that nobody fitted: a Gaussian on every face of the open head, painted as the plain mesh is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from model.avatar.avatar import Avatar
from model.avatar.files import save_avatar
from model.gaussians import one_per_face
from model.head import HeadModel, load_head
from model.head.portrait import painted


def plain_avatar(head: HeadModel, shape: np.ndarray | None = None) -> Avatar:
    """The avatar of a face of this shape (S,), or the mean one."""
    code = torch.zeros(head.num_shape) if shape is None else torch.from_numpy(np.array(shape, np.float32))
    gaussians = one_per_face(head, colours=painted(head), opacity=0.95, scale=0.6)
    return Avatar(gaussians, head.id, len(head.faces), code)


def write_plain_avatar(folder: Path, shape: np.ndarray | None = None) -> Path:
    """Save one in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_avatar(plain_avatar(load_head(), shape), folder)
    return folder
