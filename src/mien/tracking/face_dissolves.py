"""Dissolves of faces: one face changes gradually into another, while the scene stays the same.

Five crops of a fixed box, at the quarter points of a window in time, are examined. In a dissolve,
each is a mixture of the first and the last one, and the weight of the last one rises from 0 to 1.
"""

from __future__ import annotations

import base64
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.io import resize
from mien.results import Box
from mien.tracking import thumbnails
from mien.tracking.dissolves import SAMPLE_SECONDS, WINDOWS, quarter_points_of_windows
from mien.tracking.thumbnails import Thumbnail, similarity

FRAME_WIDTH, FRAME_HEIGHT = 128, 72
"""Size of the stored frames in pixels, whatever the aspect ratio of the video."""

MIN_CONTRAST = 8.0
"""Minimum standard deviation of the gray levels of the first and the last crop."""

MAX_STEP = 0.42
"""Maximum increase of the weight of the last crop between two successive crops. So a dissolve takes
at least about 0.3 seconds; in changes that are faster, a person often stays the same."""


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """Limits of a dissolve.

    Attributes:
        max_error: Maximum error of each mixture, as a fraction of the power of the whole change.
        min_step: Minimum increase of the weight of the last crop between two successive crops.
        min_contrast_ratio: Minimum contrast of the first or the last crop, as a fraction of the
            higher one. With a lower one, the image fades to black or white, or loses the focus.
        max_motion: Maximum distance of the centers and maximum difference of the widths of the
            first and the last box, in widths of the wider one. A face that moves through the box
            can resemble a dissolve.
        max_correlation: Maximum correlation of the first and the last crop.
        max_similarity: Maximum similarity (`thumbnails.similarity`) of the faces in the first and
            the last box.
        min_side: Minimum width and height of the crops in pixels.
    """

    max_error: float
    min_step: float
    min_contrast_ratio: float
    max_motion: float
    max_correlation: float
    max_similarity: float
    min_side: int


MOVING = _Limits(
    max_error=0.1,
    min_step=0.1,
    min_contrast_ratio=0.5,
    max_motion=0.2,
    max_correlation=0.75,
    max_similarity=0.45,
    min_side=12,
)
"""Limits for any error up to `max_error`."""

STILL = _Limits(
    max_error=0.02,
    min_step=-0.05,
    min_contrast_ratio=0.3,
    max_motion=math.inf,
    max_correlation=0.85,
    max_similarity=0.55,
    min_side=9,
)
"""Looser limits for nearly exact mixtures, which occur only if neither face moves: the dissolve may
begin or end within the window, and the boxes of the two faces may differ."""


class FaceDissolveDetector:
    """Decides whether the face in a box was another one up to two seconds ago.

    Crops of a head that turns, a face that moves or a hand in front of it are no mixtures.
    """

    def __init__(self) -> None:
        self._frames: deque[tuple[float, np.ndarray]] = deque(maxlen=max(WINDOWS) + 1)

    def reset(self) -> None:
        """Forget all frames."""
        self._frames.clear()

    def add(self, pixels: np.ndarray, seconds: float) -> None:
        """Add the next frame, (H, W, 3) uint8 RGB.

        Frames less than `SAMPLE_SECONDS` after the last stored one are not stored. A jump back in
        time forgets all frames.
        """
        if self._frames and seconds < self._frames[-1][0]:
            self.reset()
        if self._frames and seconds - self._frames[-1][0] < SAMPLE_SECONDS:
            return
        frame = thumbnails.reduced_gray(pixels, FRAME_WIDTH, FRAME_HEIGHT)
        self._frames.append((seconds, frame))

    def is_dissolved(
        self, box: Box, earlier: Sequence[tuple[float, Box]], width: int, height: int
    ) -> bool:
        """Return whether the face in a box has dissolved into another one; call `add` before.

        Args:
            box: Present box of the face.
            earlier: Time in seconds and box of the face in earlier frames, in order of time.
                Windows that begin before the first of them are not examined.
            width: Width of the video in pixels.
            height: Height of the video in pixels.
        """
        for samples in quarter_points_of_windows(list(self._frames)):
            start, first_frame = samples[0]
            first_box = next((b for seconds, b in reversed(earlier) if seconds <= start), None)
            if first_box is None:  # this and longer windows begin before the boxes
                return False
            crops = [_crop(frame, box, width, height) for _, frame in samples]
            limits = _satisfied_limits(crops)
            if limits is None or _motion(first_box, box) > limits.max_motion:
                continue
            first_face = _crop(first_frame, first_box, width, height)
            if _similarity(first_face, crops[-1]) <= limits.max_similarity:
                return True
        return False

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


def _crop(frame: np.ndarray, box: Box, width: int, height: int) -> np.ndarray:
    """Crop a stored frame to a box, which is in pixels of the video of size `width` x `height`."""
    x, y, w, h = box
    left, right = (round(min(max(v, 0), width) * FRAME_WIDTH / width) for v in (x, x + w))
    top, bottom = (round(min(max(v, 0), height) * FRAME_HEIGHT / height) for v in (y, y + h))
    return frame[top:bottom, left:right]


def _satisfied_limits(crops: Sequence[np.ndarray]) -> _Limits | None:
    """Return `STILL` or `MOVING` if five crops are mixtures within these limits, otherwise None.

    Motion and similarity of the faces are not compared.
    """
    if min(crops[0].shape) < STILL.min_side:
        return None
    first, *between, last = (crop - crop.mean() for crop in crops)
    contrasts = float(first.std()), float(last.std())
    if min(contrasts) < MIN_CONTRAST:
        return None
    correlation = float((first * last).mean()) / (contrasts[0] * contrasts[1])
    if correlation > STILL.max_correlation:  # true for most windows, so the rest is rarely computed
        return None
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
    is_dissolve = (
        error <= limits.max_error
        and steps.min() >= limits.min_step
        and steps.max() <= MAX_STEP
        and correlation <= limits.max_correlation
        and min(contrasts) >= limits.min_contrast_ratio * max(contrasts)
        and min(first.shape) >= limits.min_side
    )
    return limits if is_dissolve else None


def _motion(a: Box, b: Box) -> float:
    """Return the larger of distance and difference in width of two boxes, in widths."""
    distance = math.hypot(a[0] - b[0] + (a[2] - b[2]) / 2, a[1] - b[1] + (a[3] - b[3]) / 2)
    return max(distance, abs(a[2] - b[2])) / max(a[2], b[2])


def _similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Return the similarity of two crops of any size; 1 if one is too small."""
    if min(*a.shape, *b.shape) < STILL.min_side:
        return 1.0
    size = thumbnails.THUMBNAIL_WIDTH, thumbnails.THUMBNAIL_HEIGHT
    one, other = (Thumbnail(resize.area(crop, size)) for crop in (a, b))
    return similarity(one, other)
