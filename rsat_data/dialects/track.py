"""What every dialect reads to and writes from: one person's codes in this project's own conventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.errors import HeadMismatch, ModelFileError, SourceError, UnsupportedSource

if TYPE_CHECKING:
    from model.camera import Camera
    from model.head import HeadModel

WIDTHS = {"jaw": 3, "neck": 3, "eyes": 6, "rotation": 3, "translation": 3}
"""D of the (T, D) codes that every head has alike."""
FRAME_CODES = ("expression", *WIDTHS)
ROTATIONS = ("jaw", "neck", "eyes", "rotation")
"""Axis-angles: interpolated on the sphere, not number by number."""
FLAME_SHAPE, FLAME_EXPRESSION = 300, 100
"""Codes of FLAME 2020 and 2023: identity and expression."""
FLAME_FAMILIES = ("flame2020", "flame2023", "flame2023open")
IMPLIED_FOCAL = 1.6
"""Focal length, in units of the picture's longer side, of a camera that a format does not know."""


class BadDialectFile(SourceError):
    """A file of another format lacks what the format promises, or holds what it must not."""


class HeadNeeded(ModelFileError):
    """A conversion needs the head model itself, and it is not on this machine."""


@dataclass(frozen=True)
class Track:
    """Codes of one person. Camera frame of OpenCV, metres, radians; shapes as in the table triplets."""

    head: str
    """Id of the head that the codes belong to, as in the column ``head_model``."""
    shape: np.ndarray
    """(S,) float32."""
    expression: np.ndarray
    """(T, E) float32."""
    jaw: np.ndarray
    """(T, 3) float32 axis-angle."""
    neck: np.ndarray
    """(T, 3) float32 axis-angle."""
    eyes: np.ndarray
    """(T, 6) float32 axis-angles of the left and the right eye."""
    rotation: np.ndarray
    """(T, 3) float32 axis-angle at the root joint."""
    translation: np.ndarray
    """(T, 3) float32 metres."""
    camera: Camera | None = None
    """Camera of the pictures; None where the format knows none."""
    fps: float = 25.0
    """Frames per second of ``steps``."""
    steps: np.ndarray | None = None
    """(T,) int64 time steps, ascending; None for 0, 1, 2, ... Missing ones are gaps."""
    valid: np.ndarray | None = None
    """(T,) bool; None for all."""
    pictures: tuple[Path, ...] = ()
    """T files, or none."""
    masks: tuple[Path, ...] = ()
    """T files of the foreground, or none."""
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the dataset has no column for, under the format's own names; kept in ``meta/imported``."""
    notes: tuple[str, ...] = ()
    """Sentences on what was lost or assumed."""
    given: int | None = None
    """Expression codes that the files hold, where ``expression`` was filled up with zeros from fewer."""

    @property
    def num_frames(self) -> int:
        """T."""
        return len(self.expression)

    def replace(self, **values: object) -> Track:
        """A copy with other values."""
        return replace(self, **values)  # type: ignore[arg-type]


def make_track(codes: Mapping[str, np.ndarray], **rest: Any) -> Track:
    """A track of codes by name and everything else."""
    values: dict[str, Any] = {**codes, **rest}
    return Track(**values)


@dataclass(frozen=True)
class Unit:
    """Something to import: one person or one conversation, as files."""

    name: str
    """Path inside the folder given, as printable text."""
    path: Path
    """File or folder that stands for it: a sidecar ``<path>.yaml`` is looked for beside it."""
    files: tuple[Path, ...]
    """Every file that decides the result; hashed, they name the source."""
    recording: str = ""
    """What the clip was cut from, where names tell; clips of one recording stay in one split where splits are drawn."""


@dataclass(frozen=True)
class Recording:
    """A unit that was read."""

    tracks: Mapping[str, Track]
    """Person (A, B) -> codes. A person who is heard and has no codes is absent here and present in ``audio``."""
    audio: Mapping[str, Path] = field(default_factory=dict)
    """Person -> file of that person's own voice."""
    notes: tuple[str, ...] = ()
    """Sentences on what was lost or assumed."""


