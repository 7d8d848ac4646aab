"""When to look for faces in a video, and where they are in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mien.results import Detection

DETECT_EVERY = 0.12
"""Seconds between two looks for faces in a video: every third frame at 25 a second."""

MAX_PIXELS = 64_000_000
"""Of frames that wait for the next look, which else comes sooner. 4K at 60 a second has room."""


class DetectionSchedule:
    """When to look for faces: once in so many seconds, and before too many pixels wait for it."""

    def __init__(self, every: float = DETECT_EVERY) -> None:
        self._every = every * 0.99
        self._before: float | None = None
        self._waiting = 0

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from; JSON can hold it."""
        return {"last": self._before, "waiting_pixels": self._waiting}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._before, self._waiting = state["last"], state["waiting_pixels"]

    def replay(self, seconds: float, wide: int, high: int, *, detected: bool) -> None:
        """Take in a frame of an earlier run, in which faces were detected or not."""
        self._waiting = 0 if detected else self._waiting + wide * high
        self._before = seconds if detected else self._before

    def is_due(self, seconds: float, wide: int, high: int) -> bool:
        """Whether to look at this frame, the next in time; a jump back is a start."""
        self._waiting += wide * high
        late = self._before is None or not 0 <= seconds - self._before < self._every
        if late or self._waiting > MAX_PIXELS:
            self._before, self._waiting = seconds, 0
            return True
        return False


def between(
    earlier: Mapping[int, Detection], later: Mapping[int, Detection], share: float
) -> dict[int, Detection]:
    """The faces seen both before and after, `share` of the way from one to the other.

    For the frames between two detections of a file; confidence and roll are those before.
    """
    return {
        face_id: _between(one, later[face_id], share)
        for face_id, one in earlier.items()
        if face_id in later
    }


def _between(one: Detection, other: Detection, share: float) -> Detection:
    def mixed(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
        return tuple(p + (q - p) * share for p, q in zip(a, b, strict=True))

    landmarks = None
    if one.landmarks and other.landmarks:
        landmarks = tuple(map(mixed, one.landmarks, other.landmarks))
    return replace(one, box=mixed(one.box, other.box), landmarks=landmarks)  # type: ignore[arg-type]
