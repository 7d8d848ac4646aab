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
            done: the number completed.
            total: of the steps of the epoch, or of the epochs.
            entry: with "epoch", the log entry of the epoch before, if there is one.
        """
