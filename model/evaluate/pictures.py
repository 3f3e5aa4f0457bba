"""Pictures of a prediction: a subject's avatar under predicted motion, beside the frames of its row.

Expression, jaw and eyes are the prediction's; the head stands as it was tracked, for a nod that comes a little later
would move every pixel and say nothing (``pose="predicted"`` lets it turn as predicted all the same). Shoulders, whose
own motion no code knows, do not count. The same avatar under the tracked codes is the upper bound; under the mean of a
person's reference, a face that stands still, it is the floor. Truth and drawings are composited on black with the
truth's matte; frames that the avatar was fitted to do not count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.avatar.avatar import Avatar
from model.avatar.draw import draw
from model.avatar.footage import Footage, Frame, pictures
from model.avatar.light import light_of
from model.avatar.posing import pose_on_torso, rest_pose
from model.avatar.torso import shoulders
from model.camera import project
from model.evaluate.intervals import Bootstrap, Cells, Estimate
from model.evaluate.predictors import Predictor, counted
from model.head import HeadModel
from model.metrics.image import psnr, ssim
from model.metrics.perceptual import MIN_SIDE, lpips, st_lpips, st_lpips_at_hand
from model.metrics.regions import region_masks
from model.motion.conversation import PERSONS, Conversation
from model.motion.reference import reference_frames
from rsat_data.errors import ConfigError, MissingDependencyError, ModelFileError

TRACKED, STILL = "tracked", "static_mean"
MOST, PERCEPTUAL_MOST, PERCEPTUAL_FRAMES = 400, 100, 5
"""Frames of a split that are drawn at most; frames that the perceptual figures are worked out for, of a split and of a
person in a clip, since a pair of them takes a quarter of a second of one core."""
POSES = ("tracked", "predicted")
FIGURES = {
    "psnr_head": ("PSNR", "dB", "higher"),
    "psnr_mouth": ("PSNR mouth", "dB", "higher"),
    "ssim_head": ("SSIM", "1", "higher"),
    "st_lpips_head": ("ST-LPIPS", "1", "lower"),
    "lpips_whole": ("LPIPS", "1", "lower"),
}
"""Figure -> title, unit, which is better."""
_CODE = {"expression": "expression", "jaw": "jaw", "eyes": "eyes", "pose": "rotation"}


@dataclass(frozen=True)
class PictureConfig:
    """Options of the pictures."""

    frames: int = 10
    """Frames a person in a clip, evenly spread over those that count, at most; where there are many people, fewer of
    each (:data:`MOST`). 0 leaves pictures out."""
    size: int = 0
    """Side, pixels; 0 for that which each avatar was fitted to."""
    pose: str = "tracked"
    """How the head stands: tracked or predicted."""

    def __post_init__(self) -> None:
        """Refuse options that make no sense.

        Raises:
            ConfigError: naming the option.
        """
        if self.frames < 0:
            raise ConfigError(f"frames should be at least 0, got {self.frames}.")
        if self.size and not MIN_SIDE <= self.size <= 1024:
            raise ConfigError(f"size should be 0, or lie between {MIN_SIDE} and 1024, got {self.size}.")
        if self.pose not in POSES:
            raise ConfigError(f"pose should be one of {', '.join(POSES)}, got {self.pose!r}.")


@dataclass(frozen=True, eq=False)
class Sitting:
    """A person in a clip whose avatar is known."""

    avatar: Avatar
    """On the device that draws."""
    head: HeadModel
    """The avatar's own, on the CPU."""
    row: Footage
    """The clip's row, with mattes."""
    unseen: np.ndarray
    """(T,) bool: frames that the avatar was not fitted to."""
    source: str
    """dataset, or stage 2."""


@dataclass(frozen=True)
class PictureFigure:
    """One figure of one method."""

    method: str
    """tracked, static_mean, or a model's name."""
    title: str
    """What people read."""
    kind: str
    """truth (the upper bound), model or floor."""
    figure: str
    """Of :data:`FIGURES`."""
    estimate: Estimate
    """With its interval over dyads."""


@dataclass(frozen=True)
class Pictures:
    """Image metrics of a split."""

    split: str
    """test, ood..."""
    figures: tuple[PictureFigure, ...] = ()
    """All of them."""
    gains: tuple[tuple[str, str, Estimate], ...] = ()
    """Model, figure, how much better than the static mean; paired, positive is better."""
    sittings: int = 0
    """Persons in clips that were drawn."""
    people: int = 0
    """Persons in clips of the split."""
    frames: int = 0
    """Frames drawn by each method."""
    sources: tuple[str, ...] = ()
    """Where the avatars come from."""
    pose: str = "tracked"
    """How the head stands."""
    size: str = ""
    """Sides of the pictures, pixels."""
    draws_per_second: float | None = None
    """Pictures drawn per second, decoding and comparison not counted."""
    note: str = ""
    """Why there is none, or what is missing."""


