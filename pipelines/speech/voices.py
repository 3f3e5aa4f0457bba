"""How many voices a clip has, as the segmentation network hears it.

Within a window of 5 s the network tells voices apart directly; a second local speaker in one window may be its whim, in
a fifth of all windows it is a person. Whole-clip clustering of speaker embeddings (GE2E) was tried for this and is not
used: see docs/speech.md.
"""

from __future__ import annotations

import numpy as np

from pipelines.speech.segmentation import GRID_STEP_S, Windows

LEAST_S = 0.4
"""A local speaker counts in a window from this much talk on."""
SECOND_SHARE = 0.2
"""Share of the windows with speech that must hold two local speakers, or the clip has one voice."""
THIRD_SHARE = 0.1
"""... and three."""


def count_voices(windows: Windows) -> int:
    """Number of voices, 0 (nobody) to 3 (three or more).

    Args:
        windows: (W, G, L) local posteriors, NaN past the clip's end.
    """
    talk = (np.nan_to_num(windows.posteriors) > 0.5).sum(axis=1) * GRID_STEP_S
    locals_heard = (talk >= LEAST_S).sum(axis=1)
    with_speech = int((locals_heard > 0).sum())
    if not with_speech:
        return 0
    if (locals_heard > 2).sum() >= THIRD_SHARE * with_speech:
        return 3
    return 2 if (locals_heard > 1).sum() >= SECOND_SHARE * with_speech else 1


def count_columns(grid: np.ndarray) -> int:
    """Voices that talk for long enough to count, of (G, K) posteriors of the whole clip."""
    return int(((grid > 0.5).sum(axis=0) * GRID_STEP_S >= LEAST_S).sum())


def columns(asked: int, counted: int) -> int:
    """How many voices to tell apart: what was asked for; if 0, what was counted, but two at least.

    Two of one voice do no harm, where the lips decide; one of two would.
    """
    return asked if asked else max(2, counted)
