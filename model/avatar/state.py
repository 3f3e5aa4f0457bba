"""The changing part of a fit, and one step of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from model.avatar import density, start
from model.avatar.avatar import Avatar
from model.avatar.config import AvatarConfig
from model.avatar.draw import torso_of
from model.avatar.driven import add_pull, agreement, driven_loss
from model.avatar.light import centred, light_of, lit
from model.avatar.losses import add_regularisers, matte_loss, photometric, psnr
from model.avatar.optimiser import Adam
from model.avatar.posing import Torso, pose_on_torso
from model.avatar.prepare import Material, begin
from model.avatar.relief import Relief
from model.avatar.schedule import Schedule, background_at, frame_at
from model.avatar.track import Corrections, Track
from model.gaussians import BoundGaussians, to_world, triangle_frames
from model.head import HeadModel
from model.metrics.perceptual import MIN_SIDE, st_lpips, st_lpips_at_hand
from model.raster.gaussian import rasterize_gaussians


class State:
    """Everything that changes in a fit: what a checkpoint holds."""

    def __init__(
        self, material: Material, config: AvatarConfig, device: torch.device | str, avatar: Avatar | None = None,
        rows: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """The state a fit starts with.

        Args:
            material: what the fit works on; with ``avatar`` its identity holds that avatar's offsets.
            config: settings.
            device: where it runs.
            avatar: one to go on from, in place of a start from the pictures; its torso is known (``torso_of``).
            rows: names of the footage, with ``avatar``.
        """
        self.config, self.device = config, torch.device(device)
        self.step, self.elapsed = 0, 0.0
        self.rounds, self.validations = 0, 0
        self.torso = Torso.still(device)
        used = {frame.row for frame in material.train.frames}
        self.trained = torch.tensor([row in used for row in range(len(material.train.cameras))], device=device)
        # One row, or one light for all: nothing to be learnt.
        self.light: Tensor | None = None
        if len(used) > 1 and config.light_lr > 0:
            self.light = torch.zeros(len(self.trained), 4, 3, device=device)
        if avatar is None:
            self.gaussians = begin(material, config, self.torso).to(device)
        else:
            self._take(avatar, rows)
        self.mean_limit, self.scale_limit = start.limits(self.gaussians)
        self.corrections = Corrections(material.train, config.code_smooth, config.code_weight)
        self.relief = Relief.flat(
            material.head, material.rest, material.train.rest.mean(0), config.relief_points
        )
        self._adam()
        self.score = torch.zeros(len(self.gaussians), device=device)
        self.seen = torch.zeros(len(self.gaussians), device=device)
        self.best: dict[str, Tensor] = {}
        self.best_score, self.best_step = -1.0, 0

    def _take(self, avatar: Avatar, rows: Sequence[str]) -> None:
        """Gaussians, torso and lights of an avatar."""
        self.gaussians = avatar.gaussians.clone().to(self.device)
        torso = torso_of(avatar)
        assert torso is not None
        self.torso = Torso(torso.offset.clone().to(self.device), torso.follow.clone().to(self.device))
        lights = [light_of(avatar, row) for row in rows]
        if any(light is not None for light in lights):
            none = torch.zeros(4, 3)
            kept = [none if light is None else light for light in lights]
            self.light = torch.stack(kept).to(self.device)

    def _rates(self) -> dict[str, float]:
        c = self.config
        return {
            "mean": c.mean_lr, "log_scale": c.scale_lr, "rotation": c.rotation_lr, "opacity": c.opacity_lr,
            "sh": c.colour_lr, "torso.offset": c.torso_lr, "torso.follow": c.torso_lr, "light": c.light_lr,
            "relief": c.relief_lr,
        }  # fmt: skip

    def _body(self) -> dict[str, Tensor]:
        return {"torso.offset": self.torso.offset, "torso.follow": self.torso.follow}

    def _shape(self) -> dict[str, Tensor]:
        return {"relief": self.relief.depth}

    def _adam(self) -> None:
        self.gaussians.requires_grad_(True)
        self.adam = Adam(self.gaussians.parameters(), self._rates())
        self.body = Adam(self._body(), self._rates())
        self.form = Adam(self._shape(), self._rates())
        self.lamps = Adam({} if self.light is None else {"light": self.light.requires_grad_(True)}, self._rates())

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of what an avatar is made of."""
        values = self.gaussians.parameters() | {"face": self.gaussians.face} | self._body()
        values["offsets"] = self.relief.offsets()
        if self.light is not None:
            values["light"] = centred(self.light, self.trained)
        return {name: value.detach().clone() for name, value in values.items()}

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps, by name."""
        groups = {
            "now": self.snapshot(),
            "best": self.best,
            "first": self.adam.first, "second": self.adam.second,
            "body_first": self.body.first, "body_second": self.body.second,
            "form": {"relief": self.relief.depth.detach()},
            "form_first": self.form.first, "form_second": self.form.second,
            "lamps": {} if self.light is None else {"light": self.light.detach()},
            "lamps_first": self.lamps.first, "lamps_second": self.lamps.second,
            "codes": self.corrections.tensors(),
            "density": {
                "score": self.score, "seen": self.seen,
                "mean_limit": self.mean_limit, "scale_limit": self.scale_limit,
            },
        }  # fmt: skip
        return {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}

    def values(self) -> dict[str, Any]:
        """Numbers that a checkpoint keeps."""
        return {
            "step": self.step, "elapsed": self.elapsed, "rounds": self.rounds, "validations": self.validations,
            "adam": self.adam.count, "body": self.body.count, "lamps": self.lamps.count, "form": self.form.count,
            "best_score": self.best_score, "best_step": self.best_step,
        }  # fmt: skip

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take back what :meth:`tensors` and :meth:`values` gave."""

        def group(name: str) -> dict[str, Tensor]:
            head = f"{name}/"
            return {key[len(head) :]: t.to(self.device) for key, t in tensors.items() if key.startswith(head)}

        now = group("now")
        now.pop("offsets")
        self.relief = replace(self.relief, depth=group("form")["relief"])
        now.pop("light", None)
        self.light = group("lamps").get("light")
        self.torso = Torso(now.pop("torso.offset"), now.pop("torso.follow"))
        self.gaussians = BoundGaussians(**now)
        self._adam()
        self.adam.first, self.adam.second = group("first"), group("second")
        self.body.first, self.body.second = group("body_first"), group("body_second")
        self.form.first, self.form.second = group("form_first"), group("form_second")
        self.lamps.first, self.lamps.second = group("lamps_first"), group("lamps_second")
        self.corrections.restore(group("codes"))
        kept = group("density")
        self.score, self.seen = kept["score"], kept["seen"]
        self.mean_limit, self.scale_limit = kept["mean_limit"], kept["scale_limit"]
        self.best = group("best")
        self.form.count = values["form"]
        self.adam.count, self.body.count, self.lamps.count = values["adam"], values["body"], values["lamps"]
        self.step, self.elapsed = values["step"], values["elapsed"]
        self.rounds, self.validations = values["rounds"], values["validations"]
        self.best_score, self.best_step = values["best_score"], values["best_step"]


