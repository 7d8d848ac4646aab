"""When to detect faces in a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DETECT_EVERY = 0.12
"""Seconds between two detections in a video: every third frame at 25 frames per second."""

MAX_PENDING_PIXELS = 64_000_000
"""Maximum number of pixels of the frames that wait in memory for the next detection. If there are
more, faces are detected earlier. Enough for 4K at 60 frames per second."""


class DetectionSchedule:
    """Decides in which frames faces are detected.

    Args:
        every: Seconds between detections, fewer if more than `MAX_PENDING_PIXELS` are pending.
    """

    def __init__(self, every: float = DETECT_EVERY) -> None:
        self._every = every * 0.99  # times of frames are rounded
        self._last_detection: float | None = None
        self._pending_pixels = 0

    def state(self) -> dict[str, Any]:
        """Return a JSON-serializable state for `restore`."""
        return {"last_detection": self._last_detection, "pending_pixels": self._pending_pixels}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
        self._last_detection = state["last_detection"]
        self._pending_pixels = state["pending_pixels"]

    def reset(self) -> None:
        """Make a detection due in the next frame, because a new shot begins."""
        self._last_detection, self._pending_pixels = None, 0

    def replay(self, seconds: float, width: int, height: int, *, detected: bool) -> None:
        """Add a frame of an earlier run, in which faces were detected or interpolated."""
        self._pending_pixels = 0 if detected else self._pending_pixels + width * height
        self._last_detection = seconds if detected else self._last_detection

    def is_due(self, seconds: float, width: int, height: int) -> bool:
        """Add the next frame, and return whether to detect faces in it.

        After a jump back in time, a detection is always due.
        """
        self._pending_pixels += width * height
        last = self._last_detection
        is_late = last is None or not 0 <= seconds - last < self._every
        if is_late or self._pending_pixels > MAX_PENDING_PIXELS:
            self._last_detection, self._pending_pixels = seconds, 0
            return True
        return False
