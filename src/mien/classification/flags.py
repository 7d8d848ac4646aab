"""Flags: reasons why the emotions of a face are less reliable."""

from __future__ import annotations

import numpy as np

from mien.detection import _rotation
from mien.results import Detection, estimate_yaw

SMALL_FACE_PIXELS = 24.0
"""A face is flagged `too_small` if the shorter side of its box has fewer pixels. This threshold and
the next two were chosen with `benchmarks/flags.py`."""

BLURRED_SHARPNESS = 18.0
"""A face that is not too small is flagged `blurred` if the `sharpness` of its crop (48 x 48 pixels)
is lower."""

LOW_CONFIDENCE = 0.8
"""A face is flagged `low_confidence` if the detector's confidence is lower."""

TURNED_YAW = 0.4
"""A face is flagged `turned` if the absolute value of `results.estimate_yaw` is larger. The
threshold was chosen with `benchmarks/pose.py`."""


def flags(face: Detection, crop: np.ndarray) -> tuple[str, ...]:
    """Return the flags of a face.

    Args:
        face: The detection.
        crop: The model's input for it, (C, side, side) uint8.

    Returns:
        Any of "too_small", "blurred", "low_confidence", "tilted" and "turned".
    """
    names = []
    if min(face.box[2:]) < SMALL_FACE_PIXELS:
        names.append("too_small")
    elif sharpness(crop) < BLURRED_SHARPNESS:
        names.append("blurred")
    if face.confidence < LOW_CONFIDENCE:
        names.append("low_confidence")
    if abs(face.roll or 0.0) > _rotation.MAX_UPRIGHT_ROLL:
        names.append("tilted")
    if face.landmarks and abs(estimate_yaw(face.landmarks)) > TURNED_YAW:
        names.append("turned")
    return tuple(names)


def sharpness(crop: np.ndarray) -> float:
    """Compute the standard deviation of a crop's Laplacian relative to its contrast, in percent.

    Args:
        crop: (C, side, side) uint8.
    """
    gray = crop.mean(0).astype(np.float32)
    padded = np.pad(gray, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    laplacian -= 4 * gray
    return float(100 * laplacian.std() / (gray.std() + 1))
