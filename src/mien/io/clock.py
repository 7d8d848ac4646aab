"""Presentation times of the frames of a video stream."""

from __future__ import annotations

from typing import Any

MAX_BACKWARD_STEP = 1.0
"""Seconds by which time stamps may step back for a moment. A larger step back means that the time
stamps restarted, as where two recordings were joined; time then continues from the last frame."""

DEFAULT_FRAME_RATE = 25
"""Frames per second of a stream that does not state its rate."""


def start_of(stream: Any) -> float:
    """The first time stamp of a stream, in seconds."""
    return float((stream.start_time or 0) * stream.time_base)


class PresentationClock:
    """Computes the seconds of each decoded frame from the start of its stream.

    Time stamps that restart within the file continue from the last frame.

    Attributes:
        rate: Frames per second.
        last: Seconds of the last frame; -1 before the first.
        count: Number of frames so far, late ones included.
        longest_gap: Start and end in seconds of the longest time without a frame.
    """

    def __init__(self, stream: Any) -> None:
        self.rate = float(stream.guessed_rate or DEFAULT_FRAME_RATE)
        self.last, self.count = -1.0, 0
        self.longest_gap = (0.0, 0.0)
        self._start, self._offset = start_of(stream), 0.0

    def __call__(self, frame: Any) -> float | None:
        """The seconds of the next frame, or None for a frame that comes too late."""
        if frame.time is None:  # some formats have no time stamps
            seconds = self.count / self.rate
        else:
            seconds = frame.time - self._start + self._offset
        if seconds < self.last - MAX_BACKWARD_STEP:
            self._offset += self.last + 1 / self.rate - seconds
            seconds = self.last + 1 / self.rate
        self.count += 1
        # After damage, decoders return some frames late.
        return self._advance(seconds) if seconds > self.last else None

    def _advance(self, seconds: float) -> float:
        gap = (max(self.last, 0.0), seconds)
        self.longest_gap = max(self.longest_gap, gap, key=lambda g: g[1] - g[0])
        self.last = seconds
        return max(seconds, 0.0)
