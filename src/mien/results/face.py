"""`Face`: a face in a frame, with its box and its emotion shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from mien.results.detection import Box, Landmarks, scale_box, to_landmarks

FLAGS = {
    "too_small": "too small to be reliable",
    "blurred": "blurred",
    "low_confidence": "possibly not a face",
    "tilted": "head tilted",
    "turned": "turned away",
}
"""The flags of a face, with descriptions in plain English."""


class FrozenDict(dict[str, float]):
    """An immutable, hashable dictionary of shares; JSON and pandas accept it as a `dict`."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple:
        return type(self), (dict(self),)

    def _immutable(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("The emotions of a face are immutable; edit a copy: dict(emotions).")

    __setitem__ = __delitem__ = __ior__ = _immutable  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _immutable  # type: ignore[assignment]


@dataclass(frozen=True)
class Face:
    """A face in a frame, with the predicted shares of its emotions.

    Attributes:
        box: x, y, width and height of the detected box in pixels; (x, y) is the upper left corner.
        face_confidence: The detector's confidence, 0 to 1.
        emotions: Immutable dictionary from each label to the predicted share of people who would
            choose it, 0 to 1. The shares sum to 1 within 1e-6.
        face_id: In an image, the index of the face in the result. In a video, the number of its
            track, which is the same in all frames.
        flags: Reasons to trust the emotions less: "too_small", "blurred", "low_confidence",
            "tilted" (large roll), "turned" (large yaw).
        smoothed: In a video, the emotion shares smoothed over time (`emotions` if smoothing is
            disabled); None for an image.
        landmarks: (x, y) in pixels of right eye, left eye, nose, right and left mouth corner (the
            subject's own right); None if the detector does not predict them.

    Example:
        ```python
        for face in mien.Analyzer().analyze("photo.jpg"):
            print(face.dominant_emotion, face.emotions["happy"], face.box)
        ```
    """

    box: Box
    face_confidence: float
    emotions: Mapping[str, float]
    face_id: int = 0
    flags: tuple[str, ...] = ()
    smoothed: Mapping[str, float] | None = None
    landmarks: Landmarks | None = None

    def __post_init__(self) -> None:
        """Store lists and dictionaries as immutable copies."""
        fields = {
            "box": tuple(self.box),
            "emotions": FrozenDict(self.emotions),
            "flags": tuple(self.flags),
            "smoothed": None if self.smoothed is None else FrozenDict(self.smoothed),
            "landmarks": to_landmarks(self.landmarks),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @cached_property
    def dominant_emotion(self) -> str:
        """The emotion with the largest share."""
        return max(self.emotions, key=self.emotions.__getitem__)

    def scaled(self, factor: float) -> Face:
        """Return the same face in the image resized by `factor`.

        Example:
            ```python
            (face,) = mien.Analyzer().analyze("photo.jpg")
            print(face.box, face.scaled(0.5).box)
            ```
        """
        if factor == 1:
            return self
        landmarks = self.landmarks and tuple((x * factor, y * factor) for x, y in self.landmarks)
        return replace(self, box=scale_box(self.box, factor), landmarks=landmarks)

    def crop(self, pixels: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Cut the detected box out of the image, without rotation or resizing.

        Args:
            pixels: The pixels of the frame, (H, W, 3) uint8 RGB.
            margin: Margin added on each side, as a fraction of the box's width and height.

        Returns:
            A copy, (h, w, 3) uint8 RGB, clipped to the image, at least one pixel a side.

        Example:
            ```python
            result = mien.Analyzer().analyze("photo.jpg")
            crops = [face.crop(result.frame.pixels, margin=0.2) for face in result]
            ```
        """
        x, y, width, height = self.box
        rows = _span(y, height, margin, pixels.shape[0])
        return pixels[rows, _span(x, width, margin, pixels.shape[1])].copy()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-serializable dictionary of all attributes, including `dominant_emotion`.

        It contains `smoothed` only if that is not None; `landmarks` may be None.

        Example:
            ```python
            import json

            (face,) = mien.Analyzer().analyze("photo.jpg")
            print(json.dumps(face.to_dict()))
            ```
        """
        return {
            "face_id": self.face_id,
            "box": list(self.box),
            "face_confidence": self.face_confidence,
            "emotions": dict(self.emotions),
            "dominant_emotion": self.dominant_emotion,
            "flags": list(self.flags),
            "landmarks": self.landmarks and [list(point) for point in self.landmarks],
            **({"smoothed": dict(self.smoothed)} if self.smoothed is not None else {}),
        }

    @classmethod
    def from_dict(cls, face: Mapping[str, Any]) -> Face:
        """Create a face from the dictionary that `to_dict` returned.

        Example:
            ```python
            (face,) = mien.Analyzer().analyze("photo.jpg")
            assert mien.Face.from_dict(face.to_dict()) == face
            ```
        """
        return cls(
            box=face["box"],
            face_confidence=face["face_confidence"],
            emotions=face["emotions"],
            face_id=face["face_id"],
            flags=face["flags"],
            smoothed=face.get("smoothed"),
            landmarks=face.get("landmarks"),
        )


def _span(start: float, length: float, margin: float, limit: int) -> slice:
    """Return the pixels of a box with margin along one axis, clipped to the image but not empty."""
    first = min(max(math.floor(start - margin * length), 0), limit - 1)
    return slice(first, min(max(math.ceil(start + (1 + margin) * length), first + 1), limit))
