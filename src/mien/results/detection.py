"""What a detector finds: boxes, landmarks and how heads are turned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; x and y are the left upper corner, and may lie outside."""


def scale_box(box: Sequence[float], factor: float) -> Box:
    """A box in a picture that is `factor` times as large."""
    x, y, width, height = (v * factor for v in box)
    return x, y, width, height


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    tall = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(wide, 0.0) * max(tall, 0.0)
    return shared / max(one[2] * one[3] + other[2] * other[3] - shared, 1e-12)


LANDMARKS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
"""The five landmarks of a face in their order; right and left are the person's own."""

Landmarks = tuple[tuple[float, float], ...]
"""x and y in pixels of each of `LANDMARKS`."""


def points(given: Sequence | None) -> Landmarks | None:
    """Landmarks of lists or arrays as tuples; None stays None."""
    return None if given is None else tuple((float(x), float(y)) for x, y in given)


@dataclass(frozen=True, slots=True)
class Detection:
    """A face that a detector found.

    Attributes:
        box: x, y, width, height in pixels.
        confidence: of the detector, 0 to 1.
        landmarks: x and y in pixels of right eye, left eye, nose, right and left corner of the
            mouth (the person's own right); None from detectors that give none.
        roll: degrees by which the head is tilted, clockwise in the picture, -180 to 180; None
            where the detector does not say, and `Analyzer` then estimates it.

    Example:
        ```python
        Detection((178.0, 63.0, 90.0, 113.0), 0.93)
        ```
    """

    box: Box
    confidence: float
    landmarks: Landmarks | None = None
    roll: float | None = None

    def __post_init__(self) -> None:
        """Take lists and arrays as well; a `ValueError` for what is no box, landmarks or roll."""
        box, landmarks = tuple(map(float, self.box)), points(self.landmarks)
        if len(box) != 4 or min(box[2:]) <= 0 or not all(map(math.isfinite, box)):
            raise ValueError(f"a box is x, y, width and height in pixels, not {self.box}")
        if landmarks is not None and len(landmarks) != len(LANDMARKS):
            raise ValueError(f"landmarks are the five points {', '.join(LANDMARKS)}, or None")
        if self.roll is not None and not math.isfinite(self.roll):
            raise ValueError(f"roll is in degrees, or None, not {self.roll}")
        object.__setattr__(self, "box", box)
        object.__setattr__(self, "landmarks", landmarks)

    def scaled(self, factor: float) -> Detection:
        """The same in a picture that is `factor` times as large."""
        points = self.landmarks and tuple((x * factor, y * factor) for x, y in self.landmarks)
        return replace(self, box=scale_box(self.box, factor), landmarks=points)

    def moved(self, right: float, down: float) -> Detection:
        """The same in a picture that has so many more pixels on the left and above."""
        x, y, width, height = self.box
        points = self.landmarks and tuple((x + right, y + down) for x, y in self.landmarks)
        return replace(self, box=(x + right, y + down, width, height), landmarks=points)


NMS_IOU = 0.3


def non_maximum_suppression(found: list[Detection]) -> list[Detection]:
    """Non-maximum suppression: the most confident of those that overlap, most confident first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda d: -d.confidence):
        if all(iou(one.box, other.box) <= NMS_IOU for other in kept):
            kept.append(one)
    return kept


def estimate_yaw(landmarks: Landmarks) -> float:
    """How far a head is turned aside, from -1 to 1: the sine of its yaw, roughly.

    0 looks straight at the camera; positive looks to the picture's right. The nose's distance from
    the line between the midpoints of eyes and mouth, relative to the distance of these midpoints.
    """
    (ax, ay), (bx, by), (nx, ny), (cx, cy), (dx, dy) = landmarks
    top, bottom = ((ax + bx) / 2, (ay + by) / 2), ((cx + dx) / 2, (cy + dy) / 2)
    down = (bottom[0] - top[0], bottom[1] - top[1])
    length = math.hypot(*down)
    if length == 0:
        return 0.0
    aside = ((nx - top[0]) * down[1] - (ny - top[1]) * down[0]) / length
    return max(-1.0, min(1.0, aside / length))
