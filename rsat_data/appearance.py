"""Stage 2 of ``rsat-data train-baseline``: the avatars of a dataset's subjects refined under a run's motion.

Finds the avatars, predicts the motion of their rows, hands both to :mod:`model.train.appearance`, and writes what comes
out below the run; the dataset's avatars stay as they are.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rsat_data.avatars.find import OWN_HEAD, Found, find_avatar
from rsat_data.avatars.place import folder_of
from rsat_data.avatars.subjects import list_subjects, open_rows
from rsat_data.errors import DatasetError, HeadMismatch, RunError, SkippedSubject, SourceError
from rsat_data.files import as_disk_error, keep_state

if TYPE_CHECKING:
    from model.motion.conversation import Conversations
    from model.motion.run import Run
    from model.train.appearance import Refined
    from model.train.appearance_config import AppearanceConfig
    from model.train.devices import Devices

STAGE, SUMMARY, STATE = "stage2", "stage2.json", ".state"
#: What avatar.json says of the fit that no longer holds of a refined avatar.
_STALE = ("metrics", "still_torso", "floors", "validation_psnr", "perceptual", "steps", "best_step", "steps_per_s")
_MOTIONS = ("predicted", "tracked")


def sitters(dataset: Path) -> list[str]:
    """Subjects of the dataset that have an avatar, in the order of their names."""
    data = open_rows(dataset)
    everybody = list_subjects(data) if len(data) else []
    return [s.subject_id for s in everybody if (dataset / folder_of(s.subject_id) / "avatar.json").is_file()]


def require_sitters(dataset: Path) -> list[str]:
    """As :func:`sitters`.

    Raises:
        DatasetError: nobody has an avatar.
    """
    found = sitters(dataset)
    if not found:
        raise DatasetError(
            f"{dataset} has no avatars, which stage 2 refines.",
            hint=f"Fit them first: rsat-data avatar fit {dataset}",
            path=dataset,
        )
    return found


def was_begun(run: Path) -> bool:
    """Whether stage 2 of the run was started."""
    folder = run / STAGE
    return folder.is_dir() and any(folder.iterdir())


def stage2_avatar(run: Path, subject: str) -> Path | None:
    """Folder of a subject's avatar that stage 2 left in the run; None where there is none."""
    folder = run / STAGE / subject
    return folder if (folder / "avatar.json").is_file() else None


def refine_all(
    dataset: Path,
    folder: Path,
    config: AppearanceConfig,
    devices: Devices,
    *,
    threads: int,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[float, str], None] = lambda done, note: None,
    log: Callable[[int, Mapping[str, float]], None] = lambda step, values: None,
) -> dict[str, Any]:
    """Refine the avatars of all subjects that have one, into ``folder/stage2/<subject>``.

    Subjects that are there already stay. Of several processes each takes its share of the subjects.

    Args:
        dataset: with avatars.
        folder: of the run, with the stage that ``config`` names.
        config: settings.
        devices: where.
        threads: of the kernels on a CPU.
        say: told a line for people now and then.
        progress: told how many subjects are done, with fractions, and a note.
        log: told the figures of a subject, by its number.

    Returns:
        subjects: subject -> report; skipped: subject -> reason; seconds; says: in a sentence.

    Raises:
        DatasetError: nobody has an avatar.
        RunError: the run is of another dataset, or has no such stage.
        HeadMismatch: run and avatar ride on different heads.
    """
    from model.motion.conversation import conversations, dataset_hash
    from model.motion.run import load_run

    begun = time.monotonic()
    names = require_sitters(dataset)
    run = load_run(folder, str(devices.device), stage=config.stage)
    if run.dataset_hash != dataset_hash(dataset):
        raise RunError(
            f"{folder} was trained on another dataset than {dataset}.",
            hint="Give the dataset that the run was trained on.",
            path=folder,
        )
    talks = conversations(dataset, None)
    mine = names[devices.rank :: devices.world]
    reports: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for number, subject in enumerate(mine):

        def tell(share: float, note: str, number: int = number, subject: str = subject) -> None:
            progress(number + share, f"{subject}: {note}")

        there = stage2_avatar(folder, subject)
        if there is not None:
            reports[subject] = _report_of(there)
            continue
        try:
            report = _refine_one(dataset, folder, subject, config, devices, run, talks, threads, tell)
        except SourceError as error:  # this person's material is too little; others' may do
            skipped[subject] = error.message
            say(f"{subject}: left out: {error.message}")
            continue
        reports[subject] = report
        say(f"{subject}: {describe(report)}")
        log(number, {f"{m}/{when}/{n}": v for when in ("before", "after") for m in _MOTIONS
                     for n, v in report[when][m].items()})  # fmt: skip
    progress(float(len(mine)), "")
    devices.wait()
    if devices.world > 1:
        reports = {s: _report_of(found) for s in names if (found := stage2_avatar(folder, s)) is not None}
    result = {
        "subjects": reports,
        "skipped": skipped,
        "settings": asdict(config),
        "seconds": time.monotonic() - begun,
        "says": summary(reports, skipped),
    }
    if devices.rank == 0:
        shutil.rmtree(folder / STAGE / STATE, ignore_errors=True)
        keep_state(folder / STAGE / SUMMARY, (json.dumps(result, indent=1) + "\n").encode(), "The result of stage 2")
    return result


