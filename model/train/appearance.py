"""Stage 2, appearance: a subject's avatar refined under the run's motion and under tracked motion.

After the abstract of RSATalker, which names three stages; what is in this one is our reading. The Gaussians go on from
the fitted avatar by the steps of the fit (:mod:`model.avatar.state`). Half of the steps draw a training frame under its
tracked codes, as the fit did; the others draw it under the predicted expression, jaw and eyes, at the tracked pose, and
compare as :mod:`model.avatar.driven` says. The best state is chosen by validation frames under both motions, the fitted
avatar being the first candidate; and where it does not help on the time held out, the fitted avatar is kept.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.avatar import checkpoint
from model.avatar.avatar import Avatar
from model.avatar.config import AvatarConfig
from model.avatar.draw import torso_of
from model.avatar.driven import Driven
from model.avatar.evaluate import Bench, evaluate
from model.avatar.fit import fingerprint, run_steps, with_torso
from model.avatar.footage import Footage, Frame
from model.avatar.prepare import Material, prepare
from model.avatar.schedule import Schedule
from model.avatar.silhouette import with_silhouettes
from model.avatar.state import State, show, validate, validation_score
from model.avatar.track import Track
from model.gaussians import BoundGaussians
from model.head import HeadModel
from model.metrics.perceptual import st_lpips_at_hand
from model.train.appearance_config import AppearanceConfig
from rsat_data.config import from_mapping
from rsat_data.errors import ConfigError, HeadMismatch, SkippedSubject

Codes = Mapping[str, np.ndarray]
DRIVEN = ("expression", "jaw", "eyes")
"""Codes that are taken from a prediction; pose and torso stay as tracked, for no picture tells of another pose."""
FIGURES = ("psnr_foreground", "psnr_mouth", "ssim_foreground", "st_lpips_foreground")
"""What is reported of the time held out."""
_UNITS = {"mean": 0.1, "log_scale": 0.1, "rotation": 0.1, "opacity": 0.5, "sh": 0.1}
_ODD = 7
"""Every how many steps ST-LPIPS is looked at: odd, so that it sees both motions."""
_KEPT = ("hold_out", "max_frames", "min_frames", "validation_frames", "track_torso")
"""Settings of the fit that decide which frames are whose."""


@dataclass(frozen=True)
class Refined:
    """What stage 2 made of a subject."""

    avatar: Avatar
    """Refined, or the fitted one where that is better."""
    report: dict[str, Any]
    """kept ("refined" or "fitted"), why, before and after: motion (tracked, predicted) -> figure; steps, best_step,
    seconds, validation_before, validation_after (dB), training_frames, driven_frames, judged_frames."""


def refine_avatar(
    avatar: Avatar,
    head: HeadModel,
    footage: Sequence[Footage],
    predicted: Mapping[str, Codes],
    config: AppearanceConfig | None = None,
    *,
    state: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
    threads: int | None = None,
    device: torch.device | str = "cpu",
) -> Refined:
    """Refine a subject's avatar.

    The time that the fit held out stays held out. Interrupted at any moment, it goes on from the last checkpoint in
    ``state``; what ends by ``max_steps`` gives the same bits on a CPU with and without interruptions.

    Args:
        avatar: the fitted one, on the CPU.
        head: the avatar's own, on the CPU.
        footage: the rows it was fitted to, in their order.
        predicted: row_id -> expression (T, E), jaw (T, 3), eyes (T, 6) of that row's person; rows without one are seen
            under tracked motion only.
        config: settings.
        state: folder for checkpoints, emptied at the end; None for none.
        progress: told the share that is done and a note.
        threads: of the kernels; changes nothing in the result.
        device: where it runs: "cpu", or "cuda" with gsplat.

    Raises:
        SkippedSubject: the avatar was not fitted here, or no training frame has a prediction.
        HeadMismatch: avatar, head, rows and predictions do not belong together.
        DatasetError: too few valid frames.
        DiskFullError, WorkspaceError: no room for pictures or checkpoints.
    """
    config = config or AppearanceConfig()
    if torso_of(avatar) is None or not isinstance(avatar.about.get("config"), dict):
        raise SkippedSubject("The avatar was not fitted by rsat-data avatar fit.", hint="Fit one to the subject.")
    begun = time.monotonic()
    fit = fit_config(avatar, config)
    footage = [with_silhouettes(head, row) for row in footage]
    if fit.track_torso:
        footage = [with_torso(head, row, threads or 1) for row in footage]
    there = torch.device(device)
    personal = avatar.personal(head)
    material = prepare(personal.to(there), avatar.shape.to(there), footage, fit, threads, there)
    try:
        material = replace(material, driven=driven_of(material, footage, predicted, avatar, config))
        rows = [row.row_id for row in footage]
        now = State(material, fit, there, avatar, rows)
        fitted = now.snapshot()
        print_ = _fingerprint(head, footage, fit, material, avatar, config, predicted)
        kept = None if state is None else checkpoint.read(state, print_)
        if kept is not None:
            now.restore(*kept)
        else:
            validate(now, material, threads)
            now.elapsed = time.monotonic() - begun
        first = _first_score(now, material, fitted, threads)
        run_steps(now, material, Schedule(fit), state, print_, progress, threads)
        result = _judged(now, material, footage, fitted, avatar, predicted, config, threads)
        report = result.report | {"validation_before": first, "validation_after": now.best_score}
        if state is not None:
            checkpoint.remove(state)
        return replace(result, report=report)
    finally:
        material.store.close()


def fit_config(avatar: Avatar, config: AppearanceConfig) -> AvatarConfig:
    """Settings of the steps: the avatar's own division of frames, gentle rates, no change of the Gaussians' number."""
    own = avatar.about.get("config", {})
    try:
        base = from_mapping(AvatarConfig, {name: own[name] for name in _KEPT if name in own}, where="avatar.json")
    except ConfigError:
        base = AvatarConfig()
    return replace(
        base,
        budget_s=config.budget_s, max_steps=config.max_steps, size=config.size, seed=config.seed,
        coarse_share=0.0, densify_rounds=0, code_from=0.0, relief_lr=0.0, torso_lr=0.0, light_lr=0.0,
        perceptual_weight=config.perceptual_weight, perceptual_every=_ODD, perceptual_from=0.0,
        mean_lr=base.mean_lr * config.rate, scale_lr=base.scale_lr * config.rate,
        rotation_lr=base.rotation_lr * config.rate, opacity_lr=base.opacity_lr * config.rate,
        colour_lr=base.colour_lr * config.rate, checkpoint_s=config.checkpoint_s,
    )  # fmt: skip


def driven_of(
    material: Material, footage: Sequence[Footage], predicted: Mapping[str, Codes], avatar: Avatar,
    config: AppearanceConfig,
) -> Driven:  # fmt: skip
    """The predictions for the frames of the material.

    Raises:
        SkippedSubject: there is none for any training frame.
        HeadMismatch: a prediction has other codes than its row, or another length.
    """
    for row in footage:
        for name in DRIVEN if row.row_id in predicted else ():
            if predicted[row.row_id][name].shape != row.codes[name].shape:
                raise HeadMismatch(
                    f"Row {row.row_id}: the predicted {name} is {predicted[row.row_id][name].shape}, the tracked one "
                    f"{row.codes[name].shape}."
                )
    train, known = driven_track(material.train, footage, predicted)
    if not any(known):
        raise SkippedSubject(
            "No training frame of the subject has predicted motion.",
            hint="The run predicts the motion of two people in one clip; this subject's clips show one.",
        )
    return Driven(
        train=train,
        validation=driven_track(material.validation, footage, predicted)[0],
        known=tuple(int(index) for index in np.flatnonzero(known)),
        share=config.share,
        pixels=config.agreement * config.size,
        coarse_weight=config.coarse_weight,
        keep_weight=config.keep_weight,
        anchor=avatar.gaussians.clone().to(material.train.rest.device),
        units=_UNITS,
    )


def driven_track(track: Track, footage: Sequence[Footage], predicted: Mapping[str, Codes]) -> tuple[Track, list[bool]]:
    """The track with predicted codes where there are some, and for which of its frames there were."""
    codes, known = {name: value.clone() for name, value in track.codes.items()}, []
    for index, frame in enumerate(track.frames):
        there = predicted.get(footage[frame.row].row_id)
        known.append(there is not None)
        for name in DRIVEN if there is not None else ():
            assert there is not None
            codes[name][index] = torch.from_numpy(np.array(there[name][frame.time], np.float32))
    return replace(track, codes=codes), known


def _first_score(now: State, material: Material, fitted: dict[str, Tensor], threads: int | None) -> float:
    """Validation of the fitted avatar, also where the state was gone on from."""
    return now.best_score if now.step == 0 else validation_score(now, material, fitted, threads)


def _judged(
    now: State, material: Material, footage: Sequence[Footage], fitted: dict[str, Tensor], avatar: Avatar,
    predicted: Mapping[str, Codes], config: AppearanceConfig, threads: int | None,
) -> Refined:  # fmt: skip
    """Both avatars on the time held out under both motions, and the better one."""
    seen = [frame for frame in material.division.test if footage[frame.row].row_id in predicted]
    frames = seen or list(material.division.test)
    if len(frames) > config.judged_frames:
        count = config.judged_frames
        frames = [frames[int((i + 0.5) / count * len(frames))] for i in range(count)]
    before = _figures(now, material, footage, frames, fitted, predicted, threads)
    better = now.best_step > 0
    after = _figures(now, material, footage, frames, now.best, predicted, threads) if better else before
    kept, why = choose(before, after, config) if better else ("fitted", "no state was better on the validation frames")
    report: dict[str, Any] = {
        "kept": kept, "why": why, "before": before, "after": after,
        "steps": now.step, "best_step": now.best_step, "seconds": now.elapsed,
        "steps_per_s": now.step / max(now.elapsed, 1e-9),
        "training_frames": len(material.train), "driven_frames": len(material.driven.known) if material.driven else 0,
        "judged_frames": len(frames),
        "perceptual": config.perceptual_weight > 0 and st_lpips_at_hand(now.device) is not None,
    }  # fmt: skip
    return Refined(avatar if kept == "fitted" else refined(avatar, now.best), report)


def refined(avatar: Avatar, best: Mapping[str, Tensor]) -> Avatar:
    """The avatar with the Gaussians of a state; torso, lights, offsets and shape are the fitted one's."""
    values = {name: best[name].cpu() for name in ("mean", "log_scale", "rotation", "opacity", "sh", "face")}
    return replace(avatar, gaussians=BoundGaussians(**values))