Sit = Callable[[Conversation, str], Sitting | None]


def judge_pictures(
    split: str,
    talks: Sequence[Conversation],
    models: Sequence[Predictor],
    sit: Sit,
    config: PictureConfig,
    reference_s: float,
    bootstrap: Bootstrap,
    progress: Callable[[float], None] = lambda share: None,
    threads: int = 1,
) -> Pictures:
    """Image metrics of a split.

    Args:
        split: its name.
        talks: its conversations.
        models: what is judged.
        sit: gives avatar and row of a person in a conversation; None where there is no avatar or no picture.
        config: options.
        reference_s: seconds at a clip's beginning that do not count.
        bootstrap: how intervals are made.
        progress: told the share that is done.
        threads: of the kernels.
    """
    judge = _Judge(models, config, threads, 2 * len(talks))
    dyads: list[str] = []
    rows: list[dict[tuple[str, str], float]] = []
    sources: set[str] = set()
    frames, spent = 0, 0.0
    for done, talk in enumerate(talks):
        for person in PERSONS:
            sitting = sit(talk, person)
            chosen = [] if sitting is None else _chosen(talk, person, sitting, reference_s, judge.frames)
            if sitting is None or not chosen:
                continue
            found, seconds = judge(talk, person, sitting, chosen, reference_s)
            rows.append(found)
            dyads.append(talk.dyad_id)
            sources.add(sitting.source)
            frames, spent = frames + len(chosen), spent + seconds
        progress((done + 1) / len(talks))
    people = 2 * len(talks)
    if not rows:
        return Pictures(split, people=people, pose=config.pose)
    numbers = np.unique(np.asarray(dyads, object).astype(str), return_inverse=True)[1].astype(np.int64)
    figures, gains = [], []
    for figure, (_, _, better) in FIGURES.items():
        cells = {method: _cells(rows, method, figure) for method, _, _ in judge.methods}
        if not any((cell.weight > 0).any() for cell in cells.values()):
            continue
        for method, title, kind in judge.methods:
            figures.append(PictureFigure(method, title, kind, figure, bootstrap.figure(cells[method], numbers)))
            if kind == "model":
                pair = (cells[method], cells[STILL])
                gain = bootstrap.difference(*(pair if better == "higher" else pair[::-1]), numbers)
                gains.append((method, figure, gain))
    speed = frames * len(judge.methods) / max(spent, 1e-9)
    return Pictures(
        split, tuple(figures), tuple(gains), len(rows), people, frames, tuple(sorted(sources)), config.pose,
        ", ".join(f"{size} x {size}" for size in sorted(judge.sizes)), speed, judge.note,
    )  # fmt: skip


def _cells(rows: Sequence[Mapping[tuple[str, str], float]], method: str, figure: str) -> Cells:
    values = np.asarray([row.get((method, figure), math.nan) for row in rows], np.float64)
    return Cells(values, np.isfinite(values).astype(np.float64))


def _chosen(talk: Conversation, person: str, sitting: Sitting, reference_s: float, count: int) -> list[int]:
    """Frames that are compared, evenly spread over those that count."""
    there = np.flatnonzero(counted(talk, person, reference_s) & sitting.unseen & sitting.row.usable())
    if len(there) > count:
        there = there[[int((i + 0.5) / count * len(there)) for i in range(count)]]
    return [int(frame) for frame in there]


