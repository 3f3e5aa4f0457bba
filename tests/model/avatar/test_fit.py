from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.avatar import fit as fit_module
from model.avatar import state as state_module
from model.avatar.avatar import Avatar
from model.avatar.config import AvatarConfig
from model.avatar.draw import draw
from model.avatar.files import load_avatar, save_avatar
from model.avatar.fit import FittedAvatar, fit_avatar
from model.avatar.footage import Footage
from model.head import HeadModel
from model.metrics.perceptual import StLpips, st_lpips
from rsat_data.errors import DatasetError, HeadMismatch
from tests.model.avatar.conftest import CAMERA, FRAMES, SIZE

QUICK = AvatarConfig(
    size=SIZE, max_steps=40, budget_s=1e5, validation_frames=2, densify_rounds=2, code_from=0.4
)


def untrained_st_lpips() -> StLpips:
    """The network with weights drawn at random, for machines that have not fetched the real ones."""
    random = torch.Generator().manual_seed(0)
    shapes = ((64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3))
    kernels = tuple((torch.randn(shape, generator=random) / 30, torch.zeros(shape[0])) for shape in shapes)
    return StLpips(kernels, tuple(torch.rand(shape[0], generator=random) for shape in shapes))


@pytest.fixture(scope="module")
def fitted(head: HeadModel, codes: dict[str, np.ndarray], images: np.ndarray) -> FittedAvatar:
    from tests.model.avatar.conftest import footage_of

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module, "st_lpips_at_hand", untrained_st_lpips)
        return fit_avatar(head, np.zeros(head.num_shape), [footage_of(head, codes, images)], QUICK)


def test_a_perceptual_term_is_looked_at_when_due_and_where_its_weights_are(monkeypatch: pytest.MonkeyPatch) -> None:
    network = untrained_st_lpips()
    monkeypatch.setattr(state_module, "st_lpips_at_hand", lambda device: network)
    config = AvatarConfig(perceptual_weight=0.5, perceptual_every=4, perceptual_from=0.25)
    drawn, target = torch.rand(2, 1, 32, 32, 3, generator=torch.Generator().manual_seed(1))
    drawn.requires_grad_(True)
    term = state_module.perceptual_term(config, 8, 0.25, drawn, target)
    assert term is not None
    assert term.item() == pytest.approx(2.0 * st_lpips(drawn, target, weights=network).item())
    term.backward()
    assert drawn.grad is not None and drawn.grad.norm() > 0
    assert state_module.perceptual_term(config, 9, 0.25, drawn, target) is None
    assert state_module.perceptual_term(config, 8, 0.2, drawn, target) is None
    assert state_module.perceptual_term(replace(config, perceptual_weight=0.0), 8, 0.25, drawn, target) is None
    assert state_module.perceptual_term(config, 8, 0.25, drawn[:, :30], target[:, :30]) is None  # too small for it
    monkeypatch.setattr(state_module, "st_lpips_at_hand", lambda device: None)
    assert state_module.perceptual_term(config, 8, 0.25, drawn, target) is None


