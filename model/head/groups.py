"""Vertex groups as masks, and distances over them."""

from __future__ import annotations

import torch
from torch import Tensor

from model.head.load import HeadModel


def vertex_mask(head: HeadModel, *names: str) -> Tensor:
    """(V,) bool: which vertices are in at least one of the named groups; a group the head does not have is empty."""
    mask = torch.zeros(head.num_vertices, dtype=torch.bool, device=head.device)
    for name in names:
        if name in head.groups:
            mask[head.groups[name]] = True
    return mask


def face_mask(head: HeadModel, *names: str, corners: int = 1) -> Tensor:
    """(F,) bool: which triangles have at least ``corners`` (1 to 3) corners in the named groups."""
    return vertex_mask(head, *names)[head.faces].sum(1) >= corners


def vertex_error(found: Tensor, truth: Tensor, ids: Tensor | None = None) -> Tensor:
    """Mean Euclidean distance of corresponding vertices.

    Args:
        found: (..., V, 3) metres.
        truth: (..., V, 3) metres.
        ids: (K,) the vertices that count, such as ``head.groups["lips"]``; None for all.

    Returns:
        (...) metres, one number a frame.
    """
    difference = found - truth if ids is None else found[..., ids, :] - truth[..., ids, :]
    return torch.linalg.norm(difference, dim=-1).mean(-1)
