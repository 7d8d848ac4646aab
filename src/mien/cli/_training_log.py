"""Progress of a training as lines on standard error, for when that is not a terminal."""

from __future__ import annotations

import math
import time
from typing import Any

import click

from mien.visualization.percent import percent
from mien.visualization.time_format import format_approximate_duration

SECONDS_BETWEEN_LINES = 60.0
"""Minimum time between printed lines."""

METRICS = {
    "accuracy": "training accuracy",
    "val_accuracy": "val accuracy",
    "val_majority_accuracy": "FER+ accuracy",
}
"""Key of a log entry -> name of the metric in a line."""


class TrainingLog:
    """A `lab.progress.ProgressCallback` that prints at most one line per minute.

    Args:
        name: Name of the training.
        seconds: Time limit of the training in seconds.
    """

    def __init__(self, name: str, seconds: float = math.inf) -> None:
        self._name, self._end = name, time.monotonic() + seconds
        self._epoch, self._epochs, self._step_text = 0, 1, ""
        # Time of the first report, and the fraction of the training that was completed by then.
        self._start: tuple[float, float] | None = None
        self._last_printed = time.monotonic()
        self._metrics: dict[str, float] = {}

    def __call__(
        self, unit: str, done: int, total: int, entry: dict[str, Any] | None = None
    ) -> None:
        """Process a report of `ProgressCallback`, and print a line if the last is old enough."""
        if unit == "epoch":
            self._epoch, self._epochs, self._step_text = done, total, ""
            self._metrics |= entry or {}
            completed = done / total
        else:
            self._step_text = f", step {done} of {total}"
            completed = (self._epoch + done / total) / self._epochs
        now = time.monotonic()
        if self._start is None:
            self._start = now, completed
        elif now - self._last_printed >= SECONDS_BETWEEN_LINES:
            self._last_printed = now
            click.echo(self._line(now, completed), err=True)

    def _line(self, now: float, completed: float) -> str:
        """Return a line with the epoch, the metrics of the last epoch and the remaining time."""
        parts = [f"{self._name}: epoch {min(self._epoch + 1, self._epochs)} of {self._epochs}"]
        if "loss" in self._metrics:
            parts.append(f"loss {self._metrics['loss']:.3f}")
        parts += [
            f"{title} {percent(self._metrics[key], 1)}"
            for key, title in METRICS.items()
            if key in self._metrics
        ]
        if not self._metrics:  # the first epoch has not ended
            parts[0] += self._step_text
        parts.append(f"{format_approximate_duration(self._seconds_left(now, completed))} left")
        return ", ".join(parts)

    def _seconds_left(self, now: float, completed: float) -> float:
        """Estimate the remaining seconds by the speed of this process; at most until the limit."""
        start, completed_at_start = self._start or (now, completed)
        speed = (completed - completed_at_start) / max(now - start, 1e-9)
        seconds = (1 - completed) / speed if speed > 0 else math.inf
        return max(0.0, min(seconds, self._end - now))
