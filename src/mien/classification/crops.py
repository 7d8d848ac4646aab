"""A face as its model wants it: cut out, and turned upright where the head is tilted."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from mien.classification.model_spec import CropGeometry, ModelSpec, crop
from mien.results import Box, Detection

MIN_ROLL_TO_ALIGN = 20.0
"""Degrees of roll up to which a face is cut as it is: FER2013's own faces lean as much. Aligning
from 15 degrees on costs them a quarter of a point of accuracy, from 20 on nothing
(`benchmarks/pose.py`)."""


def crop_face(
    pixels: np.ndarray, face: Detection, geometry: CropGeometry, spec: ModelSpec
) -> np.ndarray:
    """The crop of a detected face for a model.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        face: one that leans by more than 20 degrees is turned upright.
        geometry: of its detector.
        spec: what the model wants.

    Returns:
        (channels, side, side) uint8.
    """
    square = geometry.square(face.box, spec.margin)
    if abs(face.roll or 0.0) <= MIN_ROLL_TO_ALIGN:
        return crop(pixels, square, spec.side, spec.channels)
    return crop_upright(pixels, square, spec.side, spec.channels, face.roll or 0.0)


def crop_upright(
    pixels: np.ndarray, square: Box, side: int, channels: int, degrees: float
) -> np.ndarray:
    """As `crop`, with a face that is tilted clockwise by `degrees` turned upright."""
    x, y, size, _ = square
    angle = math.radians(degrees)
    reach = abs(math.cos(angle)) + abs(math.sin(angle))  # of the turned square's bounding square
    wide = 2 * math.ceil((side * reach - side) / 2) + side  # the same parity: no half pixels
    larger = size * wide / side
    corner = (larger - size) / 2
    around = crop(pixels, (x - corner, y - corner, larger, larger), wide, channels)
    edge = (wide - side) // 2
    planes = [
        np.asarray(Image.fromarray(plane).rotate(degrees, Image.Resampling.BICUBIC))
        for plane in around
    ]
    return np.stack(planes)[:, edge : edge + side, edge : edge + side]
