"""Handle SIGTERM and SIGHUP like Ctrl-C, so that outputs are closed and temporary files removed."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNAL_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
"""Names of the handled signals; Windows has no SIGHUP."""

REPEAT_SECONDS = 5.0
"""For this long after a signal, SIGTERM and SIGHUP are ignored: a closed terminal sends SIGHUP
several times, and the second must not interrupt the removal of temporary files."""

RETRY_SECONDS = 0.02
"""Interval at which to check whether an import has ended, after which a signal takes effect."""

EXIT_CODE_OFFSET = 128
"""As in shells, the exit code is this plus the number of the signal."""


class TerminationSignals:
    """Raises `KeyboardInterrupt` in the main thread on Ctrl-C, SIGTERM and SIGHUP.

    Signals that the process ignores remain ignored, such as SIGHUP under `nohup`.

    Attributes:
        received: The last signal, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._raised_at = -math.inf
        self._previous_handlers: dict[int, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> TerminationSignals:
        for number in (getattr(signal, name) for name in SIGNAL_NAMES if hasattr(signal, name)):
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                self._previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        # After a signal, the handlers stay until the process exits: with the previous ones, a
        # repeated signal would end it with another exit code.
        if self.received is None:
            for number, handler in self._previous_handlers.items():
                signal.signal(number, handler)

    @property
    def message(self) -> str:
        """The message to print after a `KeyboardInterrupt`."""
        if self.received is None or self.received == signal.SIGINT:
            return "interrupted"
        return f"ended by {self.received.name}"

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
        """Raise `KeyboardInterrupt` now or, because an import may suppress it, after the import."""
        if _is_importing(frame) and hasattr(signal, "setitimer"):
            signal.signal(
                signal.SIGALRM, lambda _, current: self._raise_outside_of_imports(current)
            )
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
