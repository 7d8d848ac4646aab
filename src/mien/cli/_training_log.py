"""Progress of a long training as lines on standard error, when that is not a terminal."""

from __future__ import annotations

import math
import time
from typing import Any

import click

from mien.visualization.percent import percent
from mien.visualization.time_format import approximate_duration

INTERVAL = 60.0
"""Seconds between lines."""

METRICS = {
    "accuracy": "accuracy",
    "val_accuracy": "PublicTest accuracy",
    "val_majority_accuracy": "FER+ accuracy",
}
"""Key of a log entry -> its name in a line."""


class TrainingLog:
    """A `lab.progress.ProgressCallback` that prints a line per minute.

    Args:
        name: Name of the training.
        seconds: Time limit of the training.
    """

    def __init__(self, name: str, seconds: float = math.inf) -> None:
        self._name, self._end = name, time.monotonic() + seconds
        self._epoch, self._epochs, self._step = 0, 1, ""
        self._start: tuple[float, float] | None = None
        self._last_printed = time.monotonic()
        self._metrics: dict[str, float] = {}

    def __call__(
        self, unit: str, done: int, total: int, entry: dict[str, Any] | None = None
    ) -> None:
        """Report steps of the current epoch, or completed epochs and the log entry of the last."""
        if unit == "epoch":
            self._epoch, self._epochs, self._step = done, total, ""
            self._metrics |= entry or {}
            completed = done / total
        else:
            self._step = f", step {done} of {total}"
            completed = (self._epoch + done / total) / self._epochs
        now = time.monotonic()
        if self._start is None:
            self._start = now, completed
        elif now - self._last_printed >= INTERVAL:
            self._last_printed = now
            click.echo(self._line(now, completed), err=True)

    def _line(self, now: float, completed: float) -> str:
        """Return a line with the epoch, the metrics of the previous epoch, and the time left."""
        parts = [f"{self._name}: epoch {min(self._epoch + 1, self._epochs)} of {self._epochs}"]
        if "loss" in self._metrics:
            parts.append(f"loss {self._metrics['loss']:.3f}")
        parts += [
            f"{title} {percent(self._metrics[key], 1)}"
            for key, title in METRICS.items()
            if key in self._metrics
        ]
        if not self._metrics:
            parts[0] += self._step
        parts.append(f"{approximate_duration(self._seconds_left(now, completed))} left")
        return ", ".join(parts)

    def _seconds_left(self, now: float, completed: float) -> float:
        """Extrapolate from the speed of this process so far; at most until the time limit."""
        start, resumed_at = self._start or (now, completed)
        speed = (completed - resumed_at) / max(now - start, 1e-9)
        left = (1 - completed) / speed if speed > 0 else math.inf
        return max(0.0, min(left, self._end - now))
