"""Compute the presentation times of the frames of a video stream."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

MAX_BACKWARD_STEP = 1.0
"""Maximum number of seconds by which a timestamp may be below the previous one.

A larger step back means that the timestamps restart, for example where two recordings were joined.
Time then continues from the last frame.
"""

DEFAULT_FRAME_RATE = 25
"""Frames per second that are assumed if a stream does not state its rate."""


class PresentationClock:
    """Computes the second at which a player shows each decoded frame.

    Timestamps that restart within the file continue from the last frame.

    Args:
        time_base: Unit of the timestamps in seconds.
        rate: Frames per second; used for frames without timestamps, and where timestamps restart.
        start: The timestamp, in seconds, that counts as second 0.
        are_guessed: Whether the timestamps are guessed from the order of decoding, because the
            format states none (AVI). So they can step back by a few frames.

    Attributes:
        last: Seconds of the last frame; -1 before the first frame.
        count: Number of frames so far, including those for which None was returned.
    """

    def __init__(
        self, time_base: Fraction, rate: float, start: Fraction, *, are_guessed: bool = False
    ) -> None:
        self.last, self.count = -1.0, 0
        self._are_guessed = are_guessed
        self._time_base, self._rate, self._start, self._offset = time_base, rate, start, 0.0

    def __call__(self, frame: Any) -> float | None:
        """Return the seconds of the next frame, or None if it is not after the last frame."""
        if frame.pts is None:  # some formats have no timestamps
            seconds = self.count / self._rate
        else:
            seconds = float(frame.pts * self._time_base - self._start) + self._offset
        if seconds < self.last - MAX_BACKWARD_STEP:
            self._offset += self.last + 1 / self._rate - seconds
            seconds = self.last + 1 / self._rate
        self.count += 1
        if seconds <= self.last:
            if not self._are_guessed:  # after damage, decoders return some frames out of order
                return None
            seconds = self.last + 1 / self._rate
        self.last = seconds
        return max(seconds, 0.0)
