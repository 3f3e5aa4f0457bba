"""Which avatar is meant, and the head it rides on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsat_data.amend import finish_interrupted
from rsat_data.avatars.place import folder_of
from rsat_data.avatars.subjects import list_subjects, open_rows
from rsat_data.errors import DatasetError, UsageError
from rsat_data.find_id import find_id
from rsat_data.preview.lookup import head_name
from rsat_data.reader import Dataset, Row

if TYPE_CHECKING:
    from model.avatar.avatar import Avatar
    from model.head import HeadModel

#: An avatar that came with a head of its own has it beside it.
OWN_HEAD = "head.safetensors"


@dataclass(frozen=True)
class Found:
    """An avatar, read and checked."""

    avatar: Avatar
    head: HeadModel
    name: str
    """Subject id, or the folder."""


def open_dataset(out: Path | None, *, needed: bool) -> Dataset | None:
    """The rows of the dataset; None where none was named and none is needed.

    Raises:
        UsageError: none was named.
    """
    if out is None:
        if needed:
            raise UsageError(
                "Which dataset? --subject and --row are found in one.",
                hint="Name its folder before the options: my_dataset --subject ID ...",
            )
        return None
    if (out / "avatar.json").is_file():
        raise UsageError(f"{out} is the folder of an avatar, not of a dataset.", hint=f"Say --avatar {out}")
    finish_interrupted(out)
    return open_rows(out)


def find_avatar(data: Dataset | None, subject: str | None, folder: Path | None) -> Found:
    """The avatar of a subject of the dataset, or the one in a folder.

    Raises:
        UsageError: both or none was given.
        DatasetError: no such subject, no avatar of it yet, or its files are damaged.
        HeadMismatch: its head is not on this machine.
    """
    from model.avatar.files import load_avatar
    from model.head import load_head

    if (subject is None) == (folder is None):
        raise UsageError("Say whose avatar: --subject ID, or --avatar FOLDER.")
    if folder is None:
        assert subject is not None and data is not None
        name = find_id("subject", subject, [each.subject_id for each in list_subjects(data)], data.root)
        folder = data.root / folder_of(name)
        if not (folder / "avatar.json").is_file():
            raise DatasetError(
                f"{name} has no avatar in {data.root} yet.",
                hint=f"Fit one: rsat-data avatar fit {data.root} --subject {name}",
                path=folder,
            )
    else:
        name = str(folder)
    avatar = load_avatar(folder)
    own = folder / OWN_HEAD if folder.is_dir() else folder.with_name(OWN_HEAD)
    head = load_head(own) if own.is_file() else load_head(head_name(avatar.head))
    return Found(load_avatar(folder, head), head, name)


def row_of(data: Dataset, wanted: str) -> Row:
    """The row that ``wanted`` names, or the only one that begins with it.

    Raises:
        DatasetError: none or several; the hint lists those that are meant most likely.
    """
    names: list[str] = data.arrow(["row_id"])["row_id"].to_pylist() if len(data) else []
    return data.by_id(find_id("row", wanted, names, data.root))
