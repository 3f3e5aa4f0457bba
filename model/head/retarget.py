"""Codes of one head to codes of another, through vertices.

The target's vertices are looked up on the source's surface (:mod:`model.head.correspond`), in the part of the face that
both have. The subject's shape is solved once from the head at rest; where the target's identity basis cannot follow the
source's face, the difference at rest is kept aside and travels with the head, so that it does not end up in the
expressions. Then each frame's expression, jaw, rotation and translation are solved; gaze is copied as angles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.head.correspond import Correspondence, cached_correspondence
from model.head.load import CODE_NAMES, HeadModel
from model.head.pose import axis_angle_to_matrix, joint_transforms
from model.head.same import require_same_head
from model.head.vertex_codes import VertexCodes, VertexFitConfig, codes_from_vertices

RETARGET = VertexFitConfig(noise_m=0.001, redundancy=8.0, max_vertices=1500)
"""Two heads agree to about a millimetre: fit no finer than that."""
AT_REST = 1e-3
"""Standard deviation of expression and jaw while the shape is solved from the head at rest."""


@dataclass(frozen=True)
class Retargeted:
    """Codes of the target head, and how well it follows. T frames."""

    codes: VertexCodes
    """The target's codes; ``residual_mm`` (T,) is the mean distance between the two faces, difference at rest
    included."""
    motion_residual_mm: Tensor
    """(T,) the same without the difference at rest: what of the movement the target cannot do."""
    rest_residual_mm: float
    """Mean distance of the two faces at rest: what of the identity the target cannot show."""
    vertices: int
    """Number of target vertices compared."""


def retarget(
    codes: Mapping[str, Tensor],
    source: HeadModel,
    target: HeadModel,
    *,
    head_model: str | None = None,
    shape: Tensor | None = None,
    correspondence: Correspondence | None = None,
    config: VertexFitConfig = RETARGET,
) -> Retargeted:
    """Codes of ``target`` for codes of ``source``.

    Args:
        codes: ``shape`` (S,), ``expression`` (T, E), and ``jaw``, ``neck``, ``rotation``, ``translation`` (T, 3),
            ``eyes`` (T, 6), as :meth:`HeadModel.pose` takes them; what is missing is zero.
        source: the head that the codes belong to.
        target: the head to code with.
        head_model: id that the codes came with, such as a row's ``head_model``; checked against ``source``.
        shape: (S,) the subject's shape of the target, where other clips have given it already; None solves it.
        correspondence: of the target's vertices on the source; None takes it from the cache or computes it.
        config: noise and priors.

    Raises:
        HeadMismatch: the codes are not the source's.
        ModelFileError: a head has no landmarks to guide the correspondence.
        ValueError: codes are not finite, or their shapes do not fit.
    """
    if head_model is not None:
        require_same_head(head_model, source)
    given = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in codes.items()}
    bad = [name for name, value in given.items() if not bool(torch.isfinite(value).all())]
    if bad or "shape" not in given or given["shape"].shape != (source.num_shape,):
        what = f"{', '.join(bad)} not finite" if bad else f"shape must be ({source.num_shape},)"
        raise ValueError(f"codes of {source.id} cannot be retargeted: {what}")
    frames = max((len(given[name]) for name in CODE_NAMES if name in given), default=1)
    given = {name: value for name, value in given.items() if name == "shape" or name in CODE_NAMES}
    eyes = given.get("eyes", torch.zeros(frames, 6)).expand(frames, 6)
    if source.id == target.id:
        return _same(given, source, frames)
    found = correspondence or cached_correspondence(source, target)
    ids = torch.nonzero(torch.from_numpy(found.in_face)).flatten()
    places = _Places(source, found, ids)

    rest = places.posed({"shape": given["shape"]})
    still = replace(config, expression_sd=AT_REST, jaw_sd=AT_REST, limit_sd=AT_REST)
    at_rest = codes_from_vertices(target, rest, vertex_ids=ids, shape=shape, eyes=torch.zeros(1, 6), config=still)
    like = target.subset(ids)
    own = {name: value for name, value in at_rest.codes().items() if name not in ("expression", "jaw", "eyes")}
    # How the target at rest misses the source at rest, in the source's head frame.
    apart = rest - like.pose(**own)[0]
    seen, moved = [], []
    for start in range(0, frames, config.batch):
        part = slice(start, start + config.batch)
        batch = {name: value if name == "shape" else value[part] for name, value in given.items()}
        posed = places.posed(batch)
        if len(posed) == 1 and len(given) == 1:
            posed = posed.expand(frames, -1, -1)[part]
        seen.append(posed)
        moved.append(posed - places.carry(batch, apart))
    aim = torch.cat(moved)
    solved = codes_from_vertices(target, aim, vertex_ids=ids, shape=at_rest.shape, eyes=eyes, config=config)
    actual = torch.cat(seen)
    residual = []
    for start in range(0, frames, config.batch):
        part = slice(start, start + config.batch)
        batch = {name: value if name == "shape" else value[part] for name, value in solved.codes().items()}
        residual.append(1000 * torch.linalg.norm(like.pose(**batch)[0] - actual[part], dim=-1).mean(1))
    return Retargeted(
        replace(solved, residual_mm=torch.cat(residual)),
        solved.residual_mm,
        float(at_rest.residual_mm[0]),
        len(ids),
    )


def _same(given: dict[str, Tensor], head: HeadModel, frames: int) -> Retargeted:
    """The codes as they are: nothing to do between a head and itself."""
    zero = head.neutral(frames)
    full = {name: given.get(name, zero[name]) for name in zero}
    nothing = torch.zeros(frames)
    return Retargeted(VertexCodes(head.id, **full, residual_mm=nothing), nothing, 0.0, head.num_vertices)


class _Places:
    """The target's vertices as places on the source's surface, posed with the source."""

    def __init__(self, source: HeadModel, found: Correspondence, ids: Tensor) -> None:
        corners = source.faces[torch.from_numpy(found.face_index)[ids]]  # (K, 3)
        needed, local = torch.unique(corners, return_inverse=True)
        self.head, self.corners = source.subset(needed), local
        self.bary = torch.from_numpy(found.bary)[ids].float()
        self.weights = (self.head.weights[local] * self.bary[..., None]).sum(1)  # (K, J)

    def posed(self, codes: Mapping[str, Tensor]) -> Tensor:
        """(B, K, 3) places for codes of the source."""
        vertices, _ = self.head.pose(**codes)
        return (vertices[:, self.corners] * self.bary[None, :, :, None]).sum(2)

    def carry(self, codes: Mapping[str, Tensor], vectors: Tensor) -> Tensor:
        """Vectors (1, K, 3) at the head at rest, turned with the skin of posed heads: (B, K, 3)."""
        sizes = [len(value) for name, value in codes.items() if name != "shape"]
        batch = max(sizes, default=1)

        def angle(name: str, size: int) -> Tensor:
            return codes[name].expand(batch, size) if name in codes else torch.zeros(batch, size)

        parts = [angle("rotation", 3), angle("neck", 3), angle("jaw", 3), angle("eyes", 6)]
        rotations = axis_angle_to_matrix(torch.cat(parts, dim=1).unflatten(1, (5, 3)))
        joints = self.head.J_template.expand(batch, -1, -1)
        turned, _, _ = joint_transforms(rotations, joints, self.head.parents)
        blend = torch.einsum("kj,bjxy->bkxy", self.weights, turned)
        return torch.einsum("bkxy,bky->bkx", blend, vectors.expand(batch, -1, -1))


__all__ = ["RETARGET", "Retargeted", "VertexCodes", "VertexFitConfig", "codes_from_vertices", "retarget"]
