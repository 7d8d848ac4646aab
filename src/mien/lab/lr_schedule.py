"""The learning rate over a training, which ends by its epochs or by the time that it has."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from mien.lab.config import Config


def rate_factor(epoch: float, config: Config, time_spent: float = 0.0) -> float:
    """The learning rate as a share of its peak: a linear rise, then a fall to zero.

    The fall is half a cosine; or, with `schedule="constant"`, the rate stays as it is and falls
    with the last `cooldown` of the training by a square root, as in Haegele et al. 2024,
    https://arxiv.org/abs/2405.18392.

    Args:
        epoch: how many have been done, with fractions.
        config: of the training.
        time_spent: the share of the training's time that is over, 0 to 1; it counts where it is
            more than the share of the epochs.
    """
    if epoch < config.warmup_epochs and time_spent < 1:
        return (epoch + 1e-3) / config.warmup_epochs
    done = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    done = min(max(done, time_spent), 1.0)
    if config.lr_schedule == "constant":
        late = max(0.0, done - (1 - config.cooldown_fraction)) / config.cooldown_fraction
        return 1 - math.sqrt(late)
    return 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True)
class Clock:
    """How much of the time that a training has is over.

    Attributes:
        spent: seconds that its epochs took before this process went on with it.
        start: when this process began its first epoch, by `time.monotonic`.
        end: when it must have ended; infinite without a limit.
    """

    spent: float
    start: float
    end: float

    def progress(self, ahead: float = 0.0) -> float:
        """The share of its time that is over so many seconds from now, 0 to 1."""
        if math.isinf(self.end):
            return 0.0
        whole = self.spent + max(self.end - self.start, 1e-9)
        return min(1.0, (self.spent + time.monotonic() - self.start + ahead) / whole)

    def is_last(self, seconds: float) -> bool:
        """Whether no further epoch fits, if it takes so long."""
        return time.monotonic() + seconds > self.end


NO_LIMIT = Clock(0.0, 0.0, math.inf)
