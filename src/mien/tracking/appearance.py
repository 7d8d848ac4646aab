"""The appearance of a face: gray thumbnails of its box."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien.io import resize
from mien.results import Box
from mien.tracking import thumbnails
from mien.tracking.thumbnails import Thumbnail

COARSE_SIDE = 16
"""Side of a coarse thumbnail in pixels."""

COARSE_MARGIN = 0.25
"""Margin of a coarse thumbnail on each side, as a fraction of the box's width or height. It
contains hair and collar, which change less than the face."""

SAMPLES_PER_PIXEL = 8
"""Minimum number of pixels in each direction that are averaged into one pixel of a coarse
thumbnail, if the face is large enough."""

MIN_STD = 2.0
"""A coarse thumbnail whose gray levels have a lower standard deviation shows too little to
compare."""

MIN_CONTRAST = 8.0
"""A face with a lower contrast (`Thumbnail.contrast`) is too dark or too blurred to be compared:
noise and compression change it too much."""


@dataclass(frozen=True)
class Appearance:
    """The appearance of a detected face.

    Attributes:
        coarse: (COARSE_SIDE, COARSE_SIDE) float32 of the box and its surroundings, with mean 0 and
            norm 1, so that lighting does not matter; zeros if the box is outside the image or shows
            too little. It hardly changes with the expression and is used to match detections with
            tracks.
        thumbnail: Thumbnail of the box, in which blocks can be matched to decide whether two faces
            are the same; None if its contrast is too low or the box is outside the image.
    """

    coarse: np.ndarray
    thumbnail: Thumbnail | None

    @classmethod
    def of(cls, pixels: np.ndarray, box: Box) -> Appearance:
        """Return the appearance of a box in (H, W, 3) uint8 RGB pixels."""
        return cls(_coarse_thumbnail(pixels, box), box_thumbnail(pixels, box))


def box_thumbnail(
    pixels: np.ndarray, box: Box, margin: float = 0.0, min_contrast: float = MIN_CONTRAST
) -> Thumbnail | None:
    """Return the thumbnail of a box; None if its contrast is too low or it is outside the image.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: The box in pixels.
        margin: Margin on each side, as a fraction of the box's width or height.
        min_contrast: Minimum contrast (`Thumbnail.contrast`).
    """
    crop = _crop(pixels, box, margin)
    if not crop.size:
        return None
    result = Thumbnail(thumbnails.thumbnail(crop))
    return result if result.contrast >= min_contrast else None


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two coarse thumbnails, -1 to 1; 0 if one is zeros."""
    return float((a * b).sum())


def normalized(values: np.ndarray) -> np.ndarray:
    """Scale an array to norm 1."""
    return values / max(float(np.sqrt((values**2).sum())), 1e-6)


def _coarse_thumbnail(pixels: np.ndarray, box: Box) -> np.ndarray:
    crop, size = _crop(pixels, box, COARSE_MARGIN), (COARSE_SIDE, COARSE_SIDE)
    if not crop.size:
        return np.zeros(size, np.float32)
    # Subsampling large faces is much faster and hardly changes the mean of an area.
    stride = max(1, min(crop.shape[:2]) // (SAMPLES_PER_PIXEL * COARSE_SIDE))
    gray = resize.area(crop[::stride, ::stride], size).astype(np.float32).mean(2)
    if gray.std() < MIN_STD:
        return np.zeros(size, np.float32)
    return normalized(gray - gray.mean())


def _crop(pixels: np.ndarray, box: Box, margin: float) -> np.ndarray:
    """Return the part of a box with a margin that is inside the image; it can be empty."""
    height, width = pixels.shape[:2]
    x, y, w, h = box
    dx, dy = margin * w, margin * h
    left, right = (int(min(max(v, 0), width)) for v in (x - dx, x + w + dx))
    top, bottom = (int(min(max(v, 0), height)) for v in (y - dy, y + h + dy))
    return pixels[top:bottom, left:right]
