"""ST-LPIPS against figures of the published program, and what is done where weights are missing or wrong."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.metrics import perceptual
from model.metrics.perceptual import StLpips, load_st_lpips, lpips, st_lpips, st_lpips_at_hand
from rsat_data.errors import ModelFileError
from rsat_data.registry import model_path


@pytest.fixture(scope="module")
def weights() -> StLpips:
    try:
        return load_st_lpips(model_path("st-lpips", offline=not os.environ.get("RSAT_TEST_FETCH")))
    except ModelFileError as error:
        pytest.skip(f"the weights of ST-LPIPS are not here (rsat-data models fetch st-lpips): {error.message}")


def picture(seed: float, height: int = 70, width: int = 83) -> Tensor:
    y, x = np.mgrid[:height, :width] / 20.0
    waves = [np.sin((1 + c) * x + seed) * np.cos((2 - 0.5 * c) * y + 2 * seed) for c in range(3)]
    return torch.from_numpy((0.5 + 0.5 * np.stack(waves, -1)).astype(np.float32))[None]


def test_figures_of_the_published_program(weights: StLpips) -> None:
    """Computed with stlpips-pytorch 0.0.2, LPIPS(net="alex", variant="shift_tolerant"), normalize=True."""
    image = torch.cat([picture(0), picture(2)])
    target = torch.cat([picture(1), picture(3)])
    with torch.no_grad():
        assert st_lpips(image, target, weights=weights).tolist() == pytest.approx([0.58332431, 0.46985191], rel=1e-4)
        shifted = st_lpips(image[:1, :, 1:], image[:1, :, :-1], weights=weights)
        assert shifted.item() == pytest.approx(0.0053156, rel=1e-3)
        assert st_lpips(image, image, weights=weights).tolist() == [0.0, 0.0]


def test_masks_choose_where_it_is_measured(weights: StLpips) -> None:
    image, target = picture(0, 64, 64), picture(0, 64, 64)
    target[:, :, 40:] = 0.0
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :16] = 1
    with torch.no_grad():
        left = st_lpips(image, target, mask, weights)
        right = st_lpips(image, target, mask.flip(2), weights)
        none = st_lpips(image, target, 0 * mask, weights)
    assert left.item() < 0.2 * right.item()
    assert torch.isnan(none).all()


def test_gradients_are_numbers_even_on_plain_black(weights: StLpips) -> None:
    image = torch.zeros(1, 40, 40, 3, requires_grad=True)
    st_lpips(image, picture(0, 40, 40), weights=weights).sum().backward()
    assert image.grad is not None and torch.isfinite(image.grad).all() and bool(image.grad.any())


def test_weights_at_hand_or_none_and_never_the_network(
    weights: StLpips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = st_lpips_at_hand()
    assert found is not None and torch.equal(found.heads[0], weights.heads[0])
    monkeypatch.setenv("RSAT_DATA_HOME", str(tmp_path))
    assert st_lpips_at_hand() is None


def test_small_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="32 x 32"):
        st_lpips(torch.zeros(1, 16, 64, 3), torch.zeros(1, 16, 64, 3))


def test_files_that_are_not_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    for content in (b"", b"PK\x03\x04 not a zip", b"\x80\x04cos\nsystem\n(S'true'\ntR."):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"w\.pth"):
            load_st_lpips(path)
    for value in ([1], {"net.slice1.0.weight": torch.zeros(2)}, {}):
        torch.save(value, path)
        with pytest.raises(ModelFileError, match=r"w\.pth"):
            load_st_lpips(path)


def test_lpips_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual.torch.hub, "get_dir", lambda: str(tmp_path))
    image = torch.zeros(1, 64, 64, 3)
    with pytest.raises(ModelFileError, match="alexnet-owt-7be5be79") as caught:
        lpips(image, image)
    assert "ST-LPIPS" in caught.value.hint
    with pytest.raises(ValueError, match="alex and vgg"):
        lpips(image, image, net="squeeze")
