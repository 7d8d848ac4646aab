"""Select every n-th frame of a video, a frame per time step, or a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from mien.errors import UserError
from mien.io.clock import DEFAULT_FRAME_RATE
from mien.results import Frame

EARLY_TOLERANCE = 0.5
"""A frame still matches a time if it is at most this fraction of its duration before that time."""

START_TOLERANCE = 1e-6
"""Seconds by which rounding may place a frame with a known time before the start."""

ROUNDING_TOLERANCE = 1e-6
"""Fraction of a time step by which rounding may place a frame before the step."""


@dataclass(frozen=True, slots=True)
class FrameSelection:
    """Specifies the frames of a video that are analyzed; all by default.

    Attributes:
        every: Select every n-th frame; at least 1.
        seconds: Select one frame per this many seconds; 0 for no time step. It cannot be combined
            with `every`.
        start: The second at which the selection begins.
        end: The second at which the selection ends, inclusive.
        number: The number of the frame at `start`, or -1 if unknown; set by `starting_at`.
        origin: The second from which time steps are counted if `number` is known; otherwise, they
            are counted from `start`.

    Raises:
        UserError: `every` and `seconds` are both given, or one of them is out of range.

    Example:
        ```python
        selection = mien.FrameSelection(seconds=0.5, start=60, end=120)
        results = mien.Analyzer().stream("clip.mp4", selection=selection)
        ```
    """

    every: int = 1
    seconds: float = 0.0
    start: float = 0.0
    end: float = float("inf")
    number: int = -1
    origin: float = 0.0

    def __post_init__(self) -> None:
        if self.every > 1 and self.seconds > 0:
            raise UserError(f"Cannot select both every {self.every} frames and every "
                            f"{self.seconds:g} s; use one of the two.")  # fmt: skip
        if self.every < 1:
            raise UserError(f"Cannot select every {self.every} frames; use at least 1.")
        if self.seconds < 0:
            raise UserError(f"Cannot select a frame every {self.seconds:g} s; use a positive time, "
                            "or 0 for no time step.")  # fmt: skip

    def starting_at(self, number: int, seconds: float) -> FrameSelection:
        """Return the part of this selection that begins with a given frame.

        Args:
            number: Number of a frame of this selection.
            seconds: Time of that frame.

        Example:
            ```python
            selection = mien.FrameSelection(seconds=0.5)
            rest = selection.starting_at(number=250, seconds=10.0)
            ```
        """
        return replace(self, start=seconds, number=number, origin=self._step_origin)

    def frame_filter(self, rate: float) -> Callable[[float], bool]:
        """Return a function that takes the seconds of a frame and returns whether it is selected.

        Call the function once for every frame from `start` on, in temporal order.

        Args:
            rate: Frames per second of the video.

        Example:
            ```python
            is_selected = mien.FrameSelection(every=2).frame_filter(rate=25)
            print([is_selected(k / 25) for k in range(4)])  # [True, False, True, False]
            ```
        """
        step, count = -1, 0

        def is_selected(seconds: float) -> bool:
            nonlocal step, count
            count += 1
            if not self.seconds:
                return (count - 1) % self.every == 0
            # Steps depend only on the time, so that a resumed run selects the same frames.
            previous = step
            elapsed = seconds - self._step_origin + EARLY_TOLERANCE / rate
            step = math.floor(elapsed / self.seconds + ROUNDING_TOLERANCE)
            return step != previous

        return is_selected

    @property
    def _step_origin(self) -> float:
        return self.start if self.number < 0 else self.origin


def empty_range_error(name: str, selection: FrameSelection, last: float) -> UserError:
    """Return the error for a source without a frame in the selected range.

    Args:
        name: Name of the source.
        selection: The selection.
        last: Seconds of the last frame that was read.
    """
    span = f"between {selection.start:g} and {selection.end:g} s"
    if selection.end == math.inf:
        span = f"from {selection.start:g} s on"
    return UserError(f"{name} has no frame {span}; the last frame read is at {last:.1f} s. "
                     "Select another range.")  # fmt: skip


def select_frames(frames: Iterable[Frame], selection: FrameSelection) -> Iterator[Frame]:
    """Yield the selected frames of a live source, whose frame rate is not known."""
    is_selected = selection.frame_filter(rate=DEFAULT_FRAME_RATE)
    for frame in frames:
        if frame.seconds > selection.end:
            return
        if frame.seconds >= selection.start and is_selected(frame.seconds):
            yield frame
