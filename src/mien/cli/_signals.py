"""End on SIGTERM and SIGHUP as on Ctrl-C: outputs are closed, and temporary files removed."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""The signals; Windows has no SIGHUP."""

REPEAT_SECONDS = 5.0
"""SIGTERM and SIGHUP are ignored this soon after another signal: a closed terminal sends SIGHUP
several times, and the second must not interrupt the removal of temporary files."""

RETRY_SECONDS = 0.02
"""A signal during an import takes effect when the import has ended, tested at this interval."""

EXIT_CODE_OFFSET = 128
"""As in shells, the exit code is this plus the number of the signal."""


class EndSignals:
    """Raises `KeyboardInterrupt` in the main thread on Ctrl-C, SIGTERM and SIGHUP.

    Signals that are ignored remain so: `nohup`, for example, lets a process ignore SIGHUP.

    Attributes:
        received: The last signal, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._raised_at = -math.inf
        self._previous: dict[int, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> EndSignals:
        for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self.received is None:  # else the process is about to end, with the right exit code
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    @property
    def message(self) -> str:
        """The message after a `KeyboardInterrupt`."""
        is_ctrl_c = self.received in (None, signal.SIGINT)
        return "interrupted" if is_ctrl_c or not self.received else f"ended by {self.received.name}"

    @property
    def exit_code(self) -> int:
        """The exit code after a `KeyboardInterrupt`."""
        return EXIT_CODE_OFFSET + (self.received or signal.SIGINT)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_repeated = time.monotonic() - self._raised_at < REPEAT_SECONDS
        if is_repeated and number != signal.SIGINT:
            return
        self.received = signal.Signals(number)
        self._raise_outside_of_imports(frame)

    def _raise_outside_of_imports(self, frame: FrameType | None) -> None:
        """Raise `KeyboardInterrupt` now, or after an import, which may lose or replace it."""
        if _is_importing(frame) and hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda _, later: self._raise_outside_of_imports(later))
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
            return
        self._raised_at = time.monotonic()
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
