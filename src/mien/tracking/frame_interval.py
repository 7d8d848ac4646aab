"""How long a face may stay undetected, given the interval between frames, until it is absent."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MAX_AGE_SECONDS = 1.5
"""A track ends when its face has not been detected for this many seconds."""

MAX_AGE_INTERVALS = 2.5
"""A track lasts at least this many intervals between frames, even if these are seconds long."""


class FrameInterval:
    """Measures the interval between frames, and computes the maximum age of a track from it.

    The age of a track is the time since its face was last detected. If frames are far apart, tracks
    may become older, because a face is not absent just because no frame was read.

    Args:
        max_age_seconds: Maximum age of a track if frames are close together.
    """

    def __init__(self, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._max_age_seconds = max_age_seconds
        self._last_seconds = math.nan
        self._intervals = (0.0, 0.0)

    def state(self) -> dict[str, Any]:
        """Return a JSON-serializable state for `restore`."""
        last_seconds = None if math.isnan(self._last_seconds) else self._last_seconds
        return {"last_seconds": last_seconds, "intervals": list(self._intervals)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
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
