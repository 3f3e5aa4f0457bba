"""Other voices from the same words: log-mel features made louder, tilted, stretched along frequency, with holes.

What moves with the mouth must survive it, who speaks need not: few voices are learnt from, others will come.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.motion.network import Batch
from model.motion.speech.logmel import FLOOR, OFFSET, SPREAD
from model.train.config import AugmentConfig


def augmented(batch: Batch, config: AugmentConfig, rng: np.random.Generator, per_frame: int) -> Batch:
    """The batch with both people's log-mel features changed, every window and person differently.

    Args:
        batch: on the CPU.
        config: how far.
        rng: draws.
        per_frame: feature vectors a frame.
    """
    return replace(
        batch,
        own=_changed(batch.own, config, rng, per_frame),
        partner=_changed(batch.partner, config, rng, per_frame),
    )


def _changed(features: Tensor, config: AugmentConfig, rng: np.random.Generator, per: int) -> Tensor:
    """(B, N, bands) -> (B, N, bands)."""
    count, length, bands = features.shape
    place = np.arange(bands, dtype=np.float32)
    # The same curve, read at other bands: a shorter or longer throat.
    stretch = np.exp(rng.uniform(-1, 1, (count, 1)) * np.log1p(config.warp))
    read = torch.from_numpy(np.clip(place * stretch, 0, bands - 1).astype(np.float32))
    low = read.floor().long().clamp(max=bands - 2)
    share = (read - low)[:, None]
    below = features.gather(2, low[:, None].expand(-1, length, -1))
    above = features.gather(2, low[:, None].expand(-1, length, -1) + 1)
    changed = torch.lerp(below, above, share)
    # dB of power to natural logarithms.
    gain = rng.uniform(-config.gain_db, config.gain_db, (count, 1))
    tilt = rng.uniform(-config.tilt_db, config.tilt_db, (count, 1)) * (place / (bands - 1) - 0.5)
    factor = torch.from_numpy(np.exp((gain + tilt) * np.log(10) / 10).astype(np.float32))[:, None]
    power = (changed * SPREAD - OFFSET).exp() - FLOOR
    changed = ((power * factor).clamp(min=0) + FLOOR).log().add(OFFSET).div(SPREAD)
    silence = float((np.log(FLOOR) + OFFSET) / SPREAD)
    for i in range(count):
        wide = int(rng.integers(config.hole_bands + 1))
        first = int(rng.integers(bands - wide + 1))
        changed[i, :, first : first + wide] = silence
        long = int(rng.integers(config.hole_frames + 1)) * per
        begin = int(rng.integers(max(length - long, 0) + 1))
        changed[i, begin : begin + long] = silence
    return changed
