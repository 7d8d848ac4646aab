"""Summaries of the faces of a video: their time on screen and their mean shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mien.results import Face
from mien.tracking.frame_interval import MAX_AGE_SECONDS, FrameInterval

FIRST_WEIGHT = 1e-3
"""Weight in seconds of a face's first frame, and of its first frame after an absence. Other frames
are weighted by the seconds since the frame before."""


@dataclass(slots=True)
class Summary:
    """The summary of one face, computed from smoothed emotions if the face has them.

    Attributes:
        face_id: Face id.
        first: Time of the first frame in seconds.
        last: Time of the last frame in seconds.
        on_screen: Total time on screen in seconds, without absences.
        frames: Number of frames that show the face.
        changes: Number of changes of the dominant emotion.
        mean_shares: Mean share of each emotion over time.
    """

    face_id: int
    first: float
    last: float
    on_screen: float = 0.0
    frames: int = 0
    changes: int = 0
    mean_shares: dict[str, float] = field(default_factory=dict)
    _dominant: str = ""
    _weight: float = 0.0

    def add(self, seconds: float, face: Face, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        """Add the next frame; a gap longer than `max_age_seconds` is an absence."""
        elapsed = seconds - self.last if self.frames else 0.0
        elapsed = elapsed if 0 <= elapsed <= max_age_seconds else 0.0
        weight = elapsed or FIRST_WEIGHT
        self._weight += weight
        shares = face.smoothed or face.emotions
        for name, share in shares.items():
            mean = self.mean_shares.get(name, share)
            self.mean_shares[name] = mean + (share - mean) * weight / self._weight
        dominant = max(shares, key=shares.__getitem__)
        if self._dominant and dominant != self._dominant:
            self.changes += 1
        self._dominant = dominant
        self.on_screen += elapsed
        self.last = seconds
        self.frames += 1

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable record with times rounded to 1 ms and shares to 0.0001."""
        return {
            "face_id": self.face_id,
            "first": round(self.first, 3),
            "last": round(self.last, 3),
            "on_screen": round(self.on_screen, 3),
            "frames": self.frames,
            "changes": self.changes,
            "mean_shares": {name: round(share, 4) for name, share in self.mean_shares.items()},
            "dominant_emotion": max(self.mean_shares, key=self.mean_shares.__getitem__),
        }


class Summaries:
    """The summaries of all faces of a video; memory grows with faces, not with frames.

    Example:
        ```python
        summaries = Summaries()
        for result in analyzer.stream("clip.mp4"):
            summaries.add(result.frame.seconds, result)
        print(summaries.records())
        ```
    """

    def __init__(self) -> None:
        self._by_id: dict[int, Summary] = {}
        self._frame_interval = FrameInterval()

    def add(self, seconds: float, faces: Sequence[Face]) -> None:
        """Add the faces of the next frame."""
        max_age = self._frame_interval.update(seconds)
        for face in faces:
            summary = self._by_id.setdefault(face.face_id, Summary(face.face_id, seconds, seconds))
            summary.add(seconds, face, max_age)

    def shortest_absent(self, absent_since: float, count: int) -> list[int]:
        """Return the ids of absent faces among the `count` faces with the least time on screen.

        Args:
            absent_since: A face is absent if its last frame was before this time in seconds.
            count: Number of faces.
        """
        shortest = sorted(self._by_id.values(), key=lambda summary: summary.on_screen)[:count]
        return [summary.face_id for summary in shortest if summary.last < absent_since]

    def remove(self, face_id: int) -> None:
        """Delete the summary of a face."""
        del self._by_id[face_id]

    def records(self, min_seconds: float = 0.0) -> list[dict]:
        """Return the summaries as dictionaries, longest on screen first.

        Args:
            min_seconds: Minimum time on screen; other faces are left out.
        """
        records = [s.to_dict() for s in self._by_id.values() if s.on_screen >= min_seconds]
        return sorted(records, key=lambda record: -record["on_screen"])
