"""How training reports its progress."""

from __future__ import annotations

from typing import Any, Protocol


class ProgressCallback(Protocol):
    """Called after every step, and before every epoch."""

    def __call__(
        self, unit: str, done: int, total: int, entry: dict[str, Any] | None = None, /
    ) -> None:
        """Report progress.

        Args:
            unit: "step" or "epoch".
            done: number of completed steps of this epoch, or of completed epochs.
            total: number of steps per epoch, or of epochs.
            entry: for "epoch", the log entry of the previous epoch; None before the first.
        """
