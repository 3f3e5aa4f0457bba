"""What a fit does when: everything follows its progress from 0 to 1, by steps or by the clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.avatar.config import AvatarConfig

VALIDATIONS = 10
"""How often the validation frames are drawn."""
_DENSIFY_FROM = 0.08
_WARM = 20
"""Steps over which the first Adam steps grow to their length."""


@dataclass(frozen=True)
class Schedule:
    """Times of a fit. Pure: the same progress gives the same answer, so an interrupted fit goes on as planned."""

    config: AvatarConfig

    def progress(self, step: int, elapsed_s: float) -> float:
        """Share done, in [0, 1]: of the steps or of the seconds, whichever is further; 1 ends the fit.

        With ``max_steps`` reached before the budget, the course depends on steps alone only if the budget is never the
        further one; a budget that is large enough makes a fit independent of the machine and of interruptions.
        """
        by_time = elapsed_s / self.config.budget_s
        by_step = step / self.config.max_steps if self.config.max_steps else 0.0
        if self.config.max_steps and by_time < 1:
            return min(by_step, 1.0)
        return min(max(by_time, by_step), 1.0)

    def size(self, progress: float) -> int:
        """Side of the pictures, pixels."""
        return self.config.size // 2 if progress < self.config.coarse_share else self.config.size

    def factor(self, progress: float, step: int) -> float:
        """Factor on all steps of Adam: exponential decay to ``end_lr``, after a short rise."""
        return float(self.config.end_lr**progress) * min(1.0, (step + 1) / _WARM)

    def densify_rounds(self, progress: float) -> int:
        """How many rounds of densification are due by now."""
        if not self.config.densify_rounds:
            return 0
        first, last = _DENSIFY_FROM, max(self.config.densify_until, _DENSIFY_FROM)
        times = np.linspace(first, last, self.config.densify_rounds)
        return int((times <= progress).sum())

    def validations(self, progress: float) -> int:
        """How many validations are due by now; the last one is at the end."""
        return int(progress * VALIDATIONS + 1e-9)


def frame_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """(count,) a permutation of the training frames for an epoch, the same whenever it is asked for."""
    return np.random.default_rng([seed, 1, epoch]).permutation(count)


def frame_at(seed: int, step: int, count: int) -> int:
    """Which training frame a step looks at: each once an epoch, in random order."""
    return int(frame_order(seed, step // count, count)[step % count])


def background_at(seed: int, step: int) -> np.ndarray:
    """(3,) float32 random background colour of a step."""
    return np.random.default_rng([seed, 2, step]).random(3).astype(np.float32)
