"""The emotions of each face, smoothed over time as they come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from mien.results import Face
from mien.tracking.tracker import PATIENCE

TIME_CONSTANT = 0.5
"""Seconds after which smoothed emotions have followed 63 % of a sudden change."""


class Smoother:
    """Smooths the emotions of each face over time, exponentially, by the clock and not by frames.

    time_constant: in seconds; 0 leaves them as they are. After a gap the past counts for as little
    as its age says. What is smoothed are probabilities, so their sum stays 1.
    """

    def __init__(self, time_constant: float = TIME_CONSTANT, patience: float = PATIENCE) -> None:
        self._constant, self._patience = time_constant, patience
        self._known: dict[int, tuple[float, dict[str, float]]] = {}

    def __call__(self, seconds: float, faces: Sequence[Face]) -> list[Face]:
        """The faces of a frame with `smoothed` emotions, by their ids."""
        self._forget(seconds)
        return [replace(face, smoothed=self._smoothed(seconds, face)) for face in faces]

    def again(self, seconds: float, faces: Sequence[Face]) -> list[Face]:
        """Those of the faces that are known, as they would be smoothed; nothing is taken in."""
        self._forget(seconds)
        known = [face for face in faces if face.face_id in self._known]
        return [replace(face, smoothed=self._mixed(seconds, face)) for face in known]

    def _forget(self, seconds: float) -> None:
        self._known = {
            face_id: known
            for face_id, known in self._known.items()
            if 0 <= seconds - known[0] <= max(self._patience, self._constant)
        }

    def _smoothed(self, seconds: float, face: Face) -> dict[str, float]:
        """Smoothed emotions; those taken up from an earlier run stay as they are."""
        now = self._mixed(seconds, face) if face.smoothed is None else dict(face.smoothed)
        self._known[face.face_id] = (seconds, now)
        return now

    def _mixed(self, seconds: float, face: Face) -> dict[str, float]:
        now = dict(face.emotions)
        if face.face_id not in self._known or self._constant <= 0:
            return now
        then, before = self._known[face.face_id]
        keep = math.exp(-(seconds - then) / self._constant)
        return {name: keep * before[name] + (1 - keep) * share for name, share in now.items()}