def test_a_fit_follows_the_perceptual_term(
    head: HeadModel, codes: dict[str, np.ndarray], images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.model.avatar.conftest import footage_of

    network = untrained_st_lpips()
    monkeypatch.setattr(state_module, "st_lpips_at_hand", lambda device: network)
    monkeypatch.setattr(fit_module, "st_lpips_at_hand", lambda device="cpu": network)
    config = replace(QUICK, max_steps=6, track_torso=False, densify_rounds=0, perceptual_every=1, perceptual_from=0.0)
    ends = []
    for weight in (0.0, 5.0):
        weighed = replace(config, perceptual_weight=weight)
        done = fit_avatar(head, np.zeros(head.num_shape), [footage_of(head, codes, images)], weighed, floors=False)
        assert done.report["perceptual"] == (weight > 0)
        ends.append(done.avatar.gaussians.sh)
    assert not torch.equal(*ends)


def test_a_short_fit_beats_the_pictures_it_could_have_copied(fitted: FittedAvatar) -> None:
    metrics = fitted.report["metrics"]
    assert set(metrics) == {"avatar", "mean", "nearest", "mesh"}
    assert fitted.report["still_torso"]["psnr_foreground"] > 15
    for floor in ("mean", "nearest"):
        assert metrics["avatar"]["psnr_foreground"] > metrics[floor]["psnr_foreground"] + 1
    for region in ("foreground", "head", "whole", "mouth", "eyes"):
        assert 15 < metrics["avatar"][f"psnr_{region}"] < 60
        assert 0.5 < metrics["avatar"][f"ssim_{region}"] <= 1
    for floor in ("mean", "nearest"):
        assert 0 < metrics["avatar"]["st_lpips_foreground"] < metrics[floor]["st_lpips_foreground"]
    assert fitted.report["steps"] == 40
    assert fitted.report["training_frames"] + 2 == round(0.7 * FRAMES)
    assert metrics["avatar"]["frames"] == FRAMES - round(0.7 * FRAMES)


def test_every_face_owns_a_gaussian(fitted: FittedAvatar, head: HeadModel) -> None:
    gaussians = fitted.avatar.gaussians
    assert len(torch.unique(gaussians.face)) == len(head.faces)
    assert len(gaussians) > len(head.faces)
    assert all(bool(torch.isfinite(value).all()) for value in gaussians.parameters().values())


def same(one: Avatar, other: Avatar) -> bool:
    first, second = one.gaussians.parameters(), other.gaussians.parameters()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("stop", [1, 23])
def test_an_interrupted_fit_ends_as_if_it_had_not_been(
    head: HeadModel, footage: Footage, fitted: FittedAvatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    take = fit_module.take_step
    count = 0

    def interrupted(*args: object) -> float:
        nonlocal count
        count += 1
        result = take(*args)  # type: ignore[arg-type]
        if count == stop:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(fit_module, "take_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_avatar(head, footage.shape, [footage], replace(QUICK, checkpoint_s=1e-9), state=tmp_path, floors=False)
    monkeypatch.setattr(fit_module, "take_step", take)
    again = fit_avatar(head, footage.shape, [footage], QUICK, state=tmp_path, floors=False)
    assert again.report["steps"] == 40
    assert same(again.avatar, fitted.avatar)
    assert not list(tmp_path.iterdir())


def test_a_spent_budget_still_gives_an_avatar(head: HeadModel, footage: Footage) -> None:
    heard: list[float] = []
    quick = replace(QUICK, max_steps=0, budget_s=1e-3)
    result = fit_avatar(
        head, footage.shape, [footage], quick, progress=lambda share, _: heard.append(share), floors=False
    )
    assert result.report["steps"] == 0 and heard[-1] == 1.0
    # The start alone is made of what the pictures show.
    assert result.report["metrics"]["avatar"]["psnr_foreground"] > 18


def test_drawing_gives_what_was_judged_and_survives_files(
    head: HeadModel, fitted: FittedAvatar, footage: Footage, tmp_path: Path
) -> None:
    save_avatar(fitted.avatar, tmp_path)
    avatar = load_avatar(tmp_path, head)
    rgb, alpha = draw(avatar, head, footage.codes, CAMERA)
    assert rgb.shape == (FRAMES, SIZE, SIZE, 3) and alpha.shape == (FRAMES, SIZE, SIZE)
    matte = footage.mattes(0, FRAMES).astype(np.float32) / 255  # type: ignore[misc]
    truth = footage.frames(0, FRAMES) / 255.0 * matte[..., None]
    test = slice(round(0.7 * FRAMES), None)
    error = np.square(rgb.numpy() - truth)[test][matte[test] > 0.5].mean()
    assert -10 * np.log10(error) == pytest.approx(fitted.report["metrics"]["avatar"]["psnr_foreground"], abs=0.5)
    assert np.abs(alpha.numpy() - matte).mean() < 0.05
    wide, _ = draw(
        avatar, head, {"rotation": np.zeros((2, 3)), "translation": np.array([[0, 0, 1.0]] * 2)}, CAMERA,
        size=(96, 80), background=torch.tensor([0.0, 1.0, 0.0]),
    )  # fmt: skip
    assert wide.shape == (2, 80, 96, 3)
    assert wide[0, 0, 0].tolist() == pytest.approx([0, 1, 0], abs=0.02)
    with pytest.raises(HeadMismatch):
        draw(avatar, head, {"expression": np.zeros((2, 7))}, CAMERA)


def test_without_a_matte_the_mesh_is_the_subject(head: HeadModel, changed: Callable[..., Footage]) -> None:
    footage = changed(mattes=None)
    result = fit_avatar(head, footage.shape, [footage], replace(QUICK, max_steps=4), floors=False)
    assert result.report["matte"] == "mesh"
    _, alpha = draw(result.avatar, head, {name: value[:2] for name, value in footage.codes.items()}, CAMERA)
    assert alpha[:, :4, :4].max() < 0.1, "the wall is no part of the avatar"
    assert alpha.max() > 0.9


def test_equal_frames_and_broken_codes(head: HeadModel, changed: Callable[..., Footage]) -> None:
    footage = changed()
    frozen = np.repeat(footage.frames(0, 1), FRAMES, axis=0)
    still = {name: np.repeat(value[:1], FRAMES, axis=0) for name, value in footage.codes.items()}
    still["jaw"][3] = np.nan
    result = fit_avatar(
        head, footage.shape, [changed(frames=lambda a, b: frozen[a:b], codes=still)], replace(QUICK, max_steps=4)
    )
    assert all(bool(torch.isfinite(value).all()) for value in result.avatar.gaussians.parameters().values())
    assert result.report["metrics"]["nearest"]["psnr_foreground"] > 20


def test_too_little_footage_is_said(head: HeadModel, changed: Callable[..., Footage]) -> None:
    few = np.zeros(FRAMES, bool)
    few[:6] = True
    with pytest.raises(DatasetError, match=r"Too few frames.*6 are valid.*row_made"):
        fit_avatar(head, changed().shape, [changed(valid=few)], QUICK)
    few[:12] = True
    result = fit_avatar(head, changed().shape, [changed(valid=few)], replace(QUICK, max_steps=3), floors=False)
    assert result.report["training_frames"] == 7 and result.report["test_frames"] == 4
    with pytest.raises(DatasetError, match="Too few"):
        fit_avatar(head, changed().shape, [], QUICK)


def test_shape_codes_of_another_head(head: HeadModel, footage: Footage) -> None:
    with pytest.raises(DatasetError, match="shape code"):
        fit_avatar(head, np.zeros(7), [footage], QUICK)
    with pytest.raises(DatasetError, match="shape code"):
        fit_avatar(head, np.full(head.num_shape, np.nan), [footage], QUICK)
