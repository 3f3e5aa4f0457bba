"""The work of the stage ``avatar``: rows in, avatar, figures and a picture out."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import torch

from model.avatar.config import AvatarConfig
from model.avatar.files import save_avatar
from model.avatar.fit import fit_avatar, with_torso
from model.avatar.footage import Division, divide
from model.avatar.orbit import seen_angles
from model.avatar.silhouette import with_silhouettes
from model.head import load_head
from pipelines.avatar.floors import against_floors, describe
from pipelines.avatar.judge import judge_rows
from pipelines.avatar.preview import write_preview
from pipelines.avatar.rows import Material, collect
from pipelines.avatar.warm import warm_up
from pipelines.stage import StageContext
from rsat_data import __version__
from rsat_data.errors import DatasetError, HeadMismatch, SkippedSubject

FIT_SHARE = 0.9
"""Share of the progress that the fit itself takes."""
WARM_BELOW_S = 1200.0
"""With less time than this, kernels are compiled before the clock starts."""


def run(ctx: StageContext, config: AvatarConfig) -> Mapping[str, Any]:
    """Fit an avatar to the rows that ``ctx.unit`` names.

    Raises:
        SkippedSubject: no row can be used, or too few frames.
        HeadMismatch: the head of the codes is not the one on this machine.
    """
    unit = ctx.unit
    torch.set_num_threads(ctx.threads)
    head = load_head(unit["head"])
    if head.id != unit["head_model"]:
        raise HeadMismatch(
            f"The codes of {unit['subject_id']} belong to the head {unit['head_model']}, here is {head.id}.",
            hint="Build the dataset again with the head of this installation.",
        )
    material = collect(ctx.source, unit["rows"], unit["subject_id"])
    material = replace(material, footage=tuple(with_silhouettes(head, row) for row in material.footage))
    if config.track_torso:  # once, for the fit and for all that is drawn after it
        material = replace(material, footage=tuple(with_torso(head, row, ctx.threads) for row in material.footage))
    division = check_frames(material, config, unit["subject_id"])
    device = "cuda" if ctx.device == "auto" and torch.cuda.is_available() else ctx.device
    device = "cpu" if device == "auto" else device

    if device == "cpu" and config.budget_s < WARM_BELOW_S:
        warm_up(head, material.footage, config, ctx.threads)

    def progress(share: float, note: str) -> None:
        ctx.progress(FIT_SHARE * share)

    fitted = fit_avatar(
        head,
        material.shape,
        material.footage,
        config,
        state=ctx.state,
        progress=progress,
        threads=ctx.threads,
        device=device,
    )
    avatar, report, cpu = fitted.avatar.to("cpu"), fitted.report, head.to("cpu")
    ctx.progress(FIT_SHARE)
    judged = judge_rows(avatar, cpu, material.footage, config.size, ctx.threads)
    ctx.progress(0.97)
    floors = against_floors(report["metrics"])
    about = {
        **avatar.about,
        "floors": floors,
        "seen": seen_angles(avatar, cpu, material.footage, division.train),
        "avatar_id": unit["avatar_id"],
        "subject_id": unit["subject_id"],
        "key": unit["key"],
        "rows": {
            row: {"content": content, "psnr": None, "frames": 0, **judged.get(row, {})}
            for row, content in unit["rows"].items()
        },
        "left_out": dict(material.left_out),
        "held_out": held_out(material, division),
        "config": asdict(config),
        "device": device,
        "versions": {
            "rsat_data": __version__,
            "torch": version("torch"),
            "numpy": version("numpy"),
            "python": platform.python_version(),
        },
    }
    avatar = replace(avatar, about=about)
    save_avatar(avatar, ctx.out)
    figures = report["metrics"]["avatar"]
    says = describe(
        figures["psnr_foreground"], floors, report["matte"], report["gaussians"], report["seconds"]
    )
    write_preview(
        ctx.out / "preview.png",
        avatar,
        cpu,
        material.footage,
        division.test,
        f"{unit['subject_id']}  {avatar.head}",
        says,
        ctx.threads,
    )
    ctx.progress(1.0)
    return {
        "says": says,
        "psnr": figures["psnr_foreground"],
        "ssim": figures["ssim_foreground"],
        "floors": floors,
        "above_floors": all(floor["above"] for floor in floors.values()),
        "matte": report["matte"],
        "gaussians": report["gaussians"],
        "seconds": report["seconds"],
        "steps": report["steps"],
        "left_out": dict(material.left_out),
    }


def check_frames(material: Material, config: AvatarConfig, subject: str) -> Division:
    """Training and held-out frames, as the fit will take them.

    Raises:
        SkippedSubject: there are too few.
    """
    footage = material.footage
    try:
        return divide(footage, config.hold_out, config.max_frames, config.validation_frames, config.min_frames)
    except DatasetError as error:
        raise SkippedSubject(f"{subject}: {error.message}", hint=error.hint) from error


def held_out(material: Material, division: Division) -> dict[str, list[int]]:
    """row_id -> first and last frame of what is held out."""
    spans: dict[str, list[int]] = {}
    for frame in division.test:
        span = spans.setdefault(material.footage[frame.row].row_id, [frame.time, frame.time])
        span[1] = frame.time
    return spans

