"""Stage 2: avatars refined under predicted motion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.avatar.avatar import Avatar
from model.avatar.driven import Driven, add_pull, agreement, driven_loss
from model.avatar.footage import Footage
from model.avatar.losses import photometric
from model.avatar.track import Track
from model.head import HeadModel, load_head
from model.train.appearance import choose, refine_avatar
from model.train.appearance_config import AppearanceConfig
from rsat_data.errors import ConfigError, HeadMismatch, SkippedSubject
from tests.avatar_factory import CAMERA
from tests.fitted_avatar import fit_quickly, footage_of, make_set

CONFIG = AppearanceConfig(
    budget_s=3600.0, max_steps=20, size=48, rate=1.0, judged_frames=6, checkpoint_s=0.0, keep_weight=0.0,
    perceptual_weight=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, head: HeadModel) -> tuple[Avatar, tuple[Footage, ...]]:
    out = make_set(tmp_path_factory.mktemp("painted"), ())
    avatar = fit_quickly(out, "ann")
    return avatar, footage_of(out, avatar, head)


def predictions(footage: tuple[Footage, ...], late: int = 2) -> dict[str, Mapping[str, np.ndarray]]:
    """Motion that is a little late and a little small, as a network's is."""
    names = ("expression", "jaw", "eyes")
    return {row.row_id: {n: 0.8 * np.roll(row.codes[n], late, axis=0) for n in names} for row in footage}


def test_helps_or_keeps_the_fitted_avatar(
    made: tuple[Avatar, tuple[Footage, ...]], head: HeadModel, tmp_path: Path
) -> None:
    avatar, footage = made
    before = avatar.gaussians.clone()
    result = refine_avatar(avatar, head, footage, predictions(footage), CONFIG, state=tmp_path, threads=1)
    report = result.report
    assert report["kept"] == "refined", report
    assert report["after"]["predicted"]["psnr_foreground"] > report["before"]["predicted"]["psnr_foreground"] + 0.02
    assert report["after"]["tracked"]["psnr_foreground"] > report["before"]["tracked"]["psnr_foreground"] - 0.1
    assert report["validation_after"] > report["validation_before"] and report["driven_frames"] > 10
    assert len(result.avatar.gaussians) == len(before) and torch.equal(result.avatar.gaussians.face, before.face)
    assert not torch.equal(result.avatar.gaussians.sh, before.sh) and torch.equal(avatar.gaussians.sh, before.sh)
    assert not list(tmp_path.iterdir())  # nothing is left to go on from
    # Asked for a gain that is not to be had, it keeps what was fitted, and says so.
    kept = refine_avatar(
        avatar, head, footage, predictions(footage), replace(CONFIG, max_steps=3, least_gain_db=50.0), threads=1
    )
    assert kept.report["kept"] == "fitted" and kept.report["why"]
    assert torch.equal(kept.avatar.gaussians.sh, before.sh)


