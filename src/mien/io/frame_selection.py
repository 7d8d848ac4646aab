"""Which frames of a video are wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from mien.errors import UserError
from mien.results import Frame

EARLY = 0.5
"""A frame may be so much of its own length early and still be the one asked for."""


@dataclass(frozen=True, slots=True)
class FrameSelection:
    """Which frames of a video are wanted.

    every: so many frames or, as `seconds`, so much time apart. start, end: in seconds. number: of
    the frame at `start`, if it is known; then steps of `seconds` are counted from `origin`. Raises
    `UserError` for steps that lead nowhere.
    """

    every: int = 1
    seconds: float = 0.0
    start: float = 0.0
    end: float = float("inf")
    number: int = -1
    origin: float = 0.0

    def __post_init__(self) -> None:
        if self.every > 1 and self.seconds > 0:
            raise UserError(f"Every {self.every} frames or {self.seconds:g} s: say one of the two.")
        if self.every < 1 or self.seconds < 0:
            raise UserError(f"Frames are every {self.every} or {self.seconds:g} s apart: write a "
                            "number of frames from 1, or of seconds from 0.")  # fmt: skip

    def starting_at(self, number: int, seconds: float) -> FrameSelection:
        """The same, from a frame that it had on."""
        return replace(self, start=seconds, number=number, origin=self.start)

    def steps(self, rate: float) -> Callable[[float], bool]:
        """Whether a frame is wanted, asked of all in turn by their seconds from `start` on."""
        origin = self.start if self.number < 0 else self.origin
        step, count = -1, 0

        def wanted(seconds: float) -> bool:
            nonlocal step, count
            count += 1
            if not self.seconds:
                return (count - 1) % self.every == 0
            # Which step a frame is in is a matter of its time alone, wherever reading began.
            before, step = step, math.floor((seconds - origin + EARLY / rate) / self.seconds + 1e-6)
            return step != before

        return wanted


def select_frames(frames: Iterable[Frame], selection: FrameSelection) -> Iterator[Frame]:
    """The wanted ones of frames that come by themselves, such as a camera's."""
    wanted = selection.steps(rate=25)
    for frame in frames:
        if frame.seconds > selection.end:
            return
        if frame.seconds >= selection.start and wanted(frame.seconds):
            yield frame
