"""The segmentation network: its shapes, its filters, its answers on a real call, and the safety of its load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.speech.pyannet import (
    WINDOW_SAMPLES,
    PyanNet,
    SincFilters,
    frame_times,
    load_pyannet,
    num_frames,
)
from rsat_data.errors import ModelFileError
from rsat_data.registry import model_path


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    try:
        return model_path("pyannote-segmentation")
    except ModelFileError as error:
        pytest.skip(f"no segmentation model here: {error.message}")


def test_shapes_and_frame_counts() -> None:
    torch.manual_seed(0)
    network = PyanNet().eval()
    with torch.inference_mode():
        for samples in (1261, 5000, 16001):
            out = network(torch.randn(2, samples))
            assert out.shape == (2, num_frames(samples), 3)
            assert ((out >= 0) & (out <= 1)).all()
    assert num_frames(WINDOW_SAMPLES) == 293
    assert num_frames(990) == 0


def test_windows_are_what_each_alone_would_be(checkpoint: Path) -> None:
    network = load_pyannet(checkpoint)
    torch.manual_seed(0)
    waveform = 0.1 * torch.randn(7 * 16000) + 0.3
    waveform[3 * 16000 : 4 * 16000] *= 20
    starts = [0, 320, 8000, 16000, 31680]
    with torch.inference_mode():
        alone = torch.cat([network(waveform[None, start : start + WINDOW_SAMPLES]) for start in starts])
        together = network.windows(waveform, starts, window=WINDOW_SAMPLES, batch=3)
    assert together.shape == alone.shape
    assert float((together - alone).abs().max()) < 2e-4
    with pytest.raises(ValueError, match="multiples of 10"):
        network.windows(waveform, [0, 325], window=WINDOW_SAMPLES)


def test_frame_times_are_the_centres_of_what_frames_see() -> None:
    """Changing a sample moves just the convolution outputs whose field holds it."""
    torch.manual_seed(0)
    network = PyanNet().eval().sincnet
    for norm in (network.wav_norm1d, *network.norm1d):
        norm.forward = lambda x: x  # normalisation looks at the whole window
    silence = torch.zeros(1, 1, 8000)
    touched = silence.clone()
    touched[0, 0, 4000] = 1.0
    with torch.inference_mode():
        network.conv1d[0].filterbank.window_.fill_(1.0)
        moved = (network(touched) - network(silence)).abs().sum(dim=(0, 1)) > 0
    times = frame_times(int(moved.numel()))
    near = (times - 4000 / 16000).abs() <= 991 / 2 / 16000
    assert moved.any()
    assert (near | ~moved).all()


def test_filters_pass_their_band(checkpoint: Path) -> None:
    filters: SincFilters = load_pyannet(checkpoint).sincnet.conv1d[0].filterbank
    n = torch.arange(125, dtype=torch.float32)
    torch.testing.assert_close(filters.window_, 0.54 - 0.46 * torch.cos(2 * torch.pi * n / 250), atol=2e-4, rtol=0)
    response = torch.fft.rfft(filters.filters()[:, 0], n=16000).abs()  # one bin a Hz
    low = 50 + filters.low_hz_.abs()[:, 0]
    high = (low + 50 + filters.band_hz_.abs()[:, 0]).clamp(max=8000)
    for index in range(40):
        peak = float(response[index].argmax())
        assert float(low[index]) - 60 <= peak <= float(high[index]) + 60
        # Cosine and sine partner have the same magnitude away from 0 Hz.
        band = slice(int(low[index]), int(high[index]))
        torch.testing.assert_close(
            response[index, band].mean(), response[40 + index, band].mean(), rtol=0.25, atol=1e-3
        )


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not there") as absent:
        load_pyannet(tmp_path / "absent.bin")
    assert "rsat-data models fetch pyannote-segmentation" in absent.value.hint
    text = tmp_path / "text.bin"
    text.write_text("not a checkpoint", encoding="utf-8")
    with pytest.raises(ModelFileError):
        load_pyannet(text)
    other = tmp_path / "other.bin"
    torch.save({"state_dict": {"classifier.weight": torch.zeros(3, 128)}}, other)
    with pytest.raises(ModelFileError, match="another network"):
        load_pyannet(other)


class _Bomb:
    """What a hostile checkpoint would hold."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (f"touch {self.target}",))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    target, file = tmp_path / "ran", tmp_path / "bomb.bin"
    torch.save({"state_dict": {}, "hyper_parameters": _Bomb(target)}, file)
    with pytest.raises(ModelFileError, match="safely"):
        load_pyannet(file)
    assert not target.exists()


def test_import_is_light() -> None:
    code = "import sys, pipelines.speech.stage; assert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
