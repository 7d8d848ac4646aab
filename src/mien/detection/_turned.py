"""Still pictures in which faces lie on their side or stand on their head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mien.faces import Detection, suppressed

MIN_CONFIDENCE = 0.8
"""Of a face in a turned picture: who looks four times sees more that is no face."""

MOST_ROLL = 45.0
"""A head that is tilted further is upright in another quarter turn of the picture."""


def find(
    find_faces: Callable[[np.ndarray], list[Detection]], pixels: np.ndarray
) -> list[Detection]:
    """The faces of a still picture; where none is upright, also those of its quarter turns.

    Args:
        find_faces: a detector that also says how far heads are tilted.
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        Boxes, landmarks and roll in the picture as it is, most confident first.
    """
    found = find_faces(pixels)
    if any(_is_upright(face) for face in found):
        return found
    height, width = pixels.shape[:2]
    for quarters in (1, 2, 3):
        turned = find_faces(np.ascontiguousarray(np.rot90(pixels, quarters)))
        found += [
            turned_back(face, quarters, width, height)
            for face in turned
            if _is_upright(face) and face.confidence >= MIN_CONFIDENCE
        ]
    return suppressed(found)


def _is_upright(face: Detection) -> bool:
    return abs(face.roll or 0.0) <= MOST_ROLL


def turned_back(face: Detection, quarters: int, width: int, height: int) -> Detection:
    """A face of `np.rot90(pixels, quarters)` in a picture of that size, as it is before."""

    def point(x: float, y: float) -> tuple[float, float]:
        return ((width - y, x), (width - x, height - y), (y, height - x))[quarters - 1]

    x, y, w, h = face.box
    (ax, ay), (bx, by) = point(x, y), point(x + w, y + h)
    return replace(
        face,
        box=(min(ax, bx), min(ay, by), abs(ax - bx), abs(ay - by)),
        landmarks=face.landmarks and tuple(point(*xy) for xy in face.landmarks),
        roll=((face.roll or 0.0) + 90 * quarters + 180) % 360 - 180,
    )
