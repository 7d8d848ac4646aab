"""Detections: boxes, landmarks and head pose, and the geometry of boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; (x, y) is the upper left corner and may lie outside the image."""

LANDMARKS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
"""The five facial landmarks in order; right and left are the subject's own."""

Landmarks = tuple[tuple[float, float], ...]
"""(x, y) in pixels for each of `LANDMARKS`."""

NMS_IOU = 0.3
"""Boxes with a higher IoU are treated as duplicates of one face."""


def scale_box(box: Sequence[float], factor: float) -> Box:
    """Return the box in an image resized by `factor`."""
    x, y, width, height = (value * factor for value in box)
    return x, y, width, height


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union (IoU) of two boxes, 0 to 1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    intersection = max(width, 0.0) * max(height, 0.0)
    return intersection / max(a[2] * a[3] + b[2] * b[3] - intersection, 1e-12)


def to_landmarks(points: Sequence | None) -> Landmarks | None:
    """Convert lists or arrays of points to a tuple of tuples; None stays None."""
    return None if points is None else tuple((float(x), float(y)) for x, y in points)


@dataclass(frozen=True, slots=True)
class Detection:
    """A detected face. Lists and arrays are accepted and stored as tuples.

    Attributes:
        box: x, y, width, height in pixels.
        confidence: The detector's confidence, 0 to 1.
        landmarks: (x, y) in pixels of right eye, left eye, nose, right and left mouth corner (the
            subject's own right); None if the detector does not predict them.
        roll: In-plane rotation of the head in degrees, clockwise in the image, -180 to 180. None
            if the detector does not estimate it; `Analyzer` then estimates it.

    Raises:
        ValueError: If the box, the landmarks or the roll are malformed.

    Example:
        ```python
        detection = mien.Detection((178.0, 63.0, 90.0, 113.0), 0.93)
        ```
    """

    box: Box
    confidence: float
    landmarks: Landmarks | None = None
    roll: float | None = None

    def __post_init__(self) -> None:
        """Validate the fields, and store sequences as tuples."""
        box, landmarks = tuple(map(float, self.box)), to_landmarks(self.landmarks)
        if len(box) != 4 or min(box[2:]) <= 0 or not all(map(math.isfinite, box)):
            raise ValueError(f"box must be finite x, y, width, height in pixels, not {self.box}")
        if landmarks is not None and len(landmarks) != len(LANDMARKS):
            raise ValueError(f"landmarks must be the points {', '.join(LANDMARKS)}, or None")
        if self.roll is not None and not math.isfinite(self.roll):
            raise ValueError(f"roll must be finite degrees or None, not {self.roll}")
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "landmarks", landmarks)

    def scaled(self, factor: float) -> Detection:
        """Return the same face in the image resized by `factor`.

        Example:
            ```python
            half = mien.Detection((178.0, 63.0, 90.0, 113.0), 0.93).scaled(0.5)
            ```
        """
        landmarks = self.landmarks and tuple((x * factor, y * factor) for x, y in self.landmarks)
        return replace(self, box=scale_box(self.box, factor), landmarks=landmarks)

    def shifted(self, dx: float, dy: float) -> Detection:
        """Return the same face translated by (dx, dy) pixels.

        Example:
            ```python
            right = mien.Detection((178.0, 63.0, 90.0, 113.0), 0.93).shifted(10, 0)
            ```
        """
        x, y, width, height = self.box
        landmarks = self.landmarks and tuple((x + dx, y + dy) for x, y in self.landmarks)
        return replace(self, box=(x + dx, y + dy, width, height), landmarks=landmarks)


def non_maximum_suppression(detections: list[Detection]) -> list[Detection]:
    """Keep the most confident of detections with an IoU above `NMS_IOU`; sort by confidence."""
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda detection: -detection.confidence):
        if all(iou(candidate.box, other.box) <= NMS_IOU for other in kept):
            kept.append(candidate)
    return kept


def estimate_yaw(landmarks: Landmarks) -> float:
    """Estimate how far a head is turned sideways: approximately the sine of its yaw, -1 to 1.

    It is the signed distance of the nose from the line through the midpoint of the eyes and the
    midpoint of the mouth corners, divided by the distance between these midpoints.

    Args:
        landmarks: The five points of `LANDMARKS`.

    Returns:
        0 for a frontal face, or if both midpoints coincide; positive if the face is turned to the
        right of the image.
    """
    right_eye, left_eye, (nose_x, nose_y), mouth_right, mouth_left = landmarks
    eyes_x, eyes_y = _midpoint(right_eye, left_eye)
    mouth_x, mouth_y = _midpoint(mouth_right, mouth_left)
    down_x, down_y = mouth_x - eyes_x, mouth_y - eyes_y
    length = math.hypot(down_x, down_y)
    if length == 0:
        return 0.0
    sideways = ((nose_x - eyes_x) * down_y - (nose_y - eyes_y) * down_x) / length
    return max(-1.0, min(1.0, sideways / length))


def _midpoint(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
