"""The nouns: a frame of pixels and a face found in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; x and y are the left upper corner, and may lie outside."""


def scaled(box: Sequence[float], factor: float) -> Box:
    """A box in a picture that is `factor` times as large."""
    x, y, width, height = (v * factor for v in box)
    return x, y, width, height


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    tall = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(wide, 0.0) * max(tall, 0.0)
    return shared / max(one[2] * one[3] + other[2] * other[3] - shared, 1e-12)


LANDMARKS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
"""The five landmarks of a face in their order; right and left are the person's own."""

Landmarks = tuple[tuple[float, float], ...]
"""x and y in pixels of each of `LANDMARKS`."""


def _points(points: Sequence | None) -> Landmarks | None:
    return None if points is None else tuple((float(x), float(y)) for x, y in points)


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
        box, landmarks = tuple(map(float, self.box)), _points(self.landmarks)
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
        return replace(self, box=scaled(self.box, factor), landmarks=points)

    def moved(self, right: float, down: float) -> Detection:
        """The same in a picture that has so many more pixels on the left and above."""
        x, y, width, height = self.box
        points = self.landmarks and tuple((x + right, y + down) for x, y in self.landmarks)
        return replace(self, box=(x + right, y + down, width, height), landmarks=points)


NMS_IOU = 0.3


def suppressed(found: list[Detection]) -> list[Detection]:
    """Non-maximum suppression: the most confident of those that overlap, most confident first."""
    kept: list[Detection] = []
    for one in sorted(found, key=lambda d: -d.confidence):
        if all(overlap(one.box, other.box) <= NMS_IOU for other in kept):
            kept.append(one)
    return kept


def yaw(landmarks: Landmarks) -> float:
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


Kind = Literal["image", "animation", "video", "camera", "stream", "sequence"]
"""What a frame was read from, as `io.source.Source` says it."""

LIVE: tuple[Kind, ...] = ("camera", "stream")
"""Kinds that drop frames instead of waiting."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture, alone or of a sequence. Equal only to itself, as pixels have no one answer.

    pixels: (H, W, 3) uint8 RGB, upright. source: where it came from, for a person to read.
    number: its place in the source, from 0. seconds: the source's own time stamp, 0 for a still.
    model, detector: who looked at it; empty until somebody did.
    kind: of its source, such as "image" or "video". location: where its source can be opened
    again, for its sound; empty if that is not known.
    """

    pixels: np.ndarray = field(repr=False)
    source: str = ""
    number: int = 0
    seconds: float = 0.0
    model: str = ""
    detector: str = ""
    kind: Kind = "image"
    location: str = field(default="", repr=False)

    @property
    def is_video(self) -> bool:
        """Whether the frames of its source follow each other in time, so that faces keep ids."""
        return self.kind != "image"

    @property
    def is_live(self) -> bool:
        """Whether it comes from a camera or a stream."""
        return self.kind in LIVE


@dataclass(frozen=True)
class Face:
    """One face in one frame, and how people would label its expression.

    box: where the detector saw it. face_confidence: how sure the detector is, 0 to 1.
    emotions: label -> the share of people who would give it; 0 to 1, summing to 1 within 1e-6.
    face_id: its place in the frame or, in a video, who it is from frame to frame.
    flags: reasons to trust the emotions less: "too_small", "blurred", "low_confidence", "tilted"
    (the head leans to a shoulder), "turned" (it looks aside).
    landmarks: x and y in pixels of right eye, left eye, nose, right and left corner of the mouth
    (the person's own right); None where the detector gives none.
    smoothed: in a video, the emotions smoothed over time; None for a still.
    """

    box: Box
    face_confidence: float
    emotions: Mapping[str, float]
    face_id: int = 0
    flags: tuple[str, ...] = ()
    smoothed: Mapping[str, float] | None = None
    landmarks: Landmarks | None = None

    @cached_property
    def dominant_emotion(self) -> str:
        """The emotion with the largest share."""
        return max(self.emotions, key=self.emotions.__getitem__)


Write = Callable[[Frame, list[Face]], None]
"""What writers give: takes a frame and its faces."""


def record(frame: Frame, faces: list[Face]) -> dict:
    """Frame and faces as the one dictionary that JSONL lines and HTTP answers hold."""
    height, width = frame.pixels.shape[:2]
    return {
        "source": frame.source,
        "frame": frame.number,
        "seconds": frame.seconds,
        "width": width,
        "height": height,
        "model": frame.model,
        "detector": frame.detector,
        "faces": [
            {
                "face_id": face.face_id,
                "box": list(face.box),
                "face_confidence": face.face_confidence,
                "emotions": dict(face.emotions),
                "dominant_emotion": face.dominant_emotion,
                "flags": list(face.flags),
                "landmarks": face.landmarks and [list(point) for point in face.landmarks],
                **({"smoothed": dict(face.smoothed)} if face.smoothed is not None else {}),
            }
            for face in faces
        ],
    }


def recorded(record: Mapping) -> list[Face]:
    """The faces of a record, as they were."""
    return [
        Face(
            tuple(face["box"]),
            face["face_confidence"],
            face["emotions"],
            face["face_id"],
            tuple(face["flags"]),
            face.get("smoothed"),
            _points(face.get("landmarks")),
        )
        for face in record["faces"]
    ]