@dataclass(frozen=True)
class ReadOptions:
    """What the user said about the files."""

    head: str = ""
    """Id of the head the codes belong to; a format that says it itself may override it."""
    model: HeadModel | None = None
    """That head, if it is on this machine."""
    told: bool = False
    """Whether the user named the head."""
    fps: float | None = None
    """Frames per second of the files; None: what the format says, else 25."""
    camera: str | None = None
    """Which camera of a folder with several."""
    axes: str = "flame"
    """Axes of bare vertices: flame (y up, z out of the face) or opencv."""

    @property
    def widths(self) -> tuple[int | None, int | None]:
        """Numbers of identity and expression codes to fill up to; None where the head is not known here."""
        if self.model is not None:
            return self.model.num_shape, self.model.num_expression
        if family(self.head) not in FLAME_FAMILIES:
            return None, None
        return FLAME_SHAPE, FLAME_EXPRESSION

    def for_head(self, stated: str) -> ReadOptions:
        """These options, for the head that a file itself states; unchanged where it states none.

        Raises:
            HeadMismatch: the user named another head with --head.
        """
        if not stated or stated == self.head:
            return self
        if self.told:
            raise HeadMismatch(
                f"The file says that its codes belong to the head {stated}; --head says {self.head}.",
                hint="Leave --head out. To convert codes, export vertices and import those with --head.",
            )
        return replace(self, head=stated, model=find_model(stated))

    def root(self, shape: np.ndarray, why: str) -> np.ndarray:
        """Root joint (3,) of an identity at rest, in FLAME's axes.

        Raises:
            HeadNeeded: the head is not on this machine.
        """
        from model.axes import flip

        if self.model is None:
            raise HeadNeeded(
                f"{why}, which takes the root joint of the head {self.head}; that head is not on this machine.",
                hint=f"Import your FLAME file once: rsat-data models import-flame FILE --name {family(self.head)}",
            )
        return flip(root_joint(self.model, shape))


_FOUND: dict[str, HeadModel] = {}


def find_model(head: str) -> HeadModel | None:
    """The head of an id (name, version and hash) or of a plain name, if it is on this machine."""
    from model.head import list_heads, load_head

    if head in _FOUND:
        return _FOUND[head]
    name, _, digest = head.partition("@")
    for entry in list_heads():
        if entry.here and (entry.name == name if not digest else name.startswith(entry.name.split("-")[0])):
            model = load_head(entry.name)
            if not digest:
                return model
            if model.id == head:
                _FOUND[head] = model  # a hash stays the same model
                return model
    return None


def root_joint(model: HeadModel, shape: np.ndarray) -> np.ndarray:
    """Root joint (3,) float64 of an identity at rest, in this project's axes."""
    given = np.zeros(model.num_shape)
    given[: len(shape)] = shape[: model.num_shape]
    joint: np.ndarray = model.J_template[0].double().numpy() + model.J_shapedirs[0].double().numpy() @ given
    return joint


def family(head: str) -> str:
    """flame2020, flame2023 or flame2023open for the ids of those heads, else the name before the version."""
    name = head.partition("@")[0]
    return next((each for each in FLAME_FAMILIES if name == each or name.startswith(f"{each}-")), name)


def fill(codes: np.ndarray, width: int | None, what: str, where: str) -> np.ndarray:
    """Codes (..., n) filled up with zeros, or cut of zeros, to (..., width) float32; as they are for None.

    Raises:
        UnsupportedSource: there are more codes than the head has, and they are not zero.
    """
    have = codes.shape[-1]
    if width is None:
        return codes.astype(np.float32)
    if have > width and np.abs(codes[..., width:]).max(initial=0.0) > 0:
        raise UnsupportedSource(
            f"{where}: {what} has {have} codes, the head has {width}.", hint="Name the head they belong to with --head."
        )
    result = np.zeros((*codes.shape[:-1], width), dtype=np.float32)
    result[..., : min(have, width)] = codes[..., :width]
    return result


def zeros(frames: int) -> dict[str, np.ndarray]:
    """The codes that every head has alike, at rest."""
    return {name: np.zeros((frames, width), np.float32) for name, width in WIDTHS.items()}
