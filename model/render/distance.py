"""How far two motions of the same face lie apart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from model.head import HeadModel
from model.head.load import CODE_NAMES

_BATCH = 64


@torch.no_grad()
def vertex_distance_mm(
    head: HeadModel, shape: np.ndarray, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> float:
    """Mean distance over all vertices and frames, millimetres.

    Args:
        head: on the CPU.
        shape: (S,) shape code of the face.
        first, second: complete codes (T, .) of both motions.
    """
    total, count = 0.0, len(first["rotation"])
    identity = torch.from_numpy(np.array(shape, np.float32))
    for start in range(0, count, _BATCH):
        span = slice(start, start + _BATCH)
        parts = [{name: torch.from_numpy(codes[name][span]) for name in CODE_NAMES} for codes in (first, second)]
        here, there = (head.pose(identity, **part)[0] for part in parts)
        total += float((here - there).norm(dim=-1).mean(dim=1).sum())
    return 1000 * total / max(count, 1)
