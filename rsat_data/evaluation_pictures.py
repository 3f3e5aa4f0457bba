"""What ``rsat-data evaluate`` draws: avatars of the split's people, found in the run's stage 2 or in the dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.appearance import stage2_avatar
from rsat_data.avatars.find import Found, find_avatar
from rsat_data.avatars.place import folder_of
from rsat_data.avatars.subjects import open_rows
from rsat_data.errors import DatasetError, RsatError, SkippedSubject
from rsat_data.progress import Bar, progress

if TYPE_CHECKING:
    from model.evaluate import EvaluateConfig, Predictor, Report
    from model.evaluate.pictures import PictureConfig, Pictures, Sitting
    from model.head import HeadModel
    from model.motion.conversation import Conversation

_OPEN = 4
"""Avatars that are kept loaded."""


class Studio:
    """Finds avatar and row of people of a dataset.

    Args:
        dataset: folder.
        run: folder of a run whose stage 2 is preferred to the dataset's own avatars; None for the latter alone.
        head_model: head of the codes; avatars of another one are passed over.
        device: where is drawn.
    """

    def __init__(self, dataset: Path, run: Path | None, head_model: str, device: str = "cpu") -> None:
        self.dataset, self.run, self.head_model, self.device = dataset, run, head_model, device
        self.reasons: dict[str, int] = {}
        """Why people were not drawn, and how many."""
        self._data = open_rows(dataset)
        self._found: dict[str, tuple[Found, str] | None] = {}

    def __call__(self, talk: Conversation, person: str) -> Sitting | None:
        """Avatar and row of a person; None, and a reason more, where there is none."""
        try:
            return self._sitting(talk, person)
        except RsatError as error:
            self._refuse(error.message)
            return None

    def _refuse(self, reason: str) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def _sitting(self, talk: Conversation, person: str) -> Sitting | None:
        from model.avatar.silhouette import with_silhouettes
        from model.evaluate.pictures import Sitting
        from pipelines.avatar.rows import collect

        kept = self._avatar(talk.subject_id[person])
        if kept is None:
            self._refuse("no avatar")
            return None
        found, source = kept
        if found.avatar.head != self.head_model:
            self._refuse(f"an avatar on the head {found.avatar.head}")
            return None
        name = talk.row_id[person]
        try:
            material = collect(self.dataset, [name], talk.subject_id[person])
        except SkippedSubject:
            self._refuse("no pictures")
            return None
        row = with_silhouettes(found.head, material.footage[0])
        unseen = unseen_frames(found.avatar.about, name, talk.num_frames)
        if not unseen.any():
            self._refuse("the avatar was fitted to all of the clip")
            return None
        return Sitting(found.avatar.to(self.device), found.head, row, unseen, source)

    def _avatar(self, subject: str) -> tuple[Found, str] | None:
        if subject not in self._found:
            while len(self._found) >= _OPEN:
                self._found.pop(next(iter(self._found)))
            folder = None if self.run is None else stage2_avatar(self.run, subject)
            if folder is not None:
                self._found[subject] = (find_avatar(None, None, folder), "stage 2")
            elif (self.dataset / folder_of(subject) / "avatar.json").is_file():
                self._found[subject] = (find_avatar(self._data, subject, None), "the dataset")
            else:
                self._found[subject] = None
        return self._found[subject]


def unseen_frames(about: Mapping[str, Any], row_id: str, count: int) -> np.ndarray:
    """(T,) bool: frames of a row that its avatar was not fitted to.

    Raises:
        DatasetError: avatar.json does not say what it was fitted to in a way that can be read.
    """
    rows, held_out = about.get("rows"), about.get("held_out")
    if not isinstance(rows, Mapping) or row_id not in rows:
        return np.ones(count, bool)
    unseen = np.zeros(count, bool)
    if not isinstance(held_out, Mapping):
        raise DatasetError("An avatar does not say which frames it was fitted to.", hint="Fit it again.")
    if row_id in held_out:
        first, last = held_out[row_id]
        unseen[int(first) : int(last) + 1] = True
    return unseen


def with_seen(
    report: Report,
    splits: Mapping[str, Sequence[Conversation]],
    models: Sequence[Predictor],
    head: HeadModel | None,
    config: EvaluateConfig,
    pictures: PictureConfig,
    folders: Mapping[str, Path],
    run: Path | None,
    *,
    device: str = "cpu",
    bars: bool = True,
) -> Report:
    """The report with lip sync and, of models, pictures.

    Args:
        report: so far.
        splits: name -> conversations.
        models: what is judged.
        head: of the codes; None leaves lips and pictures out.
        config: of the evaluation.
        pictures: of the pictures.
        folders: name of a split -> its dataset.
        run: folder of the run, for the avatars of its stage 2.
        device: where is drawn.
        bars: show progress.
    """
    if head is None:
        note = "lip sync and pictures are left out: they need the head model"
        return replace(report, warnings=(*report.warnings, note))
    from model.evaluate.lips import judge_lips
    from model.evaluate.pictures import judge_pictures

    lips, drawn = [], []
    for split, talks in splits.items():
        with progress(f"lips, {split}", 100.0, "%", enabled=bars) as bar:
            lips.append(judge_lips(
                split, talks, models, head, config.reference_s, config.bootstrap(), told(bar)
            ))  # fmt: skip
        if not models or not pictures.frames:
            continue
        studio = Studio(folders[split], run, report.head_model, device)
        with progress(f"pictures, {split}", 100.0, "%", enabled=bars) as bar:
            found = judge_pictures(
                split, talks, models, studio, pictures, config.reference_s, config.bootstrap(), told(bar)
            )
        drawn.append(explained(found, studio, folders[split]))
    return replace(report, lips=tuple(lips), pictures=tuple(drawn))


def explained(found: Pictures, studio: Studio, dataset: Path) -> Pictures:
    """Pictures with a note on who was left out and why."""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in studio.reasons.items())
    if not found.figures:
        if not studio.reasons:
            reasons = "no frame outside of the reference that the avatars were not fitted to"
        hint = f"; to fit avatars: rsat-data avatar fit {dataset}" if "no avatar" in studio.reasons else ""
        return replace(found, note=f"{reasons}{hint}")
    words = [found.note, f"left out: {reasons}" if reasons else ""]
    return replace(found, note="; ".join(word for word in words if word))


def told(bar: Bar) -> Callable[[float], None]:
    """A bar of 100 as something to tell shares."""

    def tell(share: float) -> None:
        bar.set(100.0 * share)

    return tell
