"""Crop detected faces for a model, aligning those with a strong head tilt."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from mien.classification.model_spec import CropGeometry, ModelSpec, crop
from mien.results import Box, Detection

MIN_ROLL_TO_ALIGN = 20.0
"""Absolute roll in degrees above which a face is rotated upright when it is cropped. FER2013 itself
contains tilted faces, so models need no alignment of smaller rolls: with this threshold, 4 % of the
faces of PublicTest are rotated, which raises the accuracy by only 0.2 percentage points; if all of
them are tilted by another 40 degrees, by 14 (`benchmarks/pose.py`)."""


def crop_face(
    pixels: np.ndarray, face: Detection, geometry: CropGeometry, spec: ModelSpec
) -> np.ndarray:
    """Crop a detected face to a model's input size.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        face: The detection. If the absolute value of its roll is above `MIN_ROLL_TO_ALIGN`, the
            crop is rotated upright; a roll of None counts as 0.
        geometry: The crop geometry of the detector.
        spec: The model's specification.

    Returns:
        (channels, side, side) uint8.
    """
    square = geometry.square(face.box, spec.margin)
    roll = face.roll or 0.0
    if abs(roll) <= MIN_ROLL_TO_ALIGN:
        return crop(pixels, square, spec.side, spec.channels)
    return crop_upright(pixels, square, spec.side, spec.channels, roll)


def crop_upright(
    pixels: np.ndarray, square: Box, side: int, channels: int, roll: float
) -> np.ndarray:
    """Crop a tilted face and rotate it upright.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        square: x, y, side and side in pixels, before the square is rotated around its center.
        side: Side of the returned crop in pixels.
        channels: 1 (gray) or 3 (RGB).
        roll: The face's clockwise tilt in degrees.

    Returns:
        (channels, side, side) uint8.
    """
    x, y, square_side, _ = square
    angle = math.radians(roll)
    # Side of the rotated square's bounding box, relative to the side of the square.
    relative_side = abs(math.cos(angle)) + abs(math.sin(angle))
    # If `side` is odd, so is `padded_side`; otherwise the center would be half a pixel off.
    padded_side = 2 * math.ceil((side * relative_side - side) / 2) + side
    padded_square_side = square_side * padded_side / side
    offset = (padded_square_side - square_side) / 2
    padded = crop(
        pixels,
        (x - offset, y - offset, padded_square_side, padded_square_side),
        padded_side,
        channels,
    )
    start = (padded_side - side) // 2
    planes = [
        np.asarray(Image.fromarray(plane).rotate(roll, Image.Resampling.BICUBIC))
        for plane in padded
    ]
    return np.stack(planes)[:, start : start + side, start : start + side]
