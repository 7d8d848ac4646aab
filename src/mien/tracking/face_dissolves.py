"""Dissolves of faces: one face changes gradually into another, while the scene stays the same."""

from __future__ import annotations

import base64
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.io import resize
from mien.results import Box
from mien.tracking import thumbnails
from mien.tracking.dissolves import SAMPLE_SECONDS, WINDOWS, quarters_of_windows
from mien.tracking.thumbnails import Thumbnail, similarity

FRAME_WIDTH, FRAME_HEIGHT = 128, 72
"""Size of the stored frames in pixels, whatever the aspect ratio of the video."""

MIN_FACE_SIDE = 8
"""Smaller faces in the stored frames, in pixels, are not examined."""

MIN_CONTRAST = 8.0
"""Minimum standard deviation of the gray levels of the first and the last crop."""

MAX_CORRELATION = 0.75
"""If the first and the last crop correlate by at least this, they show the same face."""


@dataclass(frozen=True)
class _Limits:
    """Limits of a dissolve.

    Attributes:
        max_error: Maximum error of each mixture, as a fraction of the power of the whole change.
        min_step: Minimum increase of the weight of the last crop between two quarters.
        max_step: Maximum increase.
        max_similarity: Maximum similarity of the first and the last crop.
        min_contrast_ratio: Minimum ratio of the contrasts of the first and the last crop. With a
            larger change, the image fades to black or white, or loses the focus.
    """

    max_error: float
    min_step: float
    max_step: float
    max_similarity: float
    min_contrast_ratio: float


MOVING = _Limits(0.1, 0.1, 0.42, 0.4, 0.5)
STILL = _Limits(0.02, -0.05, 0.75, 0.5, 0.3)
"""Only dissolves of faces that do not move have errors as small as in `STILL`. So they are found
even if they begin or end within the window."""


class FaceDissolveDetector:
    """Decides whether the face in a box was another one up to two seconds ago.

    In a dissolve, the crops of a fixed box are mixtures of the first and the last one, and the
    weight of the last one rises steadily. Crops of a head that turns, a face that moves or a hand
    in front of it are no such mixtures.
    """

    def __init__(self) -> None:
        self._frames: deque[tuple[float, np.ndarray]] = deque(maxlen=max(WINDOWS) + 1)

    def reset(self) -> None:
        """Forget all frames."""
        self._frames.clear()

    def add(self, pixels: np.ndarray, seconds: float) -> None:
        """Add the next frame, (H, W, 3) uint8 RGB; a jump back in time forgets the others."""
        if self._frames and seconds < self._frames[-1][0]:
            self.reset()
        if self._frames and seconds - self._frames[-1][0] < SAMPLE_SECONDS:
            return
        frame = thumbnails.reduced_gray(pixels, FRAME_WIDTH, FRAME_HEIGHT)
        self._frames.append((seconds, frame))

    def is_dissolved(self, box: Box, width: int, height: int, since: float) -> bool:
        """Return whether the face in a box has dissolved into another one.

        Args:
            box: Box of the face in the latest frame.
            width: Width of the video in pixels.
            height: Height of the video in pixels.
            since: Frames before this time, in seconds, are ignored.
        """
        x, y, w, h = box
        left, right = (round(min(max(v, 0), width) * FRAME_WIDTH / width) for v in (x, x + w))
        top, bottom = (round(min(max(v, 0), height) * FRAME_HEIGHT / height) for v in (y, y + h))
        if min(right - left, bottom - top) < MIN_FACE_SIDE:
            return False
        samples = [
            (seconds, frame[top:bottom, left:right])
            for seconds, frame in self._frames
            if seconds >= since
        ]
        return any(_is_dissolve(crops) for crops in quarters_of_windows(samples))

    def state(self) -> list[tuple[float, str]]:
        """Return a JSON-serializable state for `restore`."""
        return [
            (seconds, base64.b64encode(frame.tobytes()).decode()) for seconds, frame in self._frames
        ]

    def restore(self, state: Any) -> None:
        """Restore a state that `state` returned."""
        self.reset()
        for seconds, text in state:
            frame = np.frombuffer(base64.b64decode(text), np.uint8)
            self._frames.append((seconds, frame.reshape(FRAME_HEIGHT, FRAME_WIDTH)))


def _is_dissolve(crops: list[np.ndarray]) -> bool:
    """Return whether five crops, at the quarters of a window, are of a dissolve."""
    first, *between, last = (crop - crop.mean() for crop in crops)
    contrasts = float(first.std()), float(last.std())
    if min(contrasts) < MIN_CONTRAST:
        return False
    if float((first * last).mean()) >= MAX_CORRELATION * contrasts[0] * contrasts[1]:
        return False
    change = last - first
    power = float((change**2).mean())
    weights = [float(((crop - first) * change).mean()) / power for crop in between]
    mixtures = [first + weight * change for weight in weights]
    error = max(
        float(((crop - mixture) ** 2).mean()) / power
        for crop, mixture in zip(between, mixtures, strict=True)
    )
    limits = STILL if error <= STILL.max_error else MOVING
    steps = np.diff([0.0, *weights, 1.0])
    return bool(
        error <= limits.max_error
        and steps.min() >= limits.min_step
        and steps.max() <= limits.max_step
        and min(contrasts) >= limits.min_contrast_ratio * max(contrasts)
        and similarity(_thumbnail(crops[-1]), _thumbnail(crops[0])) < limits.max_similarity
    )


def _thumbnail(crop: np.ndarray) -> Thumbnail:
    size = thumbnails.THUMBNAIL_WIDTH, thumbnails.THUMBNAIL_HEIGHT
    return Thumbnail(resize.area(crop, size))
