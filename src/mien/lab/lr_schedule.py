"""Learning-rate schedules over a number of epochs or over a time budget."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from mien.lab.config import Config


def lr_factor(epoch: float, config: Config, time_progress: float = 0.0) -> float:
    """The learning rate divided by its peak.

    It rises linearly during the warmup. After the warmup it decays to zero:

    - `lr_schedule="cosine"`: (1 + cos(pi p)) / 2, where p is the progress after the warmup, 0 to 1.
    - `lr_schedule="constant"`: 1 until the cooldown, which begins at p = 1 - `cooldown_fraction`.
      In the cooldown 1 - sqrt(q), where q is the progress of the cooldown, 0 to 1 (Hägele et al.
      2024, https://arxiv.org/abs/2405.18392).

    Args:
        epoch: Number of completed epochs, including the completed fraction of the current one.
        config: Config of the training.
        time_progress: Fraction of the time budget that is spent, 0 to 1. After the warmup, p is the
            larger of this fraction and the completed fraction of the epochs after the warmup. At 1,
            the factor is 0, even during the warmup.

    Returns:
        A factor from 0 to 1.
    """
    if epoch < config.warmup_epochs and time_progress < 1:
        return (epoch + 1e-3) / config.warmup_epochs  # above 0 even in the first step
    progress = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    progress = min(max(progress, time_progress), 1.0)
    if config.lr_schedule == "constant":
        cooldown = max(0.0, progress - (1 - config.cooldown_fraction)) / config.cooldown_fraction
        return 1 - math.sqrt(cooldown)
    return 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """The time budget of a training.

    Attributes:
        spent: Duration of the epochs that earlier processes completed, in seconds.
        start: Time by `time.monotonic` at which this process started its first epoch.
        end: Time by `time.monotonic` at which the training must end; infinite for no limit.
    """

    spent: float
    start: float
    end: float

    def progress(self, seconds_ahead: float = 0.0) -> float:
        """The fraction of the budget that will be spent `seconds_ahead` seconds from now.

        It is 0 without a limit.
        """
        if math.isinf(self.end):
            return 0.0
        total = self.spent + max(self.end - self.start, 1e-9)
        return min(1.0, (self.spent + time.monotonic() - self.start + seconds_ahead) / total)

    def has_no_time_for(self, epoch_seconds: float) -> bool:
        """Whether another epoch of this duration would end after `end`."""
        return time.monotonic() + epoch_seconds > self.end


NO_LIMIT = TimeBudget(spent=0.0, start=0.0, end=math.inf)
"""The time budget of a training without a time limit."""
