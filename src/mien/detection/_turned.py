"""Still pictures in which faces lie on their side, stand on their head or lean far over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from mien.results import Detection, suppressed

MIN_CONFIDENCE = 0.84
"""Of a face in a turned picture: who looks again and again sees more that is no face."""

QUARTER_TURNS, EIGHTH_TURNS = (90, 180, 270), (45, 135, 225, 315)

MOST_ROLL = 45.0
"""A head that is tilted further is upright in another turn of the picture."""

LONGEST = 900
"""Pixels of the longer side of a picture before it is turned by an eighth."""


def find(
    find_faces: Callable[[np.ndarray], list[Detection]], pixels: np.ndarray
) -> list[Detection]:
    """The faces of a still picture; where none is upright, also those of its turns.

    The quarter turns are looked at where no face is upright, and the eighth turns where these show
    none either: a picture without faces is looked at eight times.

    Args:
        find_faces: a detector that also says how far heads are tilted.
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        Boxes, landmarks and roll in the picture as it is, most confident first.
    """
    found = find_faces(pixels)
    if any(_is_upright(face) for face in found):
        return found
    for turns in (QUARTER_TURNS, EIGHTH_TURNS):
        for degrees in turns:
            found += _turned(find_faces, pixels, degrees)
        if found:
            break
    return suppressed(found)


def _turned(
    find_faces: Callable[[np.ndarray], list[Detection]], pixels: np.ndarray, degrees: int
) -> list[Detection]:
    """The upright faces of a picture that is turned counter-clockwise, where they are in it."""
    height, width = pixels.shape[:2]
    scale = 1.0
    if degrees % 90:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        image.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR, reducing_gap=1.0)
        scale = max(image.size) / max(width, height)
        turned = np.asarray(image.rotate(degrees, Image.Resampling.BILINEAR, expand=True))
    else:
        turned = np.ascontiguousarray(np.rot90(pixels, degrees // 90))
    size = turned.shape[1] / scale, turned.shape[0] / scale
    return [
        turned_back(face.scaled(1 / scale), degrees, size, (width, height))
        for face in find_faces(turned)
        if _is_upright(face) and face.confidence >= MIN_CONFIDENCE
    ]


def _is_upright(face: Detection) -> bool:
    return abs(face.roll or 0.0) <= MOST_ROLL


def turned_back(
    face: Detection, degrees: int, size: tuple[float, float], original: tuple[float, float]
) -> Detection:
    """A face of a picture that was turned counter-clockwise, in the picture before.

    Args:
        face: in the turned picture.
        degrees: by which the picture was turned.
        size: width and height of the turned picture.
        original: width and height of the picture before.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def point(x: float, y: float) -> tuple[float, float]:
        x, y = x - size[0] / 2, y - size[1] / 2
        return original[0] / 2 + cos * x - sin * y, original[1] / 2 + sin * x + cos * y

    x, y, w, h = face.box
    centre_x, centre_y = point(x + w / 2, y + h / 2)
    if degrees % 180 == 90:
        w, h = h, w
    return replace(
        face,
        box=(centre_x - w / 2, centre_y - h / 2, w, h),
        landmarks=face.landmarks and tuple(point(*xy) for xy in face.landmarks),
        roll=((face.roll or 0.0) + degrees + 180) % 360 - 180,
    )
