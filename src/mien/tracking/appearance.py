"""The appearance of a face: a small gray thumbnail of the box and its surroundings."""

from __future__ import annotations

import numpy as np

from mien.io import resize
from mien.results import Box

THUMBNAIL_SIDE = 16
"""Pixels of the side of a thumbnail."""

THUMBNAIL_MARGIN = 0.25
"""Margin of the thumbnail on each side, as a fraction of the box's width or height. It contains
hair and collar, which change less than the face."""

SAMPLES_PER_PIXEL = 8
"""Minimum number of pixels in each direction that are averaged into one pixel of the thumbnail, if
the face is large enough."""

MIN_STD = 2.0
"""A thumbnail whose gray levels have a lower standard deviation shows too little to compare."""

MIN_CORRELATION = 0.3
"""Two appearances that correlate by less than this are of different faces."""


def appearance_of(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Return the normalized thumbnail of a box and its margin; zeros if outside the image."""
    return centered(thumbnail(pixels, box))


def thumbnail(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Return the gray thumbnail of a box and its margin.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: The box of a face in pixels.

    Returns:
        (THUMBNAIL_SIDE, THUMBNAIL_SIDE) float32 gray levels; zeros if the box is outside the image.
    """
    height, width = pixels.shape[:2]
    x, y, w, h = box
    dx, dy = THUMBNAIL_MARGIN * w, THUMBNAIL_MARGIN * h
    left, right = (int(min(max(v, 0), width)) for v in (x - dx, x + w + dx))
    top, bottom = (int(min(max(v, 0), height)) for v in (y - dy, y + h + dy))
    if right <= left or bottom <= top:
        return np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32)
    # Subsampling large faces is much faster and hardly changes the mean of an area.
    stride = max(1, min(right - left, bottom - top) // (SAMPLES_PER_PIXEL * THUMBNAIL_SIDE))
    crop = pixels[top:bottom:stride, left:right:stride]
    return resize.area(crop, (THUMBNAIL_SIDE, THUMBNAIL_SIDE)).astype(np.float32).mean(2)


def centered(gray: np.ndarray) -> np.ndarray:
    """Scale a thumbnail to mean 0 and norm 1, to ignore lighting; zeros if it shows too little."""
    if gray.std() < MIN_STD:
        return np.zeros_like(gray)
    return normalized(gray - gray.mean())


def normalized(values: np.ndarray) -> np.ndarray:
    """Scale an array to norm 1."""
    return values / max(float(np.sqrt((values**2).sum())), 1e-6)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two appearances, -1 to 1."""
    return float((a * b).sum())


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two appearances differ; False if one of them shows too little."""
    return bool(a.any() and b.any()) and correlation(a, b) < MIN_CORRELATION
