"""The times of the frames of a video stream."""

from __future__ import annotations

from typing import Any

MAX_BACKWARD_STEP = 1.0
"""Seconds by which a file's clock may go back for a moment; by more, it is thought to be set anew,
as where two recordings were joined, and to go on."""


def start_of(stream: Any) -> float:
    """Where a stream's own clock stands at its start, in seconds."""
    return float((stream.start_time or 0) * stream.time_base)


class PresentationClock:
    """The seconds of each picture from the start of a stream, also where its clock is set anew."""

    def __init__(self, stream: Any) -> None:
        self.rate = float(stream.guessed_rate or 25)
        self.last, self.count = -1.0, 0
        self.longest_gap = (0.0, 0.0)
        self._began, self._set_back = start_of(stream), 0.0

    def __call__(self, picture: Any) -> float | None:
        """The seconds of the next picture, or None if it comes too late."""
        if picture.time is None:  # some formats keep no times, and all there is is the place
            seconds = self.count / self.rate
        else:
            seconds = picture.time - self._began + self._set_back
        if seconds < self.last - MAX_BACKWARD_STEP:
            self._set_back += self.last + 1 / self.rate - seconds
            seconds = self.last + 1 / self.rate
        self.count += 1
        # Behind damage, decoders give some pictures late.
        return self._advanced(seconds) if seconds > self.last else None

    def _advanced(self, seconds: float) -> float:
        gap = (max(self.last, 0.0), seconds)
        self.longest_gap = max(self.longest_gap, gap, key=lambda g: g[1] - g[0])
        self.last = seconds
        return max(seconds, 0.0)
