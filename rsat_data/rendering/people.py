"""Who is drawn: a subject of a dataset with its avatar or mesh, the avatar of a folder, or the head's own mean face."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from model.avatar.posing import rest_pose
from model.camera import Camera
from model.head import HeadModel, load_head
from model.render.figure import AvatarFigure, Figure, MeshFigure, Stand, standing_at_rest
from rsat_data.avatars.content import CODES
from rsat_data.avatars.drive import Drive, drive_of
from rsat_data.avatars.find import Found, find_avatar
from rsat_data.avatars.place import folder_of
from rsat_data.avatars.subjects import list_subjects, open_rows
from rsat_data.errors import HeadMismatch
from rsat_data.find_id import find_id
from rsat_data.preview.lookup import head_name
from rsat_data.reader import Dataset, Row

Colour = tuple[float, float, float]
_REFERENCE_FRAMES = 20_000
"""A person's own codes are looked at as far as this."""


@dataclass(frozen=True)
class Person:
    """One of the people in the picture."""

    name: str
    """Subject, folder, or what stands in for one."""
    figure: Figure
    head_id: str
    """Head that the codes must be of."""
    reference: dict[str, np.ndarray] | None = None
    """Codes (T', d) of the person's own footage; None where there is none."""
    notes: tuple[str, ...] = ()

    @property
    def drawn_as(self) -> str:
        """The kind of figure: avatar or mesh."""
        return "avatar" if isinstance(self.figure, AvatarFigure) else "mesh"


@dataclass(frozen=True)
class Studio:
    """What all pictures share."""

    background: Colour = (1.0, 1.0, 1.0)
    device: str = "cpu"

    def avatar(self, found: Found, stand: Stand, light: torch.Tensor | None = None) -> AvatarFigure:
        """The figure of an avatar, on the device."""
        device = self.device
        return AvatarFigure(found.avatar.to(device), found.head.to(device), stand, self.background, light)


def subject(data: Dataset, wanted: str, studio: Studio) -> Person:
    """A subject of a dataset: its avatar, or its mesh where it has none yet; it stands where its footage has it.

    Raises:
        DatasetError: there is no such subject, or none of its frames is valid.
        HeadMismatch: its head is not on this machine.
    """
    known = {each.subject_id: each for each in list_subjects(data)}
    name = find_id("subject", wanted, list(known), data.root)
    folder = data.root / folder_of(name)
    found = find_avatar(data, name, None) if (folder / "avatar.json").is_file() else None
    rows = [data[position] for position in known[name].positions]
    return _of_rows(data, name, rows, found, studio)


def _of_rows(data: Dataset, name: str, rows: list[Row], found: Found | None, studio: Studio) -> Person:
    head = found.head if found is not None else load_head(head_name(rows[0]["head_model"]))
    best = max(rows, key=lambda row: int(np.asarray(row["valid"], bool).sum()))
    drive = drive_of(best, found.avatar.head if found is not None else head.id, head.num_expression)
    stand = stand_of(drive)
    reference = _reference(rows)
    if found is not None:
        return Person(name, studio.avatar(found, stand), found.avatar.head, reference)
    figure = MeshFigure(np.array(best["shape"], np.float32), head, stand, studio.background)
    return Person(name, figure, head.id, reference, (no_avatar(data.root, name),))


def no_avatar(root: Path, name: str) -> str:
    """What is said where a mesh stands in for an avatar."""
    return (
        f"{name} has no avatar in {root}: its mesh is drawn instead. "
        f"To fit one: rsat-data avatar fit {root} --subject {name}"
    )


def stand_of(drive: Drive) -> Stand:
    """Where a row's head stands on the mean of its valid frames."""
    rest = rest_pose(
        torch.from_numpy(drive.codes["rotation"]), torch.from_numpy(drive.codes["translation"]),
        torch.from_numpy(drive.usable),
    ).numpy()  # fmt: skip
    return Stand(drive.camera, rest[3:], rest[:3])


