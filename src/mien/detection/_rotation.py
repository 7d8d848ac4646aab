"""Still pictures without an upright face: rotated by quarter and eighth turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from mien.results import Detection, non_maximum_suppression

MIN_CONFIDENCE = 0.84
"""Of a face in a rotated picture: seven more detections give more false boxes. With 0.84,
photographs without people have none (`benchmarks/pose.py`)."""

QUARTER_TURNS, EIGHTH_TURNS = (90, 180, 270), (45, 135, 225, 315)

MAX_UPRIGHT_ROLL = 45.0
"""Degrees of roll; a head that is tilted further is upright in another rotation of the picture."""

LONGEST = 900
"""Pixels of the longer side of the copy that is rotated; its faces are found at 640 pixels."""


def detect_rotated(
    find_faces: Callable[[np.ndarray], list[Detection]], pixels: np.ndarray
) -> list[Detection]:
    """The faces of a still picture; where none is upright, also those of its rotations.

    Quarter turns are tried where no face is upright, and eighth turns where these show none either,
    so that a picture without faces costs up to eight detections. Rotations are those of a copy of
    at most 900 pixels.

    Args:
        find_faces: a detector that also says how far heads are tilted.
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        Boxes, landmarks and roll in the picture as it is, most confident first.
    """
    found = find_faces(pixels)
    if any(_is_upright(face) for face in found):
        return found
    copy = Image.fromarray(np.ascontiguousarray(pixels))
    copy.thumbnail((LONGEST, LONGEST), Image.Resampling.BILINEAR, reducing_gap=1.0)
    scale = max(copy.size) / max(pixels.shape[:2])
    for turns in (QUARTER_TURNS, EIGHTH_TURNS):
        for degrees in turns:
            found += [face.scaled(1 / scale) for face in _detect_upright(find_faces, copy, degrees)]
        if found:
            break
    return non_maximum_suppression(found)


def _detect_upright(
    find_faces: Callable[[np.ndarray], list[Detection]], image: Image.Image, degrees: int
) -> list[Detection]:
    """The faces that are upright when the image is rotated counter-clockwise, where they are."""
    rotated = np.asarray(image.rotate(degrees, Image.Resampling.BILINEAR, expand=True))
    size = rotated.shape[1], rotated.shape[0]
    return [
        rotate_back(face, degrees, size, image.size)
        for face in find_faces(rotated)
        if _is_upright(face) and face.confidence >= MIN_CONFIDENCE
    ]


def _is_upright(face: Detection) -> bool:
    return abs(face.roll or 0.0) <= MAX_UPRIGHT_ROLL


def rotate_back(
    face: Detection, degrees: int, size: tuple[float, float], original: tuple[float, float]
) -> Detection:
    """A face of a picture that was rotated counter-clockwise, in the picture before.

    Args:
        face: in the rotated picture.
        degrees: by which the picture was rotated.
        size: width and height of the rotated picture.
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
