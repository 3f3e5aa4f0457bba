"""Run the local speaker segmentation network over a clip in overlapping windows, on a common time grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from model.speech.pyannet import PyanNet

SAMPLE_RATE = 16000
#: Step of the common grid in seconds: two steps a video frame at 25 frames a second.
GRID_STEP_S = 0.02


@dataclass(frozen=True)
class Windows:
    """What the network said, window by window, before anyone knows whose output is whose."""

    posteriors: np.ndarray
    """(W, G, L) float64: probability that local speaker l talks, on the grid steps of window w; NaN past the clip."""
    starts: np.ndarray
    """(W,) int64: first grid step of each window."""
    num_steps: int
    """Grid steps in the clip; step g covers [g, g + 1) * GRID_STEP_S."""


def window_starts(num_samples: int, window: int, hop: int) -> list[int]:
    """First samples of windows that cover ``num_samples``; the last one ends at the end, none starts before 0."""
    last = max(0, num_samples - window)
    starts = list(range(0, last + 1, hop))
    if starts[-1] != last:
        starts.append(last)
    return starts


def segment(network: PyanNet, samples: np.ndarray, *, hop_s: float = 0.5, batch: int = 32) -> Windows:
    """Posteriors of every window, resampled from the network's 16.875 ms frames to the grid.

    Args:
        network: from :func:`model.speech.pyannet.load_pyannet`.
        samples: (N,) float32 at 16 kHz. Shorter than a window: padded with zeros at the end.
        hop_s: distance of the windows in seconds. Rounded to whole grid steps.
        batch: windows a pass of the recurrent layers.
    """
    import torch

    from model.speech.pyannet import WINDOW_SAMPLES, frame_times

    step = round(GRID_STEP_S * SAMPLE_RATE)
    num_steps = -(-len(samples) // step)
    hop = max(1, round(hop_s / GRID_STEP_S)) * step
    starts = [start // step * step for start in window_starts(num_steps * step, WINDOW_SAMPLES, hop)]
    padded = np.zeros(max(starts[-1] + WINDOW_SAMPLES, len(samples)), dtype=np.float32)
    padded[: len(samples)] = samples
    device = next(network.parameters()).device
    with torch.inference_mode():
        waveform = torch.from_numpy(padded).to(device)
        raw = network.windows(waveform, starts, window=WINDOW_SAMPLES, batch=batch).cpu().numpy().astype(np.float64)

    width = WINDOW_SAMPLES // step
    times = frame_times(raw.shape[1]).numpy()
    centres = (np.arange(width) + 0.5) * GRID_STEP_S
    right = np.clip(np.searchsorted(times, centres), 1, len(times) - 1)
    weight = np.clip((centres - times[right - 1]) / (times[right] - times[right - 1]), 0.0, 1.0)[None, :, None]
    grid = raw[:, right - 1] * (1 - weight) + raw[:, right] * weight
    first_steps = np.asarray(starts, dtype=np.int64) // step
    grid[(first_steps[:, None] + np.arange(width)) >= num_steps] = np.nan
    return Windows(posteriors=grid, starts=first_steps, num_steps=num_steps)