def _report_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "avatar.json").read_text(encoding="utf-8")).get("stage2", {})
    return found


def _refine_one(
    dataset: Path, folder: Path, subject: str, config: AppearanceConfig, devices: Devices, run: Run,
    talks: Conversations, threads: int, progress: Callable[[float, str], None],
) -> dict[str, Any]:  # fmt: skip
    from model.train.appearance import refine_avatar
    from pipelines.avatar.rows import collect
    from pipelines.avatar.warm import warm_up

    data = open_rows(dataset)
    found = find_avatar(data, subject, None)
    if found.avatar.head != run.head_model:
        raise HeadMismatch(
            f"The avatar of {subject} rides on the head {found.avatar.head}, the run predicts codes of "
            f"{run.head_model}.",
            hint="Train a run on a dataset of that head, or fit the avatars again.",
        )
    rows = found.avatar.about.get("rows")
    if not isinstance(rows, Mapping) or not rows:
        raise SkippedSubject(f"The avatar of {subject} was not fitted to rows of a dataset.")
    material = collect(dataset, rows, subject)
    predicted = {}
    for row in material.footage:
        codes = predict_row(run, talks, row.row_id, config)
        if codes is not None:
            predicted[row.row_id] = codes
    state = folder / STAGE / STATE / subject
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise as_disk_error(error, folder) from error
    if devices.device.type == "cpu" and not config.max_steps and not any(state.iterdir()):
        from model.train.appearance import fit_config

        warm_up(found.head, material.footage, fit_config(found.avatar, config), threads)
    result = refine_avatar(
        found.avatar, found.head, material.footage, predicted, config,
        state=state, progress=progress, threads=threads, device=devices.device,
    )  # fmt: skip
    report = result.report | {"motion": config.motion, "stage": config.stage}
    _save(result, found, report, dataset / folder_of(subject), folder / STAGE / subject)
    shutil.rmtree(state, ignore_errors=True)
    return report


def _save(result: Refined, found: Found, report: Mapping[str, Any], source: Path, target: Path) -> None:
    from model.avatar.files import save_avatar

    about = dict(found.avatar.about)
    if report["kept"] == "refined":
        about = {name: value for name, value in about.items() if name not in _STALE}
    try:
        target.mkdir(parents=True, exist_ok=True)
        if (source / OWN_HEAD).is_file():
            shutil.copyfile(source / OWN_HEAD, target / OWN_HEAD)
    except OSError as error:
        raise as_disk_error(error, target) from error
    save_avatar(replace(result.avatar, about={**about, "stage2": dict(report)}), target)


def predict_row(run: Run, talks: Conversations, row_id: str, config: AppearanceConfig) -> dict[str, np.ndarray] | None:
    """Predicted expression, jaw and eyes of a row's person; None where the clip shows one person only."""
    place = talks.place_of(row_id)
    if place is None:
        return None
    talk, person = talks[place[0]], place[1]
    codes = run.predict(talk, person, draw=None if config.motion == "mean" else config.seed)
    return {name: np.asarray(codes[name], np.float32) for name in ("expression", "jaw", "eyes")}


def describe(report: Mapping[str, Any]) -> str:
    """A subject's result in a line."""
    before, after = (
        {motion: report[when][motion]["psnr_foreground"] for motion in _MOTIONS} for when in ("before", "after")
    )
    shown = [f"{motion} {before[motion]:.2f} -> {after[motion]:.2f} dB" for motion in _MOTIONS]
    kept = "refined" if report["kept"] == "refined" else f"the fitted avatar is kept ({report['why']})"
    return f"{', '.join(shown)} on {report['judged_frames']} frames held out; {kept}"


def summary(reports: Mapping[str, Any], skipped: Mapping[str, str]) -> str:
    """All subjects' results in a line."""
    known = [report for report in reports.values() if report]
    better = [report for report in known if report["kept"] == "refined"]
    words = f"{len(better)} of {len(known)} avatars refined"
    if known:
        changes = []
        for motion in _MOTIONS:
            last = [r["after" if r["kept"] == "refined" else "before"][motion]["psnr_foreground"] for r in known]
            first = [r["before"][motion]["psnr_foreground"] for r in known]
            changes.append(f"{_mean(first):.2f} -> {_mean(last):.2f} dB under {motion} motion")
        words += ", " + ", ".join(changes) + " on time held out"
    if len(better) < len(known):
        words += f"; {len(known) - len(better)} kept as fitted, where refining did not help"
    return words + (f"; {len(skipped)} left out" if skipped else "")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)

