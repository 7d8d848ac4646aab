"""The emotions of each face, smoothed over time as they come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mien.results import Face
from mien.tracking.tracker import MAX_AGE_SECONDS

TIME_CONSTANT = 0.5
"""Seconds after which smoothed emotions have followed 63 % of a sudden change."""


class Smoother:
    """Smooths the emotions of each face over time, exponentially, by the clock and not by frames.

    time_constant: in seconds; 0 leaves them as they are. After a gap the past counts for as little
    as its age says. What is smoothed are probabilities, so their sum stays 1.
    """

    def __init__(
        self, time_constant: float = TIME_CONSTANT, patience: float = MAX_AGE_SECONDS
    ) -> None:
        self.time_constant, self._patience = time_constant, patience
        self._known: dict[int, tuple[float, dict[str, float]]] = {}

    def __call__(self, seconds: float, faces: Sequence[Face]) -> list[Face]:
        """The faces of a frame with `smoothed` emotions, by their ids."""
        self._forget(seconds)
        return [replace(face, smoothed=self._smoothed(seconds, face)) for face in faces]

    def replay(self, seconds: float, faces: Sequence[Face]) -> bool:
        """Take in the smoothed faces of an earlier run; whether this would have given the same."""
        self._forget(seconds)
        known = [face for face in faces if face.face_id in self._known]
        agrees = all(_agree(face.smoothed, self._mixed(seconds, face)) for face in known)
        self(seconds, faces)
        return agrees

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from; JSON can hold it."""
        faces = [
            {"face_id": face_id, "seconds": seconds, "emotions": dict(emotions)}
            for face_id, (seconds, emotions) in self._known.items()
        ]
        return {"time_constant": self.time_constant, "faces": faces}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.time_constant = float(state["time_constant"])
        self._known = {
            face["face_id"]: (face["seconds"], dict(face["emotions"])) for face in state["faces"]
        }

    def _forget(self, seconds: float) -> None:
        self._known = {
            face_id: known
            for face_id, known in self._known.items()
            if 0 <= seconds - known[0] <= max(self._patience, self.time_constant)
        }

    def _smoothed(self, seconds: float, face: Face) -> dict[str, float]:
        """Smoothed emotions; those taken up from an earlier run stay as they are."""
        now = self._mixed(seconds, face) if face.smoothed is None else dict(face.smoothed)
        self._known[face.face_id] = (seconds, now)
        return now

    def _mixed(self, seconds: float, face: Face) -> dict[str, float]:
        now = dict(face.emotions)
        if face.face_id not in self._known or self.time_constant <= 0:
            return now
        then, before = self._known[face.face_id]
        keep = math.exp(-(seconds - then) / self.time_constant)
        return {name: keep * before[name] + (1 - keep) * share for name, share in now.items()}


def _agree(one: Mapping[str, float] | None, other: Mapping[str, float]) -> bool:
    return one is None or all(abs(one[name] - other[name]) <= 1e-6 for name in one)