class _Judge:
    """Draws and compares one person in one clip after the other."""

    def __init__(self, models: Sequence[Predictor], config: PictureConfig, threads: int, people: int) -> None:
        self.models, self.config, self.threads = models, config, threads
        self.sizes: set[int] = set()
        self.frames = min(config.frames, max(MOST // people, 2))
        self.perceptual = min(PERCEPTUAL_FRAMES, max(PERCEPTUAL_MOST // people, 1))
        self.methods = [(TRACKED, "tracked motion (upper bound)", "truth")]
        self.methods += [(model.name, model.title, "model") for model in models]
        self.methods.append((STILL, "static mean", "floor"))
        self.weights = st_lpips_at_hand()
        self.lpips = _has_lpips()
        missing = [
            name for name, there in (("ST-LPIPS", self.weights is not None), ("LPIPS", self.lpips)) if not there
        ]  # fmt: skip
        self.note = f"left out, since its weights are not on this machine: {' and '.join(missing)}" if missing else ""

    def __call__(
        self, talk: Conversation, person: str, sitting: Sitting, chosen: Sequence[int], reference_s: float
    ) -> tuple[dict[tuple[str, str], float], float]:
        """(method, figure) -> mean over the frames, and the seconds that drawing took."""
        size = side_of(sitting.avatar, self.config)
        self.sizes.add(size)
        identity = sitting.head.shaped(torch.from_numpy(np.array(sitting.row.shape)))
        truths, masks = [], []
        for index, picture in pictures([sitting.row], [Frame(0, t) for t in chosen], size, self.threads):
            image = torch.from_numpy(picture.astype(np.float32) / 255)
            body = shoulders(sitting.head, identity, sitting.row, Frame(0, chosen[index]), picture)
            truths.append(image[..., :3] * image[..., 3:])
            masks.append((image[..., 3] > 0.5) & ~torch.from_numpy(body))
        truth, shown = torch.stack(truths), torch.stack(masks)
        mouth = _mouth(sitting, chosen, size)
        found: dict[tuple[str, str], float] = {}
        seconds = 0.0
        for method, codes in self._codes(talk, person, sitting, chosen, reference_s):
            begin = time.perf_counter()
            drawn = self._draw(sitting, codes, size)
            seconds += time.perf_counter() - begin
            for figure, values in self._compare(drawn, truth, shown, mouth).items():
                found[method, figure] = float(values.nanmean())
        return found, seconds

    def _codes(
        self, talk: Conversation, person: str, sitting: Sitting, chosen: Sequence[int], reference_s: float
    ) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """Method and its codes of the frames chosen."""
        tracked = {name: values[list(chosen)] for name, values in sitting.row.codes.items()}
        yield TRACKED, tracked
        moved = [name for name in _CODE if name != "pose" or self.config.pose == "predicted"]
        for model in self.models:
            codes = model.predict(talk, person)
            yield model.name, tracked | {_CODE[g]: np.asarray(codes[g], np.float32)[list(chosen)] for g in moved}
        stop = reference_frames(talk.num_frames, reference_s)
        known = np.flatnonzero(talk.valid[person][:stop])
        still = dict(tracked)
        for group in moved:
            values = talk.codes[person][_CODE[group]]
            mean = values[known].mean(0) if len(known) else np.zeros(values.shape[1], np.float32)
            still[_CODE[group]] = np.repeat(mean[None].astype(np.float32), len(chosen), axis=0)
        yield STILL, still

    def _draw(self, sitting: Sitting, codes: Mapping[str, np.ndarray], size: int) -> Tensor:
        row = sitting.row
        rotation, translation = (torch.from_numpy(np.array(row.codes[n])) for n in ("rotation", "translation"))
        rest = rest_pose(rotation, translation, torch.from_numpy(row.usable()))
        rgb, _ = draw(
            sitting.avatar, sitting.head, codes, row.camera, size=(size, size), rest=rest,
            light=light_of(sitting.avatar, row.row_id), threads=self.threads,
        )  # fmt: skip
        return rgb.cpu()

    @torch.no_grad()
    def _compare(self, drawn: Tensor, truth: Tensor, shown: Tensor, mouth: Tensor | None) -> dict[str, Tensor]:
        """Figure -> one number a frame."""
        found = {"psnr_head": psnr(drawn, truth, shown), "ssim_head": ssim(drawn, truth, shown)}
        if mouth is not None:
            found["psnr_mouth"] = psnr(drawn, truth, mouth & shown)
        count = min(self.perceptual, len(drawn))
        some = [int((i + 0.5) / count * len(drawn)) for i in range(count)]
        if self.weights is not None:
            found["st_lpips_head"] = st_lpips(drawn[some], truth[some], shown[some], self.weights)
        if self.lpips:
            found["lpips_whole"] = lpips(drawn[some], truth[some])
        return found


def side_of(avatar: Avatar, config: PictureConfig) -> int:
    """Side of an avatar's pictures: what it was fitted to, 256 where it does not say; Gaussians look right there."""
    fit = avatar.about.get("config")
    own = fit.get("size") if isinstance(fit, Mapping) else None
    found = config.size or (own if isinstance(own, int) else 256)
    return max(MIN_SIDE, min(found, 1024))


def _mouth(sitting: Sitting, chosen: Sequence[int], size: int) -> Tensor | None:
    """(n, size, size) bool: the mouth of the tracked head, the same for all methods; None without landmarks."""
    head = sitting.head
    if head.landmarks is None:
        return None
    identity = head.shaped(torch.from_numpy(np.array(sitting.row.shape)))
    codes = {name: torch.from_numpy(np.array(values[list(chosen)])) for name, values in sitting.row.codes.items()}
    with torch.no_grad():
        points = head.landmark_points(pose_on_torso(head, identity, codes, None))
    return region_masks(project(points, sitting.row.camera.scaled(size, size)), size, size)["mouth"]


def _has_lpips() -> bool:
    """Whether LPIPS can be worked out on this machine."""
    grey = torch.full((1, 64, 64, 3), 0.5)
    try:
        with torch.no_grad():
            lpips(grey, grey)
    except (MissingDependencyError, ModelFileError):
        return False
    return True
