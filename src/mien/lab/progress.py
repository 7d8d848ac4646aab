"""The callback that reports the progress of a training."""

from __future__ import annotations

from typing import Any, Protocol


class ProgressCallback(Protocol):
    """A function that is called before every epoch and, in training, after every step."""

    def __call__(
        self, unit: str, done: int, total: int, entry: dict[str, Any] | None = None, /
    ) -> None:
        """Report progress.

        Args:
            unit: "step" or "epoch".
            done: Number of completed units: steps of this epoch, or epochs.
            total: Number of all units: steps per epoch, or epochs.
            entry: For "epoch", the log entry of the previous epoch, if there is one.
        """
