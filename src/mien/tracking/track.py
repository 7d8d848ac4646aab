"""`Track`: motion and appearance of one face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.results import Box
from mien.tracking.appearance import centered, differ, normalized, thumbnail

VELOCITY_TIME_CONSTANT = 2.0
"""Time constant in seconds with which the velocity of an undetected face decays."""

VELOCITY_GAIN, UPDATE_TIME_CONSTANT = 0.5, 0.1
"""A detection corrects the velocity by this fraction of its error, times
1 - exp(-seconds since the last detection / UPDATE_TIME_CONSTANT)."""

APPEARANCE_GAIN = 0.2
"""Weight of the latest detection in the mean appearance of a track."""

ABRUPT_SECONDS, MAX_LIGHT_RATIO = 0.1, 3.0
"""A change at a face is abrupt if it happens between two frames that are at most `ABRUPT_SECONDS`
apart; a hand or a turning head takes longer. A change of brightness or contrast by more than the
factor `MAX_LIGHT_RATIO` is ignored, because it is a flash."""

MAX_REPLACEMENT_AGE = 0.5
"""Maximum seconds since the latest detection of a face that another face replaces."""


@dataclass(slots=True)
class Track:
    """A tracked face.

    An appearance is a normalized thumbnail (`appearance.appearance_of`).

    Attributes:
        face_id: Face id.
        box: (4,) center x and y in pixels, log width, log height.
        velocity: (4,) change of `box` per second.
        mean_appearance: Appearance averaged over the detections.
        last_seen: Time of the latest detection in seconds.
        last_appearance: Appearance at the latest detection.
        expected_thumbnail: Thumbnail at the predicted box in the latest frame; None at first.
        expected_at: Time of that frame in seconds.
        changed_at: Time of the latest abrupt change in seconds; None if there was none.
    """

    face_id: int
    box: np.ndarray
    velocity: np.ndarray
    mean_appearance: np.ndarray
    last_seen: float
    last_appearance: np.ndarray
    expected_thumbnail: np.ndarray | None = None
    expected_at: float = 0.0
    changed_at: float | None = None

    @classmethod
    def begin(cls, face_id: int, box: np.ndarray, appearance: np.ndarray, seconds: float) -> Track:
        """Return the track of a face that is detected for the first time."""
        return cls(face_id, box, np.zeros(4), appearance, seconds, appearance)

    def to_dict(self) -> dict[str, Any]:
        """Return the track as a JSON-serializable dictionary."""
        expected = self.expected_thumbnail
        return {
            "face_id": self.face_id,
            "box": self.box.tolist(),
            "velocity": self.velocity.tolist(),
            "mean_appearance": self.mean_appearance.tolist(),
            "last_seen": self.last_seen,
            "last_appearance": self.last_appearance.tolist(),
            "expected_thumbnail": None if expected is None else expected.tolist(),
            "expected_at": self.expected_at,
            "changed_at": self.changed_at,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Track:
        """Create a track from the dictionary that `to_dict` returned."""
        expected = state["expected_thumbnail"]
        return cls(
            state["face_id"],
            np.array(state["box"], np.float64),
            np.array(state["velocity"], np.float64),
            np.array(state["mean_appearance"], np.float32),
            state["last_seen"],
            np.array(state["last_appearance"], np.float32),
            None if expected is None else np.array(expected, np.float32),
            state["expected_at"],
            state["changed_at"],
        )

    def predict(self, seconds: float, width: int, height: int) -> np.ndarray:
        """Return the expected box at a time, with decaying velocity.

        The center is clipped to the image of the given size, because a face that leaves the image
        usually comes back at the same border.
        """
        age = seconds - self.last_seen
        travel = VELOCITY_TIME_CONSTANT * (1 - math.exp(-age / VELOCITY_TIME_CONSTANT))
        box = self.box + self.velocity * travel
        box[:2] = box[:2].clip(0, (width, height))
        return box

    def scale(self, x: float, y: float) -> None:
        """Scale the track, because the width and height of frames have changed by these factors."""
        self.box = self.box * (x, y, 1, 1) + (0, 0, math.log(x), math.log(y))
        self.velocity = self.velocity * (x, y, 1, 1)

    def find_change(self, pixels: np.ndarray, seconds: float) -> bool:
        """Add the next frame; return whether it has changed abruptly at the predicted box."""
        height, width = pixels.shape[:2]
        x, y, w, h = box = decode(self.predict(seconds, width, height))
        before, elapsed = self.expected_thumbnail, seconds - self.expected_at
        now = self.expected_thumbnail = thumbnail(pixels, box)
        self.expected_at = seconds
        # A face at the border can change because more or less of it is visible.
        is_inside = x >= 0 and y >= 0 and x + w <= width and y + h <= height
        if before is None or not is_inside or not 0 < elapsed <= ABRUPT_SECONDS:
            return False
        if not _is_flash(before, now) and differ(centered(before), centered(now)):
            self.changed_at = seconds
        return self.changed_at == seconds

    def is_replaced(self, appearance: np.ndarray, seconds: float) -> bool:
        """Return whether the image has changed abruptly and a detection looks like another face."""
        return (
            self.changed_at == seconds
            and seconds - self.last_seen <= MAX_REPLACEMENT_AGE
            and differ(self.last_appearance, appearance)
        )

    def update(self, box: np.ndarray, appearance: np.ndarray, seconds: float) -> None:
        """Add a detection: set the box, and correct velocity (alpha-beta filter) and appearance."""
        self.last_appearance = appearance
        elapsed = max(seconds - self.last_seen, 1e-3)
        error = box - (self.box + self.velocity * elapsed)
        weight = 1 - math.exp(-elapsed / UPDATE_TIME_CONSTANT)
        self.velocity = self.velocity + weight * VELOCITY_GAIN * error / elapsed
        self.velocity[2:] = self.velocity[2:].clip(-1, 1)
        self.box, self.last_seen = box, seconds
        self.mean_appearance = normalized(
            (1 - APPEARANCE_GAIN) * self.mean_appearance + APPEARANCE_GAIN * appearance
        )


def encode(box: Box) -> np.ndarray:
    """Convert a box to the form in `Track.box`."""
    x, y, w, h = box
    return np.array([x + w / 2, y + h / 2, math.log(max(w, 1)), math.log(max(h, 1))])


def decode(encoded: np.ndarray) -> Box:
    """Convert `Track.box` to a box."""
    x, y = encoded[:2].tolist()
    w, h = np.exp(encoded[2:]).tolist()
    return x - w / 2, y - h / 2, w, h


def _is_flash(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether brightness or contrast of a thumbnail have changed too much for a new face."""
    ratios = (after.mean() + 1) / (before.mean() + 1), (after.std() + 1) / (before.std() + 1)
    return not all(1 / MAX_LIGHT_RATIO < ratio < MAX_LIGHT_RATIO for ratio in ratios)
