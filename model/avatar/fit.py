"""Fitting a subject's Gaussians to its tracked pictures, within a budget of time."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.avatar import checkpoint
from model.avatar.avatar import Avatar
from model.avatar.config import AvatarConfig
from model.avatar.evaluate import Bench, evaluate
from model.avatar.footage import Footage
from model.avatar.light import EXTRA, ROWS
from model.avatar.prepare import Material, prepare
from model.avatar.schedule import Schedule
from model.avatar.silhouette import with_silhouettes
from model.avatar.state import State, change_density, show, take_step, validate
from model.avatar.torso import track_torso
from model.avatar.track import Track
from model.gaussians import BoundGaussians
from model.head import HeadModel
from model.metrics.perceptual import st_lpips_at_hand
from rsat_data.errors import DatasetError

Progress = Callable[[float, str], None]
"""Called with the share of the fit that is done and a note."""
_VERSION = "2"
"""Of the fit: states of another one are not gone on from."""
_NOTE_STEPS = 10


@dataclass(frozen=True)
class FittedAvatar:
    """A fit's result."""

    avatar: Avatar
    """The best state, by the validation frames."""
    report: dict[str, Any]
    """metrics: "avatar" and the floors "mean", "nearest", "mesh" -> figure on the time held out (see
    :func:`model.avatar.evaluate.evaluate`); still_torso: the avatar's figures when its torso is drawn as codes alone
    have it, None where it was not tracked; validation_psnr,
    steps, best_step, seconds, steps_per_s, gaussians, training_frames, test_frames, matte ("given" or "mesh")."""


def fit_avatar(
    head: HeadModel,
    shape: Tensor | np.ndarray,
    footage: Sequence[Footage],
    config: AvatarConfig | None = None,
    *,
    state: Path | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
    device: torch.device | str = "cpu",
    floors: bool = True,
) -> FittedAvatar:
    """Fit a subject's avatar.

    The last ``hold_out`` of the subject's valid time is never trained on, its codes are never changed: the figures in
    the report are of codes as tracked. Some frames of the training span are set apart to choose the best state by.

    Interrupted at any moment, it goes on from the last checkpoint in ``state`` when it is called again with the same
    arguments. A fit that ends by ``max_steps`` gives the same avatar with and without interruptions; one that ends by
    its budget depends on the speed of the machine anyway.

    Args:
        head: the head that the codes belong to.
        shape: (S,) the subject's shape code.
        footage: the subject's rows, in the order of time.
        config: settings; None for the defaults.
        state: folder for checkpoints, emptied at the end; None for none.
        progress: told how far the fit is.
        threads: of the kernels; None for torch's setting. Changes nothing in the result.
        device: where the fit runs: "cpu", or "cuda" with gsplat.
        floors: judge the floors too.

    Raises:
        DatasetError: too few valid frames, or nothing of the mesh is seen.
        HeadMismatch: codes or shape of another head.
        UnreadableSource: a video cannot be decoded.
        DiskFullError, WorkspaceError: no room for pictures or checkpoints.
    """
    config = config or AvatarConfig()
    begun = time.monotonic()
    code = torch.as_tensor(np.asarray(shape, np.float32)).to(device)
    if code.shape != (head.num_shape,) or not bool(torch.isfinite(code).all()):
        raise DatasetError(f"The shape code {tuple(code.shape)} is not a finite one of {head.id} ({head.num_shape},).")
    footage = [with_silhouettes(head, row) for row in footage]
    if config.track_torso:
        footage = [with_torso(head.to("cpu"), row, threads or 1) for row in footage]
    material = prepare(head.to(device), code, footage, config, threads, device)
    try:
        now = State(material, config, device)
        print_ = fingerprint(head, code, footage, config, material)
        kept = None if state is None else checkpoint.read(state, print_)
        if kept is not None:
            now.restore(*kept)
        else:
            now.elapsed = time.monotonic() - begun
        run_steps(now, material, Schedule(config), state, print_, progress, threads)
        return _result(now, material, footage, code, threads, floors, state)
    finally:
        material.store.close()


def with_torso(head: HeadModel, row: Footage, threads: int = 1) -> Footage:
    """The row with its torso tracked, unless it was."""
    row.check(head)
    if "torso" in row.codes:
        return row
    return replace(row, codes={**row.codes, "torso": track_torso(head, row, threads)})


