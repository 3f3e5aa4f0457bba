"""Masks and distances over vertex groups."""

from __future__ import annotations

import pytest
import torch

from model.head import HeadModel
from model.head.groups import face_mask, vertex_error, vertex_mask


def test_masks_name_the_groups(head: HeadModel) -> None:
    mask = vertex_mask(head, "upper_lip", "lower_lip", "no such group")
    assert torch.equal(torch.nonzero(mask).squeeze(1), head.groups["lips"])
    touching, whole = face_mask(head, "lips"), face_mask(head, "lips", corners=3)
    assert 0 < int(whole.sum()) < int(touching.sum())
    assert bool(mask[head.faces[whole]].all()) and not bool(mask[head.faces[~touching]].any())


def test_vertex_error_counts_only_the_vertices_asked_for(head: HeadModel) -> None:
    truth = head.v_template.expand(2, -1, -1)
    found = truth.clone()
    found[1, head.groups["lips"]] += torch.tensor([0.0, 0.003, 0.004])
    assert vertex_error(found, truth, head.groups["lips"]).tolist() == pytest.approx([0.0, 0.005], abs=1e-6)
    assert float(vertex_error(found, truth, head.groups["scalp"])[1]) == 0
    share = len(head.groups["lips"]) / head.num_vertices
    assert float(vertex_error(found, truth)[1]) == pytest.approx(0.005 * share, rel=1e-3)
