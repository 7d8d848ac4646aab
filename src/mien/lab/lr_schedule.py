"""Learning-rate schedules, limited by a number of epochs or by time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from mien.lab.config import Config


def lr_factor(epoch: float, config: Config, time_progress: float = 0.0) -> float:
    """The learning rate divided by its peak.

    It rises linearly during the warmup and then decays to zero, with p from 0 to 1:

    - `lr_schedule="cosine"`: (1 + cos(pi p)) / 2, p over the rest of the training.
    - `lr_schedule="constant"`: 1 until the last `cooldown_fraction` of the rest, and then
      1 - sqrt(p), p over the cooldown (Hägele et al. 2024, https://arxiv.org/abs/2405.18392).

    Args:
        epoch: number of completed epochs, including the completed fraction of the current one.
        config: config of the training.
        time_progress: fraction of the time budget that is spent, 0 to 1. It replaces the fraction
            of completed epochs when it is larger.

    Returns:
        A factor from 0 to 1.
    """
    if epoch < config.warmup_epochs and time_progress < 1:
        return (epoch + 1e-3) / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    progress = min(max(progress, time_progress), 1.0)
    if config.lr_schedule == "constant":
        cooldown = max(0.0, progress - (1 - config.cooldown_fraction)) / config.cooldown_fraction
        return 1 - math.sqrt(cooldown)
    return 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The time limit of a training.

    Attributes:
        spent: seconds of the epochs that were completed before this process resumed the training.
        start: start of the first epoch of this process, by `time.monotonic`.
        end: the deadline, by `time.monotonic`; infinite for no limit.
    """

    spent: float
    start: float
    end: float

    def progress(self, ahead: float = 0.0) -> float:
        """The fraction of the budget that will be spent `ahead` seconds from now, 0 to 1."""
        if math.isinf(self.end):
            return 0.0
        total = self.spent + max(self.end - self.start, 1e-9)
        return min(1.0, (self.spent + time.monotonic() - self.start + ahead) / total)

    def is_last(self, seconds: float) -> bool:
        """Whether another epoch of `seconds` would exceed the deadline."""
        return time.monotonic() + seconds > self.end


NO_LIMIT = TimeBudget(0.0, 0.0, math.inf)
