"""How good each person's sound is, and how well it fits the lips."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from model.metrics.sync_offset import CLEAR, sync_offset
from pipelines.speech.activity import Heard
from pipelines.speech.inputs import Sound
from pipelines.speech.isolate import snr_db
from pipelines.speech.mouth import Mouth, envelope, lip_sync


def measure(sound: Sound, heard: Heard, mouths: Mapping[str, Mouth]) -> dict[str, dict[str, float]]:
    """snr_db, sync_score and sync_offset_ms of each person; NaN where they cannot be told.

    The offset is that of :func:`model.metrics.sync_offset.sync_offset`, where its peak stands clear of others. All are
    taken where the person talks alone, so far as that is at least a second (a frame, for the noise).
    """
    num_frames = len(heard.voice)
    everyone = np.stack([heard.speaking[person] for person in mouths])
    nobody = (heard.voice < 0.3) & ~everyone.any(axis=0)
    result = {}
    for person, mouth in mouths.items():
        speaking = heard.speaking[person]
        own = heard.audio[person] if heard.isolation == "channel" else sound.mixture
        alone = speaking & (everyone.sum(axis=0) == 1)
        judged = speaking if heard.isolation == "channel" or alone.sum() < 25 else alone
        score, _ = lip_sync(mouth.opening, envelope(own, num_frames), judged)
        offset = sync_offset(mouth.opening, own, judged)
        lag = offset.lag_ms if offset.clearness >= CLEAR else float("nan")
        noise = ~speaking & (heard.posterior[person] < 0.3) if heard.isolation == "channel" else nobody
        snr = snr_db(own, alone if alone.any() else speaking, noise)
        result[person] = {"snr_db": snr, "sync_score": score, "sync_offset_ms": lag}
    return result