def test_stopped_and_resumed_is_the_same_to_the_bit(
    made: tuple[Avatar, tuple[Footage, ...]], head: HeadModel, tmp_path: Path
) -> None:
    avatar, footage = made
    told = predictions(footage)

    def stop(share: float, note: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refine_avatar(avatar, head, footage, told, CONFIG, state=tmp_path, progress=stop, threads=1)
    assert list(tmp_path.iterdir())
    shares: list[float] = []
    again = refine_avatar(
        avatar, head, footage, told, CONFIG, state=tmp_path, progress=lambda s, n: shares.append(s), threads=1
    )
    whole = refine_avatar(avatar, head, footage, told, CONFIG, threads=1)
    assert min(shares) > 0.4  # it went on from where it was stopped
    for name, value in whole.avatar.gaussians.parameters().items():
        assert torch.equal(value, again.avatar.gaussians.parameters()[name]), name
    for key in ("before", "after", "validation_before", "validation_after", "best_step"):
        assert whole.report[key] == again.report[key], key


def test_what_does_not_go_together_is_refused(made: tuple[Avatar, tuple[Footage, ...]], head: HeadModel) -> None:
    avatar, footage = made
    told = {name: dict(codes) for name, codes in predictions(footage).items()}
    short = {name: {**codes, "expression": codes["expression"][:, :-1]} for name, codes in told.items()}
    with pytest.raises(HeadMismatch, match="predicted expression"):
        refine_avatar(avatar, head, footage, short, CONFIG)
    with pytest.raises(SkippedSubject, match="no training frame|No training frame"):
        refine_avatar(avatar, head, footage, {}, CONFIG)
    with pytest.raises(SkippedSubject, match="not fitted"):
        refine_avatar(replace(avatar, about={}), head, footage, told, CONFIG)
    with pytest.raises(HeadMismatch):
        refine_avatar(replace(avatar, head="other-head-1.0@000000000000"), head, footage, told, CONFIG)
    for wrong in ({"share": 2.0}, {"size": 31}, {"stage": 2}, {"motion": "both"}, {"rate": 0.0}, {"keep_weight": -1.0}):
        with pytest.raises(ConfigError, match=f"appearance.{next(iter(wrong))}"):
            replace(CONFIG, **wrong)


def test_pixels_agree_where_the_face_is_at_the_same_place(head: HeadModel) -> None:
    codes = {"rotation": torch.zeros(1, 3), "translation": torch.tensor([[0.0, 0.02, 0.75]])}
    shape = torch.zeros(head.num_shape)
    closed, _ = head.pose(shape, jaw=torch.zeros(1, 3), **codes)
    opened, _ = head.pose(shape, jaw=torch.tensor([[0.25, 0.0, 0.0]]), **codes)
    assert bool((agreement(head, closed, closed, CAMERA, 1.0) == 1).all())
    weight = agreement(head, closed, opened, CAMERA, 1.0)
    marks = head.landmark_points(closed)[0]

    def at(landmark: int) -> float:
        x, y, z = marks[landmark].tolist()
        column, line = CAMERA.fx * x / z + CAMERA.cx, CAMERA.fy * y / z + CAMERA.cy
        return float(weight[int(line), int(column)])

    chin, forehead = 152, 10
    assert at(chin) < 0.2 and at(forehead) > 0.95
    assert torch.equal(weight, agreement(head, opened, closed, CAMERA, 1.0))  # whichever is called the tracked one


def test_only_agreeing_pixels_pull_and_the_rest_as_a_coarse_grid() -> None:
    generator = torch.Generator().manual_seed(3)
    image, target = (torch.rand(32, 32, 3, generator=generator) for _ in range(2))
    image.requires_grad_(True)
    weight = torch.zeros(32, 32)
    weight[:, :16] = 1.0
    driven_loss(image, target, weight, 0.0, 0.0).backward()
    assert image.grad is not None and bool((image.grad[:, 16:] == 0).all()) and bool((image.grad[:, :16] != 0).all())
    image.grad = None
    driven_loss(image, target, weight, 0.0, 1.0).backward()
    assert bool((image.grad[:, 16:] != 0).any())
    with torch.no_grad():
        everywhere = driven_loss(image, target, torch.ones(32, 32), 0.2, 0.0)
        assert float(everywhere) == pytest.approx(float(photometric(image, target, 0.2)), rel=1e-5)


def test_steps_under_prediction_are_spread_evenly(made: tuple[Avatar, tuple[Footage, ...]]) -> None:
    avatar, _ = made
    track = Track((), {}, torch.zeros(0, 6), ())
    driven = Driven(track, track, (0, 1), 0.25, 1.0, 0.0, 0.0, avatar.gaussians, {})
    due = [driven.is_due(step) for step in range(400)]
    assert sum(due) == 100 and all(sum(due[i : i + 8]) == 2 for i in range(0, 400, 8))
    assert not any(replace(driven, known=()).is_due(step) for step in range(20))


def test_the_pull_leads_back_to_the_fitted_avatar(made: tuple[Avatar, tuple[Footage, ...]]) -> None:
    avatar, _ = made
    moved = avatar.gaussians.clone()
    moved.sh += 0.5
    units = dict.fromkeys(moved.parameters(), 0.1)
    track = Track((), {}, torch.zeros(0, 6), ())
    driven = Driven(track, track, (), 0.5, 1.0, 0.0, 2.0, avatar.gaussians, units)
    for value in moved.parameters().values():
        value.grad = torch.zeros_like(value)
    add_pull(moved, driven)
    assert moved.sh.grad is not None and moved.mean.grad is not None
    assert torch.allclose(moved.sh.grad, torch.full_like(moved.sh, 2.0 * 0.5 / 0.01 / len(moved)), rtol=1e-4)
    assert bool((moved.mean.grad == 0).all())


@pytest.mark.parametrize(
    ("predicted", "tracked", "kept"), [(0.3, 0.1, "refined"), (0.3, -0.3, "fitted"), (0.01, 0.5, "fitted")]
)
def test_which_avatar_is_kept(predicted: float, tracked: float, kept: str) -> None:
    before = {motion: {"psnr_foreground": 25.0} for motion in ("predicted", "tracked")}
    after = {"predicted": {"psnr_foreground": 25 + predicted}, "tracked": {"psnr_foreground": 25 + tracked}}
    assert choose(before, after, CONFIG)[0] == kept
