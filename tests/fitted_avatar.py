"""A painted dataset of one conversation, with avatars that a fit would start from: quick, and good enough to refine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from model.avatar.avatar import Avatar
from model.avatar.config import AvatarConfig
from model.avatar.files import load_avatar, save_avatar
from model.avatar.fit import with_torso
from model.avatar.footage import Footage
from model.avatar.posing import Torso
from model.avatar.prepare import begin, prepare
from model.head import HeadModel, load_head
from pipelines.avatar.rows import collect
from pipelines.avatar.run import held_out
from rsat_data.avatars.subjects import list_subjects, open_rows
from tests.avatar_factory import make_avatar_dataset
from tests.dataset_factory import ClipSpec

SPEC = ClipSpec("src0", "ann", "ben", frames=40, seed=1)
CONFIG = AvatarConfig(size=48, min_frames=4, track_torso=False)


def make_set(root: Path, subjects: tuple[str, ...] = ("ann",)) -> Path:
    """The dataset at ``root/out``; ``subjects`` have an avatar."""
    out = make_avatar_dataset(root, (SPEC,))
    for subject in subjects:
        fit_quickly(out, subject)
    return out


def fit_quickly(out: Path, subject: str) -> Avatar:
    """Put the start of a fit into the dataset's folder of avatars, with everything a fit says of itself."""
    head = load_head()
    rows = next(s.rows for s in list_subjects(open_rows(out)) if s.subject_id == subject)
    material = collect(out, rows, subject)
    made = prepare(head, torch.from_numpy(material.shape), material.footage, CONFIG, 1, "cpu")
    gaussians = begin(made, CONFIG, Torso.still()).detach()
    made.store.close()
    about = {
        "config": asdict(CONFIG), "rows": {row: {"content": "", "psnr": 20.0} for row in rows},
        "held_out": held_out(material, made.division), "avatar_id": f"avatar_{subject}", "metrics": {},
    }  # fmt: skip
    extras = {"torso_offset": torch.zeros(6), "torso_follow": torch.zeros(6, 6)}
    avatar = Avatar(gaussians, head.id, len(head.faces), torch.from_numpy(material.shape), None, extras, about)
    folder = out / "avatars" / subject
    folder.mkdir(parents=True)
    save_avatar(avatar, folder)
    return load_avatar(folder, head)


def footage_of(out: Path, avatar: Avatar, head: HeadModel, subject: str = "ann") -> tuple[Footage, ...]:
    """The rows that the avatar was fitted to."""
    material = collect(out, avatar.about["rows"], subject)
    return tuple(with_torso(head, row) if CONFIG.track_torso else row for row in material.footage)
