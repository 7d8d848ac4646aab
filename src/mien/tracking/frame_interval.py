"""The interval between frames, and how long a face may stay undetected before it is absent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_AGE_SECONDS = 1.5
"""A track ends when its face has not been detected for this many seconds."""

MAX_AGE_INTERVALS = 2.5
"""If frames are far apart, for example two seconds, a track lasts at least this many intervals."""


class FrameInterval:
    """The usual interval between frames, which decides how long a track may stay undetected.

    A face is not absent just because frames are far apart.
    """

    def __init__(self, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._max_age_seconds = max_age_seconds
        self._last_seconds = math.nan
        self._intervals = (0.0, 0.0)

    def state(self) -> dict[str, Any]:
        """A JSON-serializable state for `restore`."""
        last_seconds = None if math.isnan(self._last_seconds) else self._last_seconds
        return {"last_seconds": last_seconds, "intervals": list(self._intervals)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        last_seconds = state["last_seconds"]
        self._last_seconds = math.nan if last_seconds is None else last_seconds
        first, second = state["intervals"]
        self._intervals = (first, second)

    def update(self, seconds: float) -> float:
        """Add the time of the next frame.

        Returns:
            The maximum age of a track in seconds. It depends on the shorter of the last two
            intervals, so that a single pause does not change it.
        """
        if seconds > self._last_seconds:
            interval = seconds - self._last_seconds
            self._intervals = (self._intervals[1] or interval, interval)
        self._last_seconds = seconds
        return max(self._max_age_seconds, MAX_AGE_INTERVALS * min(self._intervals))
