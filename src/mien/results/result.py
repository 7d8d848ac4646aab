"""A frame of pixels, and its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mien.results.detection import points
from mien.results.face import Face


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
            points(face.get("landmarks")),
        )
        for face in record["faces"]
    ]
