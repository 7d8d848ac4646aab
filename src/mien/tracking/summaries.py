"""What each face of a video showed over its time, gathered frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mien.results import Face
from mien.tracking.tracker import MAX_AGE_SECONDS, Rhythm


@dataclass(slots=True)
class Summary:
    """What one face showed over the time it was seen.

    first, last: seconds. on_screen: seconds in all, gaps left out. frames: how many it is in.
    shares: each emotion's mean share over that time. changes: how often the smoothed dominant
    emotion became another.
    """

    face_id: int
    first: float
    last: float
    on_screen: float = 0.0
    frames: int = 0
    changes: int = 0
    shares: dict[str, float] = field(default_factory=dict)
    _dominant: str = ""
    _weight: float = 0.0

    def add(self, seconds: float, face: Face, longest: float = MAX_AGE_SECONDS) -> None:
        """Take in the next sighting; `longest`: a longer gap is time off the screen."""
        since = seconds - self.last if self.frames else 0.0
        since = since if 0 <= since <= longest else 0.0
        # The first sighting has no time behind it, and still counts a little.
        weight = since or 1e-3
        self._weight += weight
        for name, share in face.emotions.items():
            known = self.shares.get(name, share)
            self.shares[name] = known + (share - known) * weight / self._weight
        shown = face.smoothed or face.emotions
        dominant = max(shown, key=shown.__getitem__)
        self.changes += bool(self._dominant) and dominant != self._dominant
        self._dominant = dominant
        self.on_screen += since
        self.last = seconds
        self.frames += 1

    def record(self) -> dict:
        """The summary as a dictionary that JSON can hold."""
        return {
            "face_id": self.face_id,
            "first": self.first,
            "last": self.last,
            "on_screen": self.on_screen,
            "frames": self.frames,
            "changes": self.changes,
            "emotions": dict(self.shares),
            "dominant_emotion": max(self.shares, key=self.shares.__getitem__),
        }


class Summaries:
    """The summaries of all faces, as their frames go by; memory grows with faces, not frames."""

    def __init__(self) -> None:
        self._of: dict[int, Summary] = {}
        self._rhythm = Rhythm()

    def add(self, seconds: float, faces: Sequence[Face]) -> None:
        """Take in the faces of the next frame."""
        longest = self._rhythm(seconds)
        for face in faces:
            known = self._of.setdefault(face.face_id, Summary(face.face_id, seconds, seconds))
            known.add(seconds, face, longest)

    def fleeting(self, before: float, count: int) -> list[int]:
        """Of so many faces, the shortest on screen, the ids of who was last seen before that."""
        shortest = sorted(self._of.values(), key=lambda one: one.on_screen)[:count]
        return [one.face_id for one in shortest if one.last < before]

    def forget(self, face_id: int) -> None:
        """Keep nothing of a face."""
        del self._of[face_id]

    def records(self, at_least: float = 0.0) -> list[dict]:
        """All, longest on screen first; those seen for fewer seconds than `at_least` left out."""
        found = (s.record() for s in self._of.values() if s.on_screen >= at_least)
        return sorted(found, key=lambda record: -record["on_screen"])