def take_step(state: State, material: Material, schedule: Schedule, progress: float, threads: int | None) -> float:
    """One step on one training frame, under tracked or (where there is some) predicted motion; returns the loss."""
    config, head, track = state.config, material.head, material.train
    index = frame_at(config.seed, state.step, len(track))
    driven = material.driven
    if driven is not None and driven.is_due(state.step):
        track = driven.train
        index = driven.known[frame_at(config.seed, state.step, len(driven.known))]
    size = schedule.size(progress)
    factor = schedule.factor(progress, state.step)
    image = torch.from_numpy(material.picture(index, size)).to(state.device).float() / 255
    matte = image[..., 3]
    background = torch.from_numpy(background_at(config.seed, state.step)).to(state.device)
    target = background + (image[..., :3] - background) * matte[..., None]

    codes = track.at(index)
    # Predictions are no measurements: there is nothing to correct.
    correcting = config.code_lr > 0 and progress >= config.code_from and track is material.train
    leaf = state.corrections.leaf(index)
    moves_body, deepens = config.torso_lr > 0, config.relief_lr > 0
    for value in state.body.parameters.values():
        value.requires_grad_(moves_body)
    state.relief.depth.requires_grad_(deepens)
    with torch.set_grad_enabled(correcting or moves_body or deepens):
        body = state.torso.pose(codes, track.rest[index : index + 1])
        if track is material.train:
            codes = state.corrections.apply(codes, leaf if correcting else leaf.detach())
        vertices = pose_on_torso(head, material.rest, codes, body, state.relief.offsets())
        frames = triangle_frames(vertices, head.faces)
    world = to_world(state.gaussians, frames)
    light = None if state.light is None else centred(state.light, state.trained)[track.frames[index].row]
    colours = lit(world.colours, vertices, head.faces, state.gaussians.face, light)
    screen = torch.zeros(1, len(state.gaussians), 2, device=state.device, requires_grad=True)
    splats = rasterize_gaussians(
        world.means, world.quats, world.scales, world.opacities, colours, track.camera(index, size),
        background=background, threads=threads, screen=screen,
    )  # fmt: skip
    if driven is None or track is material.train:
        loss = photometric(splats.rgb[0], target, config.ssim_weight, threads=threads)
    else:
        with torch.no_grad():
            seen = pose_on_torso(head, material.rest, material.train.at(index), body, state.relief.offsets())
        weight = agreement(head, seen, vertices.detach(), track.camera(index, size), driven.pixels, threads)
        loss = driven_loss(splats.rgb[0], target, weight, config.ssim_weight, driven.coarse_weight, threads)
    if config.alpha_weight:
        sure = ((matte < 0.05) | (matte > 0.95)).float()
        loss = loss + config.alpha_weight * matte_loss(splats.alpha[0], matte, sure)
    unlike = perceptual_term(config, state.step, progress, splats.rgb, target[None])
    loss = loss if unlike is None else loss + unlike
    loss.backward()
    visible = splats.radii[0] > 0
    add_regularisers(
        state.gaussians, visible, state.mean_limit, state.scale_limit, config.mean_weight, config.scale_weight
    )
    if driven is not None:
        add_pull(state.gaussians, driven)
    with torch.no_grad():
        assert screen.grad is not None
        # In units of half the picture, as usual, so that both sizes count alike.
        state.score += screen.grad[0].norm(dim=1) * (size / 2)
        state.seen += visible
    state.adam.step(factor, threads)
    if moves_body:
        state.body.step(factor, threads)
    state.lamps.step(factor, threads)
    state.form.step(factor, threads)
    if correcting and leaf.grad is not None:
        state.corrections.step(index, leaf.grad, config.code_lr * factor)
    return float(loss.detach())


