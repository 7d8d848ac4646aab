"""Learning-rate schedules, limited by a number of epochs or by time."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from mien.lab.config import Config


def lr_factor(epoch: float, config: Config, time_progress: float = 0.0) -> float:
    """The learning rate as a share of its peak: linear warmup, then a decay to zero.

    The decay is half a cosine or, with `lr_schedule="constant"`, constant until the last
    `cooldown_fraction` of the training, then 1 minus a square root (Hägele et al. 2024,
    https://arxiv.org/abs/2405.18392).

    Args:
        epoch: epochs completed, including the fraction of the present one.
        config: of the training.
        time_progress: share of the time budget that is spent, 0 to 1; it counts where it exceeds
            the share of the epochs.

    Returns:
        0 to 1.
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
        spent: seconds of its epochs before this process resumed it.
        start: start of this process's first epoch, by `time.monotonic`.
        end: the deadline, by `time.monotonic`; infinite for no limit.
    """

    spent: float
    start: float
    end: float

    def progress(self, ahead: float = 0.0) -> float:
        """The share of the budget that will be spent `ahead` seconds from now, 0 to 1."""
        if math.isinf(self.end):
            return 0.0
        total = self.spent + max(self.end - self.start, 1e-9)
        return min(1.0, (self.spent + time.monotonic() - self.start + ahead) / total)

    def is_last(self, seconds: float) -> bool:
        """Whether another epoch of this duration would exceed the deadline."""
        return time.monotonic() + seconds > self.end


NO_LIMIT = TimeBudget(0.0, 0.0, math.inf)
