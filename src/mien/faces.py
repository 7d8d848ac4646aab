"""The nouns: a frame of pixels and a face found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels; x and y are the left upper corner, and may lie outside."""


def scaled(box: Sequence[float], factor: float) -> Box:
    """A box in a picture that is `factor` times as large."""
    x, y, width, height = (v * factor for v in box)
    return x, y, width, height


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture, alone or of a sequence. Equal only to itself, as pixels have no one answer.

    pixels: (H, W, 3) uint8 RGB, upright. source: where it came from, for a person to read.
    number: its place in the source, from 0. seconds: the source's own time stamp, 0 for a still.
    model, detector: who looked at it; empty until somebody did.
    """

    pixels: np.ndarray = field(repr=False)
    source: str = ""
    number: int = 0
    seconds: float = 0.0
    model: str = ""
    detector: str = ""


@dataclass(frozen=True)
class Face:
    """One face in one frame, and how people would label its expression.

    box: where the detector saw it. face_confidence: how sure the detector is, 0 to 1.
    emotions: label -> the share of people who would give it; 0 to 1, summing to 1 within 1e-6.
    face_id: its place in the frame or, in a video, who it is from frame to frame.
    flags: reasons to trust the emotions less: "too_small", "blurred", "low_confidence".
    smoothed: in a video, the emotions smoothed over time; None for a still.
    """

    box: Box
    face_confidence: float
    emotions: Mapping[str, float]
    face_id: int = 0
    flags: tuple[str, ...] = ()
    smoothed: Mapping[str, float] | None = None

    @cached_property
    def dominant_emotion(self) -> str:
        """The emotion with the largest share."""
        return max(self.emotions, key=self.emotions.__getitem__)


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
        )
        for face in record["faces"]
    ]
