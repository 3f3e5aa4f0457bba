"""The head model: its tensors, and posing them."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.head.file import read_head_file
from model.head.landmarks import LandmarkEmbedding
from model.head.pose import axis_angle_to_matrix, joint_transforms, pose_features, skin
from model.head.store import OPEN_HEAD as OPEN_HEAD
from model.head.store import head_path
from rsat_data.errors import ModelFileError

JOINT_NAMES = ("root", "neck", "jaw", "left_eye", "right_eye")
"""Order of the joints; left and right are the subject's."""
CODE_NAMES = ("expression", "jaw", "neck", "eyes", "rotation", "translation")
"""Codes that change from frame to frame."""


@dataclass(frozen=True, eq=False)
class HeadModel:
    """A head with FLAME's interface. Tensors are float32 (indices int64) and live on one device.

    Frame: x right in the image (the subject's left), y down, z away from the camera, metres; at rest the face looks
    to -z, at a camera that stands on the negative z axis. V vertices, F triangles, S shape and E expression codes,
    P = 27 or 36 pose features, J = 5 joints.
    """

    name: str
    """Name and version, such as ``open-head-1.0``."""
    sha256: str
    """Hash of the file the model came from, hexadecimal; stays the same for subsets."""
    v_template: Tensor
    """(V, 3) the average head at rest, metres."""
    faces: Tensor
    """(F, 3) int64; seen from outside, corners run counter-clockwise."""
    shapedirs: Tensor
    """(V, 3, S) metres per standard deviation of identity: codes are N(0, 1)."""
    exprdirs: Tensor
    """(V, 3, E) metres at full strength (expression 1.0)."""
    posedirs: Tensor
    """(V, 3, P) metres per unit of R - I of the last P / 9 joints (9 entries each, row by row): jaw, left and right eye
    in the open head (27), the neck before them in FLAME (36)."""
    J_template: Tensor
    """(J, 3) joints of the average head, metres."""
    J_shapedirs: Tensor
    """(J, 3, S) how joints follow the identity, metres per standard deviation."""
    weights: Tensor
    """(V, J) skinning weights; rows sum to 1."""
    parents: tuple[int, ...]
    """Parent of each joint, -1 for the root."""
    expression_names: tuple[str, ...]
    """(E,) ARKit names, at home in [0, 1]; or exp_000, exp_001... for N(0, 1) components, as FLAME's are."""
    groups: dict[str, Tensor]
    """Vertex ids (int64, sorted) by semantic name: see docs/head_model.md."""
    landmarks: LandmarkEmbedding | None = None
    """MediaPipe's 478 points on the mesh; None before calibration, or where a subset lacks their vertices."""
    uv: Tensor | None = None
    """(T, 2) texture coordinates in [0, 1], origin at the image's top left."""
    uv_faces: Tensor | None = None
    """(F, 3) int64 rows of ``uv`` for the corners of ``faces``."""
    mirror: Tensor | None = None
    """(V,) int64, the vertex on the other side."""
    J_exprdirs: Tensor | None = None
    """(J, 3, E) how joints follow the expression, metres; None where they do not. In FLAME they do, slightly."""
    full_strength_rad: dict[str, float] | None = None
    """Joint angle (radians) at which an expression that a joint took over has the source's full strength."""

    @property
    def id(self) -> str:
        """Name, version and hash: what ``head_model`` in a dataset says."""
        return f"{self.name}@{self.sha256[:12]}"

    @property
    def num_vertices(self) -> int:
        """V."""
        return self.v_template.shape[0]

    @property
    def num_shape(self) -> int:
        """S."""
        return self.shapedirs.shape[-1]

    @property
    def num_expression(self) -> int:
        """E."""
        return self.exprdirs.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the tensors lie."""
        return self.v_template.device

    @cached_property
    def _flat_dirs(self) -> tuple[Tensor, Tensor]:
        """Expression and pose directions as (E + P, 3V) for one matrix product, shape directions as (S, 3V)."""
        moving = torch.cat([self.exprdirs, self.posedirs], dim=-1).flatten(0, 1).T.contiguous()
        return moving, self.shapedirs.flatten(0, 1).T.contiguous()

    def to(self, device: torch.device | str) -> HeadModel:
        """The same model on another device."""
        moved: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor | LandmarkEmbedding):
                moved[field.name] = value.to(device)
            elif field.name == "groups":
                moved[field.name] = {name: ids.to(device) for name, ids in value.items()}
        return replace(self, **moved)  # type: ignore[arg-type]

    def expression_index(self, name: str) -> int:
        """Position of an expression in the code."""
        return self.expression_names.index(name)

    def neutral(self, batch: int = 1) -> dict[str, Tensor]:
        """Codes of the average head at rest, ready for :meth:`pose`.

        Returns:
            ``shape`` (S,), ``expression`` (batch, E), ``jaw`` (batch, 3), ``neck`` (batch, 3), ``eyes`` (batch, 6),
            ``rotation`` (batch, 3), ``translation`` (batch, 3), all zero.
        """
        sizes = {"expression": self.num_expression, "jaw": 3, "neck": 3, "eyes": 6, "rotation": 3, "translation": 3}
        codes = {name: self.v_template.new_zeros(batch, size) for name, size in sizes.items()}
        return {"shape": self.v_template.new_zeros(self.num_shape), **codes}

    def shaped(self, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Vertices (B, V, 3) and joints (B, J, 3) of identities at rest; ``shape`` is (S,), then B = 1, or (B, S)."""
        codes = shape[None] if shape.dim() == 1 else shape
        vertices = self.v_template + (codes @ self._flat_dirs[1]).unflatten(-1, (-1, 3))
        joints = self.J_template + torch.einsum("bs,jcs->bjc", codes, self.J_shapedirs)
        return vertices, joints

    def pose(
        self,
        shape: Tensor,
        expression: Tensor | None = None,
        jaw: Tensor | None = None,
        neck: Tensor | None = None,
        eyes: Tensor | None = None,
        rotation: Tensor | None = None,
        translation: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Posed vertices and joints; differentiable in every code.

        Args:
            shape: (S,) for one identity in all frames, or (B, S).
            expression: (B, E); 1.0 is full strength.
            jaw: (B, 3) axis-angle, radians; opening is a positive turn about x.
            neck: (B, 3) axis-angle.
            eyes: (B, 6) axis-angle of the left, then the right eye.
            rotation: (B, 3) axis-angle at the root joint.
            translation: (B, 3) metres.
            Codes left out are zero; a batch of 1 is repeated to the others' size.

        Returns:
            Vertices (B, V, 3) and joints (B, J, 3), metres.
        """
        given = (expression, jaw, neck, eyes, rotation, translation)
        sizes = {code.shape[0] for code in given if code is not None}
        if shape.dim() == 2:
            sizes.add(shape.shape[0])
        batch = max(sizes, default=1)
        if sizes - {1, batch}:
            raise ValueError(f"Codes have different batch sizes: {sorted(sizes)}")

        def filled(code: Tensor | None, size: int) -> Tensor:
            return shape.new_zeros(batch, size) if code is None else code.expand(batch, size)

        parts = (filled(rotation, 3), filled(neck, 3), filled(jaw, 3), filled(eyes, 6))
        rotations = axis_angle_to_matrix(torch.cat(parts, dim=1).unflatten(1, (5, 3)))
        rest, joints = self.shaped(shape)
        expressed = filled(expression, self.num_expression)
        if self.J_exprdirs is not None:
            joints = joints + torch.einsum("be,jce->bjc", expressed, self.J_exprdirs)
        moving = torch.cat([expressed, pose_features(rotations, self.posedirs.shape[-1])], dim=1)
        vertices = rest + (moving @ self._flat_dirs[0]).unflatten(-1, (-1, 3))
        turned, offsets, posed = joint_transforms(rotations, joints.expand(batch, -1, -1), self.parents)
        move = filled(translation, 3)[:, None]
        return skin(vertices, self.weights, turned, offsets) + move, posed + move

    def landmark_points(self, vertices: Tensor) -> Tensor:
        """MediaPipe's landmarks (B, 478, 3) on posed vertices (B, V, 3).

        Raises:
            ModelFileError: the model has no landmark embedding.
        """
        return self._embedding().points(vertices, self.faces)

    def landmark_vertices(self) -> Tensor:
        """Sorted ids (K,) of the vertices that the landmarks need, for :meth:`subset`."""
        return torch.unique(self.faces[self._embedding().face_index])

    def _embedding(self) -> LandmarkEmbedding:
        if self.landmarks is None:
            raise ModelFileError(
                f"The head model {self.id} has no landmark embedding",
                hint="Calibrate it: python -m model.head.calibrate FILE",
            )
        return self.landmarks

    def subset(self, vertex_ids: Tensor) -> HeadModel:
        """A model of only some vertices, which poses them exactly as this one does, at a fraction of the cost.

        Args:
            vertex_ids: (K,) int64 ids, without repetition; the new model's vertices come in this order.

        Returns:
            A model with K vertices, the faces and groups among them, and the landmarks if all their faces are kept.
        """
        ids = torch.as_tensor(vertex_ids, dtype=torch.int64, device=self.device)
        new_of_old = torch.full((self.num_vertices,), -1, dtype=torch.int64, device=self.device)
        new_of_old[ids] = torch.arange(len(ids), device=self.device)
        if int((new_of_old >= 0).sum()) != len(ids):
            raise ValueError("subset: vertex_ids must not repeat")
        kept_faces = (new_of_old[self.faces] >= 0).all(1)
        new_face = torch.cumsum(kept_faces, 0) - 1
        landmarks = self.landmarks
        if landmarks is not None:
            inside = bool(kept_faces[landmarks.face_index].all())
            landmarks = replace(landmarks, face_index=new_face[landmarks.face_index]) if inside else None
        mirror = self.mirror
        if mirror is not None:
            mirror = new_of_old[mirror[ids]]
            mirror = mirror if bool((mirror >= 0).all()) else None
        groups = {name: new_of_old[members] for name, members in self.groups.items()}
        return replace(
            self,
            v_template=self.v_template[ids],
            faces=new_of_old[self.faces[kept_faces]],
            shapedirs=self.shapedirs[ids],
            exprdirs=self.exprdirs[ids],
            posedirs=self.posedirs[ids],
            weights=self.weights[ids],
            groups={name: torch.sort(members[members >= 0]).values for name, members in groups.items()},
            landmarks=landmarks,
            uv_faces=None if self.uv_faces is None else self.uv_faces[kept_faces],
            mirror=mirror,
        )


def head_from_arrays(arrays: dict[str, np.ndarray], metadata: dict[str, str], sha256: str) -> HeadModel:
    """A model from the arrays and metadata of a head file (:func:`model.head.file.read_head_file`)."""

    def real(key: str) -> Tensor:
        return torch.from_numpy(arrays[key].astype(np.float32))

    def whole(key: str) -> Tensor:
        return torch.from_numpy(arrays[key].astype(np.int64))

    weights = real("weights")
    landmarks = None
    if "landmarks.face_index" in arrays:
        keys = ("landmarks.bary", "landmarks.weight", "landmarks.spread")
        landmarks = LandmarkEmbedding(whole("landmarks.face_index"), *(real(key) for key in keys))
    return HeadModel(
        name=f"{metadata['name']}-{metadata['version']}",
        sha256=sha256,
        v_template=real("v_template"),
        faces=whole("faces"),
        shapedirs=real("shapedirs"),
        exprdirs=real("exprdirs"),
        posedirs=real("posedirs"),
        J_template=real("J_template"),
        J_shapedirs=real("J_shapedirs"),
        weights=weights / weights.sum(1, keepdim=True),
        parents=tuple(int(parent) for parent in arrays["parents"]),
        expression_names=tuple(json.loads(metadata["expression_names"])),
        groups={key.removeprefix("group."): whole(key) for key in sorted(arrays) if key.startswith("group.")},
        landmarks=landmarks,
        uv=real("uv") if "uv" in arrays else None,
        uv_faces=whole("uv_faces") if "uv_faces" in arrays else None,
        mirror=whole("mirror") if "mirror" in arrays else None,
        J_exprdirs=real("J_exprdirs") if "J_exprdirs" in arrays else None,
        full_strength_rad=json.loads(metadata.get("full_strength_rad", "null")),
    )


def load_head(name: str | Path = "open") -> HeadModel:
    """Load a head model.

    Args:
        name: ``"open"`` for the open head that comes with the project, the name of an imported head (``"flame2020"``,
            ``"flame2023"``, ``"ict"``...; see :func:`model.head.list_heads`), or the path of a head file.

    Raises:
        ModelFileError: the head was not imported yet (the hint says how), or its file is missing or damaged.
    """
    return head_from_arrays(*read_head_file(head_path(name)))
