"""A face: where it is in its picture, and the emotions that it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from mien.results.detection import Box, Landmarks, points


class FrozenDict(dict[str, float]):
    """A dictionary that cannot be changed, so it can be hashed; JSON and pandas take it as any."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple:
        return type(self), (dict(self),)

    def _unchangeable(self, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            "the emotions of a face cannot be changed; dict(emotions) is a copy to edit"
        )

    __setitem__ = __delitem__ = __ior__ = _unchangeable  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _unchangeable  # type: ignore[assignment]


@dataclass(frozen=True)
class Face:
    """One face in one frame, and how people would label its expression.

    Attributes:
        box: x, y, width and height in pixels, where the detector saw it; x and y are the left
            upper corner.
        face_confidence: how sure the detector is, 0 to 1.
        emotions: label -> the share of people who would give it; 0 to 1, summing to 1 within 1e-6.
            A dictionary that cannot be changed.
        face_id: its place in the frame or, in a video, who it is from frame to frame.
        flags: reasons to trust the emotions less: "too_small", "blurred", "low_confidence",
            "tilted" (the head leans to a shoulder), "turned" (it looks aside).
        smoothed: in a video, the emotions smoothed over time; None for a still.
        landmarks: x and y in pixels of right eye, left eye, nose, right and left corner of the
            mouth (the person's own right); None where the detector gives none.

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
        """Take lists and dictionaries as well, and keep what cannot be changed."""
        kept = {
            "box": tuple(self.box),
            "emotions": FrozenDict(self.emotions),
            "flags": tuple(self.flags),
            "smoothed": None if self.smoothed is None else FrozenDict(self.smoothed),
            "landmarks": points(self.landmarks),
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    @cached_property
    def dominant_emotion(self) -> str:
        """The emotion with the largest share."""
        return max(self.emotions, key=self.emotions.__getitem__)

    def crop(self, pixels: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """The face's part of its picture, as the detector framed it; not turned, not resized.

        Args:
            pixels: the whole picture, (H, W, 3) uint8 RGB: the frame's pixels.
            margin: what to add on each side, as a share of the box's width and height; 0.2 is a
                fifth.

        Returns:
            (h, w, 3) uint8 RGB, at least one pixel; what lies outside of the picture is left out.

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
        """The face as JSON has it; `smoothed` only where there is any."""
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
        """The face that `to_dict` was called on."""
        return cls(
            face["box"],
            face["face_confidence"],
            face["emotions"],
            face["face_id"],
            face["flags"],
            face.get("smoothed"),
            face.get("landmarks"),
        )


def _span(start: float, length: float, margin: float, limit: int) -> slice:
    """The pixels of one side of a box with its margin, within the picture and at least one."""
    first = min(max(math.floor(start - margin * length), 0), limit - 1)
    return slice(first, min(max(math.ceil(start + (1 + margin) * length), first + 1), limit))