def choose(
    before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]], config: AppearanceConfig
) -> tuple[str, str]:
    """Which avatar is kept, "refined" or "fitted", and why, from figures of the time held out."""
    gain, loss = (
        sign * (after[motion]["psnr_foreground"] - before[motion]["psnr_foreground"])
        for motion, sign in (("predicted", 1), ("tracked", -1))
    )
    if not gain > config.least_gain_db:
        return "fitted", f"{gain:+.2f} dB under predicted motion on the time held out"
    if loss > config.most_loss_db:
        return "fitted", f"{-loss:+.2f} dB under tracked motion on the time held out"
    return "refined", f"{gain:+.2f} dB under predicted and {-loss:+.2f} dB under tracked motion on the time held out"


def _figures(
    now: State, material: Material, footage: Sequence[Footage], frames: Sequence[Frame], snapshot: dict[str, Tensor],
    predicted: Mapping[str, Codes], threads: int | None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Motion -> figure of an avatar on held-out frames, under tracked and under predicted codes."""
    size = now.config.size
    bench = Bench(
        material.head.to("cpu"), (material.rest[0].cpu(), material.rest[1].cpu()), material.train.to("cpu"),
        lambda index: material.picture(index, size), size,
    )  # fmt: skip

    def shown(track: Track, index: int) -> Tensor:
        there = track.to(now.device)
        picture = show(material.head, material.rest, snapshot, there, index, size, None, threads)[0]
        return picture.clamp(0, 1).cpu()

    def driven(track: Track, index: int) -> Tensor:
        one = replace(track, frames=(track.frames[index],), rest=track.rest[index : index + 1], codes=track.at(index))
        return shown(driven_track(one, footage, predicted)[0], 0)

    found: dict[str, dict[str, float]] = {}
    for motion, draw in (("tracked", shown), ("predicted", driven)):
        metrics = evaluate(
            bench, footage, frames, draw, floors=False, perceptual=st_lpips_at_hand(), threads=threads or 1, still=False
        )["avatar"]
        found[motion] = {name: metrics[name] for name in FIGURES if math.isfinite(metrics.get(name, math.nan))}
    return found


def _fingerprint(
    head: HeadModel, footage: Sequence[Footage], fit: AvatarConfig, material: Material, avatar: Avatar,
    config: AppearanceConfig, predicted: Mapping[str, Codes],
) -> str:  # fmt: skip
    """Hash of all that decides the course of a refinement."""
    settings = {name: value for name, value in asdict(config).items() if name != "checkpoint_s"}
    digest = hashlib.sha256(fingerprint(head, avatar.shape, footage, fit, material).encode())
    digest.update(repr(sorted(settings.items())).encode())
    for value in avatar.gaussians.parameters().values():
        digest.update(value.numpy().tobytes())
    for row in sorted(predicted):
        for name in DRIVEN:
            digest.update(np.ascontiguousarray(predicted[row][name], np.float32).tobytes())
    return digest.hexdigest()