def perceptual_term(
    config: AvatarConfig, step: int, progress: float, drawn: Tensor, target: Tensor
) -> Tensor | None:
    """What ST-LPIPS adds to a step's loss, a scalar; None in steps that do not look at it, where its weights are
    missing, and for pictures that are too small for its network.

    Args:
        config: settings.
        step: number of the step.
        progress: share of the fit that is done.
        drawn: (1, H, W, 3) picture of the avatar, values in [0, 1].
        target: (1, H, W, 3) what it should be.
    """
    due = config.perceptual_weight > 0 and progress >= config.perceptual_from
    if not due or step % config.perceptual_every or min(drawn.shape[1:3]) < MIN_SIDE:
        return None
    weights = st_lpips_at_hand(drawn.device)
    if weights is None:
        return None
    return config.perceptual_weight * config.perceptual_every * st_lpips(drawn, target, weights=weights)[0]


def change_density(state: State) -> None:
    """One round of pruning and splitting."""
    config = state.config
    density.repair(state.gaussians)
    kept = torch.nonzero(density.survivors(state.gaussians, config.prune_opacity))[:, 0]
    gaussians = state.gaussians.select(kept)
    score = (state.score / state.seen.clamp_min(1))[kept]
    which = density.choose(score, config.densify_share, config.max_gaussians - len(kept))
    divided, descent = density.divide(gaussians, which)
    parent = kept[descent.parent]
    state.gaussians = divided.requires_grad_(True)
    state.adam.replace(state.gaussians.parameters(), parent, descent.fresh)
    state.mean_limit, state.scale_limit = state.mean_limit[parent], state.scale_limit[parent]
    state.score = torch.zeros(len(parent), device=state.device)
    state.seen = torch.zeros(len(parent), device=state.device)


@torch.no_grad()
def show(
    head: HeadModel, rest: tuple[Tensor, Tensor], snapshot: dict[str, Tensor], track: Track, index: int, size: int,
    background: Tensor | None, threads: int | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Picture (size, size, 3) and alpha (size, size) of a frame of a track, codes as tracked, in its row's light."""
    parts = dict(snapshot)
    torso = Torso(parts.pop("torso.offset"), parts.pop("torso.follow"))
    light, offsets = parts.pop("light", None), parts.pop("offsets", None)
    codes = track.at(index)
    body = torso.pose(codes, track.rest[index : index + 1])
    vertices = pose_on_torso(head, rest, codes, body, offsets)
    world = to_world(BoundGaussians(**parts), triangle_frames(vertices, head.faces))
    here = None if light is None else light[track.frames[index].row]
    colours = lit(world.colours, vertices, head.faces, parts["face"], here)
    splats = rasterize_gaussians(
        world.means, world.quats, world.scales, world.opacities, colours, track.camera(index, size),
        background=background, threads=threads,
    )  # fmt: skip
    return splats.rgb[0], splats.alpha[0]


def validate(state: State, material: Material, threads: int | None) -> float:
    """PSNR (dB) over the foreground of the validation frames, with codes as tracked.

    Where there is predicted motion, it is the mean of the figures under both.
    """
    now = state.snapshot()
    score = validation_score(state, material, now, threads)
    if score > state.best_score:
        state.best, state.best_score, state.best_step = now, score, state.step
    return score


def validation_score(state: State, material: Material, now: dict[str, Tensor], threads: int | None) -> float:
    """What :func:`validate` gives, of any snapshot."""
    tracks = [material.validation, *([] if material.driven is None else [material.driven.validation])]
    return sum(_validated(state, material, now, track, threads) for track in tracks) / len(tracks)


def _validated(
    state: State, material: Material, now: dict[str, Tensor], track: Track, threads: int | None
) -> float:
    size, count = state.config.size, len(material.train)
    square, pixels = 0.0, 0.0
    for index in range(len(track)):
        image = torch.from_numpy(material.picture(count + index, size)).to(state.device).float() / 255
        shown, _ = show(material.head, material.rest, now, track, index, size, None, threads)
        matte = image[..., 3:]
        on = (matte > 0.5).float()
        square += float(((shown.clamp(0, 1) - image[..., :3] * matte).square() * on).sum())
        pixels += 3 * float(on.sum())
    return psnr(square / max(pixels, 1))
