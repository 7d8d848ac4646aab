"""Reasons to trust what is read from a face less."""

from __future__ import annotations

import numpy as np

from mien.detection import _rotation
from mien.results import Detection, estimate_yaw

MIN_FACE_PIXELS = 24.0
MIN_SHARPNESS = 18.0
MIN_CONFIDENCE = 0.8
"""Limits of the flags, read off `benchmarks/flags.py`: pixels of the face's shorter side, spread of
its Laplacian at 48 pixels, the detector's confidence."""

MAX_YAW = 0.4
"""Limit of the flag `turned`, read off `benchmarks/pose.py`: `results.estimate_yaw`."""


def flags(face: Detection, crop: np.ndarray) -> tuple[str, ...]:
    """Reasons to trust a face's emotions less, from what was detected and its (C, S, S) crop."""
    found = []
    if min(face.box[2:]) < MIN_FACE_PIXELS:
        found.append("too_small")
    elif sharpness(crop) < MIN_SHARPNESS:
        found.append("blurred")
    if face.confidence < MIN_CONFIDENCE:
        found.append("low_confidence")
    if abs(face.roll or 0.0) > _rotation.MAX_UPRIGHT_ROLL:
        found.append("tilted")
    if face.landmarks and abs(estimate_yaw(face.landmarks)) > MAX_YAW:
        found.append("turned")
    return tuple(found)


def sharpness(crop: np.ndarray) -> float:
    """Spread of a crop's Laplacian relative to its contrast, in percent: (C, S, S) uint8."""
    grey = crop.mean(0).astype(np.float32)
    padded = np.pad(grey, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    laplacian -= 4 * grey
    return float(100 * laplacian.std() / (grey.std() + 1))