def run_steps(
    now: State, material: Material, schedule: Schedule, folder: Path | None, print_: str, progress: Progress | None,
    threads: int | None,
) -> None:  # fmt: skip
    """Step until the budget is spent. The state is kept at the end of steps only, so a torn one is never kept."""
    config = now.config
    before, started, saved = now.elapsed, time.monotonic(), time.monotonic()
    while (share := schedule.progress(now.step, now.elapsed)) < 1:
        while now.rounds < schedule.densify_rounds(share):
            change_density(now)
            now.rounds += 1
        take_step(now, material, schedule, share, threads)
        now.step += 1
        now.elapsed = before + time.monotonic() - started
        if schedule.validations(schedule.progress(now.step, now.elapsed)) > now.validations:
            now.validations = schedule.validations(schedule.progress(now.step, now.elapsed))
            validate(now, material, threads)
            now.elapsed = before + time.monotonic() - started
        if folder is not None and time.monotonic() - saved >= config.checkpoint_s:
            checkpoint.write(folder, now.tensors(), now.values(), print_)
            saved = time.monotonic()
        if progress is not None and now.step % _NOTE_STEPS == 0:
            progress(share, f"{now.step} steps, {now.best_score:.1f} dB" if now.best else f"{now.step} steps")
    if not now.best or now.best_step < now.step and now.validations < schedule.validations(1.0):
        validate(now, material, threads)
    if folder is not None:
        checkpoint.write(folder, now.tensors(), now.values(), print_)
    if progress is not None:
        progress(1.0, f"{now.step} steps, {now.best_score:.1f} dB")


def _result(
    now: State, material: Material, footage: Sequence[Footage], shape: Tensor, threads: int | None, floors: bool,
    folder: Path | None,
) -> FittedAvatar:  # fmt: skip
    best, config = now.best, now.config
    head = material.head
    cpu = head.to("cpu")
    size = config.size
    bench = Bench(
        cpu, (material.rest[0].cpu(), material.rest[1].cpu()), material.train.to("cpu"),
        lambda index: material.picture(index, size), size,
    )  # fmt: skip

    def drawn(track: Track, index: int) -> Tensor:
        there = track.to(now.device)
        return show(head, material.rest, best, there, index, size, None, threads)[0].clamp(0, 1).cpu()

    metrics = evaluate(
        bench, footage, material.division.test, drawn,
        floors=floors, perceptual=st_lpips_at_hand(), threads=threads or 1,
    )  # fmt: skip
    still = metrics.pop("avatar_still", None)
    gaussians = BoundGaussians(
        **{name: best[name].cpu() for name in ("mean", "log_scale", "rotation", "opacity", "sh", "face")}
    )
    report: dict[str, Any] = {
        "metrics": metrics,
        "still_torso": still,
        "validation_psnr": now.best_score,
        "steps": now.step,
        "best_step": now.best_step,
        "seconds": now.elapsed,
        "steps_per_s": now.step / max(now.elapsed, 1e-9),
        "gaussians": len(gaussians),
        "training_frames": len(material.train),
        "test_frames": len(material.division.test),
        "perceptual": config.perceptual_weight > 0 and st_lpips_at_hand(now.device) is not None,
        "matte": "given" if all(row.matte == "given" for row in footage) else "mesh",
        "size": size,
    } | ({ROWS: [row.row_id for row in footage]} if "light" in best else {})
    avatar = Avatar(
        gaussians, head.id, len(head.faces), shape.cpu(), best["offsets"].cpu(),
        {"torso_offset": best["torso.offset"].cpu(), "torso_follow": best["torso.follow"].cpu()}
        | ({EXTRA: best["light"].cpu()} if "light" in best else {}),
        {name: value for name, value in report.items() if name != "gaussians"},
    )  # fmt: skip
    if folder is not None:
        checkpoint.remove(folder)
    return FittedAvatar(avatar, report)


def fingerprint(
    head: HeadModel, shape: Tensor, footage: Sequence[Footage], config: AvatarConfig, material: Material
) -> str:
    """Hash of all that decides a fit's course; the interval of checkpoints does not."""
    settings = {name: value for name, value in asdict(config).items() if name != "checkpoint_s"}
    digest = hashlib.sha256(json.dumps([_VERSION, head.id, settings], sort_keys=True).encode())
    digest.update(shape.cpu().numpy().tobytes())
    for row in footage:
        digest.update(json.dumps([row.row_id, len(row), asdict(row.camera), row.matte]).encode())
        for name in sorted(row.codes):
            digest.update(np.ascontiguousarray(row.codes[name]).tobytes())
        digest.update(np.asarray(row.valid, bool).tobytes())
    # Pictures: the first training frame stands for all.
    digest.update(material.picture(0, config.size).tobytes())
    return digest.hexdigest()