def _reference(rows: list[Row]) -> dict[str, np.ndarray]:
    parts: list[dict[str, np.ndarray]] = []
    count = 0
    for row in rows:
        valid = np.array(row["valid"], bool)
        codes = {name: np.asarray(row[name], np.float32)[valid] for name in CODES}
        parts.append(codes)
        count += int(valid.sum())
        if count >= _REFERENCE_FRAMES:
            break
    return {name: np.concatenate([part[name] for part in parts]) for name in CODES}


def from_folder(folder: Path, studio: Studio) -> Person:
    """The avatar of a folder. In a dataset it stands where its footage has it, elsewhere a metre before the camera.

    Raises:
        DatasetError: the folder holds no avatar, or a damaged one.
        HeadMismatch: its head is not on this machine.
    """
    found = find_avatar(None, None, folder)
    root = folder.resolve().parent.parent
    if folder_of(folder.resolve().name) == f"{folder.resolve().relative_to(root).as_posix()}/" and (
        root / "manifest.jsonl"
    ).is_file():
        data = open_rows(root)
        rows = [data[position] for each in list_subjects(data) if each.subject_id == folder.resolve().name
                for position in each.positions]  # fmt: skip
        if rows and rows[0]["head_model"] == found.avatar.head:
            return replace(_of_rows(data, folder.resolve().name, rows, found, studio), name=str(folder))
    stand = standing_at_rest(found.avatar.personal(found.head), found.avatar.shape.numpy())
    return Person(str(folder), studio.avatar(found, stand), found.avatar.head)


def nobody(head_id: str, studio: Studio) -> Person:
    """The mean face of a head, as a mesh.

    Raises:
        HeadMismatch: the head is not on this machine.
    """
    head = load_head(head_name(head_id))
    shape = np.zeros(head.num_shape, np.float32)
    note = (
        "no avatar was given: the mean head's mesh is drawn. "
        "To draw people: --avatars FOLDER_A FOLDER_B (rsat-data avatar fit my_dataset makes them)"
    )
    return Person("mean head", MeshFigure(shape, head, standing_at_rest(head, shape), studio.background), head.id,
                  None, (note,))  # fmt: skip


def row_person(data: Dataset, row: Row, studio: Studio) -> tuple[Person, dict[str, np.ndarray]]:
    """Who is seen in a row, as its avatar or mesh, and the row's codes (T, .) with the gaps closed.

    An avatar with shoulders of its own has them where the row's pictures show them.
    """
    from model.avatar.draw import torso_of
    from model.avatar.light import light_of
    from rsat_data.avatars.scene import torso_of_row

    name = str(row["subject_id"])
    folder = data.root / folder_of(name)
    if (folder / "avatar.json").is_file():
        found = find_avatar(data, name, None)
        drive = drive_of(row, found.avatar.head, found.head.num_expression)
        figure: Figure = studio.avatar(found, stand_of(drive), light_of(found.avatar, drive.row_id))
        codes = dict(drive.codes)
        torso = torso_of_row(found, row, drive, 1) if torso_of(found.avatar) is not None else None
        if torso is not None:
            codes["torso"] = torso
        return Person(name, figure, found.avatar.head), codes
    head = load_head(head_name(row["head_model"]))
    drive = drive_of(row, row["head_model"], head.num_expression)
    figure = MeshFigure(np.array(row["shape"], np.float32), head, stand_of(drive), studio.background)
    return Person(name, figure, row["head_model"], None, (no_avatar(data.root, name),)), dict(drive.codes)


def require_head(person: Person, head_id: str, what: str) -> None:
    """Refuse codes of another head.

    Raises:
        HeadMismatch: naming both.
    """
    if person.head_id != head_id:
        raise HeadMismatch(
            f"{person.name} rides on the head {person.head_id}; {what} gives codes of {head_id}.",
            hint="Use an avatar on that head, or train the run on a dataset with the avatar's head.",
        )


def own_head(person: Person) -> HeadModel:
    """The head of a person, on the CPU."""
    return person.figure.head.to("cpu")


__all__ = ["Camera", "Person", "Studio", "from_folder", "nobody", "no_avatar", "own_head", "require_head",
           "row_person", "stand_of", "subject"]  # fmt: skip
