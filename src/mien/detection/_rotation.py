"""Detection of rotated faces in images, by rotating the image in quarter and eighth turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from PIL import Image

from mien.results import Detection, non_maximum_suppression

MIN_ROTATED_CONFIDENCE = 0.84
"""Minimum confidence of a face in a rotated image. Seven rotations cause more false positives; with
this threshold, the test photographs without people have none (`benchmarks/pose.py`)."""

QUARTER_TURNS, EIGHTH_TURNS = (90, 180, 270), (45, 135, 225, 315)
"""Counterclockwise rotations of the image in degrees."""

MAX_UPRIGHT_ROLL = 45.0
"""Maximum roll of an upright head in degrees. A head with a larger roll is upright in another
rotation of the image."""

MAX_SIDE_BEFORE_ROTATION = 900
"""Longer side in pixels to which larger images are downscaled before they are rotated. This saves
time: YuNet then downscales the rotated copy to 640 instead of searching it in tiles."""


def detect_rotated(
    detect: Callable[[np.ndarray], list[Detection]], pixels: np.ndarray
) -> list[Detection]:
    """Detect faces in an image and, if none is upright, also in rotated copies of it.

    Quarter turns are searched if no face is upright, and then eighth turns if no face was detected
    at all. The detector thus runs eight times on an image without faces. The longer side of the
    copies has at most 900 pixels before rotation.

    Args:
        detect: A function that detects faces and estimates their roll.
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        Boxes, landmarks and roll in the coordinates of the original image, sorted by confidence.
    """
    detections = detect(pixels)
    if any(_is_upright(face) for face in detections):
        return detections
    small = Image.fromarray(np.ascontiguousarray(pixels))
    small.thumbnail(
        (MAX_SIDE_BEFORE_ROTATION, MAX_SIDE_BEFORE_ROTATION),
        Image.Resampling.BILINEAR,
        reducing_gap=1.0,
    )
    scale = max(small.size) / max(pixels.shape[:2])
    for turns in (QUARTER_TURNS, EIGHTH_TURNS):
        for degrees in turns:
            faces = _detect_upright(detect, small, degrees)
            detections += [face.scaled(1 / scale) for face in faces]
        if detections:
            break
    return non_maximum_suppression(detections)


def _detect_upright(
    detect: Callable[[np.ndarray], list[Detection]], image: Image.Image, degrees: int
) -> list[Detection]:
    """Rotate the image counterclockwise and detect upright faces.

    The faces are returned in coordinates of the unrotated image.
    """
    rotated = np.asarray(image.rotate(degrees, Image.Resampling.BILINEAR, expand=True))
    size = rotated.shape[1], rotated.shape[0]
    return [
        rotate_back(face, degrees, size, image.size)
        for face in detect(rotated)
        if _is_upright(face) and face.confidence >= MIN_ROTATED_CONFIDENCE
    ]


def _is_upright(face: Detection) -> bool:
    return abs(face.roll or 0.0) <= MAX_UPRIGHT_ROLL


def rotate_back(
    face: Detection,
    degrees: int,
    rotated_size: tuple[float, float],
    original_size: tuple[float, float],
) -> Detection:
    """Map a detection from a rotated image to the original image.

    The box keeps its size, with width and height swapped for rotations by 90 and 270 degrees. A
    roll of None counts as 0.

    Args:
        face: The detection in the rotated image.
        degrees: Counterclockwise rotation of the image in degrees.
        rotated_size: Width and height of the rotated image.
        original_size: Width and height of the original image.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def to_original(x: float, y: float) -> tuple[float, float]:
        x, y = x - rotated_size[0] / 2, y - rotated_size[1] / 2
        return (
            original_size[0] / 2 + cos * x - sin * y,
            original_size[1] / 2 + sin * x + cos * y,
        )

    x, y, w, h = face.box
    center_x, center_y = to_original(x + w / 2, y + h / 2)
    if degrees % 180 == 90:
        w, h = h, w
    return replace(
        face,
        box=(center_x - w / 2, center_y - h / 2, w, h),
        landmarks=face.landmarks and tuple(to_original(*point) for point in face.landmarks),
        roll=((face.roll or 0.0) + degrees + 180) % 360 - 180,
    )
