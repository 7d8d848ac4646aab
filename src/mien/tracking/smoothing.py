"""Causal smoothing of each face's emotions over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mien.results import Face
from mien.tracking.frame_interval import MAX_AGE_SECONDS

TIME_CONSTANT = 0.5
"""Default time constant in seconds: after this time, smoothed emotions have followed 63 % of a
sudden change."""


class Smoother:
    """Smooths each face's emotions exponentially, weighted by time instead of number of frames.

    Smoothed shares still sum to 1. After a gap, earlier values have less weight.

    Args:
        time_constant: Time constant in seconds; 0 disables smoothing.
        max_age_seconds: Smoothing restarts for a face that is absent for more than this many
            seconds and for more than the time constant.
    """

    def __init__(
        self, time_constant: float = TIME_CONSTANT, max_age_seconds: float = MAX_AGE_SECONDS
    ) -> None:
        self.time_constant, self._max_age_seconds = time_constant, max_age_seconds
        self._latest: dict[int, tuple[float, dict[str, float]]] = {}

    def __call__(self, seconds: float, faces: Sequence[Face]) -> list[Face]:
        """Return the faces of the next frame with `smoothed` emotions."""
        self._remove_absent(seconds)
        return [replace(face, smoothed=self._smooth(seconds, face)) for face in faces]

    def replay(self, seconds: float, faces: Sequence[Face]) -> bool:
        """Add smoothed faces of an earlier run; return whether this smoother computes the same."""
        self._remove_absent(seconds)
        tracked = [face for face in faces if face.face_id in self._latest]
        matches = all(_are_close(face.smoothed, self._filter(seconds, face)) for face in tracked)
        self(seconds, faces)
        return matches

    def state(self) -> dict[str, Any]:
        """Return a JSON-serializable state for `restore`."""
        faces = [
            {"face_id": face_id, "seconds": seconds, "emotions": dict(emotions)}
            for face_id, (seconds, emotions) in self._latest.items()
        ]
        return {"time_constant": self.time_constant, "faces": faces}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
        self.time_constant = float(state["time_constant"])
        self._latest = {
            face["face_id"]: (face["seconds"], dict(face["emotions"])) for face in state["faces"]
        }

    def _remove_absent(self, seconds: float) -> None:
        max_age = max(self._max_age_seconds, self.time_constant)
        self._latest = {
            face_id: latest
            for face_id, latest in self._latest.items()
            if 0 <= seconds - latest[0] <= max_age
        }

    def _smooth(self, seconds: float, face: Face) -> dict[str, float]:
        """Return smoothed emotions; use those of an earlier run if the face has them."""
        emotions = self._filter(seconds, face) if face.smoothed is None else dict(face.smoothed)
        self._latest[face.face_id] = (seconds, emotions)
        return emotions

    def _filter(self, seconds: float, face: Face) -> dict[str, float]:
        emotions = dict(face.emotions)
        if face.face_id not in self._latest or self.time_constant <= 0:
            return emotions
        last_seconds, smoothed = self._latest[face.face_id]
        weight = math.exp(-(seconds - last_seconds) / self.time_constant)
        return {
            name: weight * smoothed[name] + (1 - weight) * share for name, share in emotions.items()
        }


def _are_close(a: Mapping[str, float] | None, b: Mapping[str, float]) -> bool:
    """Return whether emotions are nearly equal; True if the earlier run did not smooth (None)."""
    return a is None or all(abs(a[name] - b[name]) <= 1e-6 for name in a)
