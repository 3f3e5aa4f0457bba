from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.avatar import fit as fit_module
from model.avatar.avatar import Avatar
from model.avatar.config import AvatarConfig
from model.avatar.draw import draw
from model.avatar.files import load_avatar, save_avatar
from model.avatar.fit import fit_avatar
from model.avatar.footage import Footage
from model.avatar.light import centred, light_of, lit
from model.gaussians import one_per_face
from model.head import HeadModel
from rsat_data.errors import HeadMismatch
from tests.model.avatar.conftest import CAMERA, SIZE, Recorder, footage_of

QUICK = AvatarConfig(
    size=SIZE, max_steps=60, budget_s=1e5, validation_frames=2, densify_rounds=0, code_lr=0, light_lr=0.03
)


def test_a_constant_scales_and_a_slope_follows_the_normals() -> None:
    vertices = torch.tensor([[[0.0, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 2.0]]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3]])  # normals -z and -y
    colours, face = torch.full((3, 3), 0.5), torch.tensor([0, 1, 1])
    light = torch.zeros(4, 3)
    light[0, 1] = 0.3
    assert lit(colours, vertices, faces, face, None) is colours
    found = lit(colours, vertices, faces, face, light)
    assert found.shape == (1, 3, 3) and torch.allclose(found[..., 0], torch.tensor(0.5))
    assert torch.allclose(found[..., 1], torch.tensor(0.5 * np.exp(0.3)).float())
    light[3] = 1.0
    found = lit(colours, vertices, faces, face, light)
    assert found[0, 0, 0] == pytest.approx(0.5 * np.exp(-1)) and found[0, 1, 0] == pytest.approx(0.5)


def test_lights_of_the_rows_trained_on_are_told_against_their_mean() -> None:
    light, trained = torch.randn(4, 4, 3), torch.tensor([True, False, True, True])
    found = centred(light, trained)
    assert torch.allclose(found[trained].mean(0), torch.zeros(4, 3), atol=1e-6) and not found[1].any()
    assert torch.allclose(found[0] - found[2], light[0] - light[2], atol=1e-6)


@pytest.fixture(scope="module")
def rows(head: HeadModel, codes: dict[str, np.ndarray], images: np.ndarray) -> list[Footage]:
    """The same person twice, the second time in yellow light of half the strength."""
    colour = np.where(images[..., 3:] > 0, images[..., :3] * np.array([0.6, 0.5, 0.3]), images[..., :3])
    yellow = np.concatenate([colour.astype(np.uint8), images[..., 3:]], axis=-1)
    return [footage_of(head, codes, images), replace(footage_of(head, codes, yellow), row_id="row_yellow")]


def test_two_lights_make_one_avatar(head: HeadModel, rows: list[Footage], tmp_path: Path) -> None:
    shape = rows[0].shape
    plain = fit_avatar(head, shape, rows, replace(QUICK, light_lr=0), floors=False)
    assert "light" not in plain.avatar.extras and light_of(plain.avatar, "row_made") is None
    fitted = fit_avatar(head, shape, rows, QUICK, floors=False)
    gain = (
        fitted.report["metrics"]["avatar"]["psnr_foreground"] - plain.report["metrics"]["avatar"]["psnr_foreground"]
    )
    assert gain > 2
    avatar = load_avatar(save_avatar(fitted.avatar, tmp_path), head)
    light = light_of(avatar, "row_yellow")
    assert light is not None and light_of(avatar, "row_other") is None
    assert torch.allclose(light, -avatar.extras["light"][0], atol=1e-5)
    assert light[0, 2] < light[0, 0] < 0, "darker, and blue most"
    given = {name: value[:1] for name, value in rows[1].codes.items()}
    yellow, mean = (draw(avatar, head, given, CAMERA, light=each)[0] for each in (light, None))
    assert yellow[..., 2].mean() < 0.85 * mean[..., 2].mean()


def test_an_interrupted_fit_keeps_its_lights(
    head: HeadModel, rows: list[Footage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(QUICK, max_steps=12, checkpoint_s=1e-9)
    whole = fit_avatar(head, rows[0].shape, rows, config, floors=False)
    take, count = fit_module.take_step, 0

    def interrupted(*arguments: object) -> float:
        nonlocal count
        count += 1
        if count == 7:
            raise KeyboardInterrupt
        return take(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_module, "take_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_avatar(head, rows[0].shape, rows, config, state=tmp_path, floors=False)
    again = fit_avatar(head, rows[0].shape, rows, config, state=tmp_path, floors=False)
    assert count == 13  # six, one lost, six more
    assert torch.equal(again.avatar.extras["light"], whole.avatar.extras["light"])
    assert torch.equal(again.avatar.gaussians.sh, whole.avatar.gaussians.sh)


def test_a_row_that_is_held_out_whole_has_the_mean_light(head: HeadModel, rows: list[Footage]) -> None:
    few = np.zeros(len(rows[0]), bool)
    few[:12] = True
    third = replace(rows[1], row_id="row_late", valid=few, frames=Recorder(np.zeros((40, SIZE, SIZE, 3), np.uint8)))
    fitted = fit_avatar(head, rows[0].shape, [*rows, third], replace(QUICK, max_steps=4), floors=False)
    light = fitted.avatar.extras["light"]
    assert light.shape == (3, 4, 3) and light[0].any() and not light[2].any()


def test_lights_of_another_number_of_rows_are_refused(head: HeadModel) -> None:
    avatar = Avatar(
        one_per_face(head), head.id, len(head.faces), torch.zeros(head.num_shape), None,
        {"light": torch.zeros(3, 4, 3)}, {"light_rows": ["a", "b"]},
    )  # fmt: skip
    with pytest.raises(HeadMismatch, match="light is"):
        light_of(avatar, "a")
