"""Reasons to trust what is read from a face less."""

from __future__ import annotations

import numpy as np

from mien.detection import _rotation
from mien.results import Detection, estimate_yaw

TOO_SMALL = 24.0
TOO_SMOOTH = 18.0
TOO_UNSURE = 0.8
"""Limits of the flags, read off `benchmarks/flags.py`: pixels of the face's shorter side, spread of
its Laplacian at 48 pixels, the detector's confidence."""

TOO_TURNED = 0.4
"""Limit of the flag `turned`, read off `benchmarks/pose.py`: `results.estimate_yaw`."""


def flags(face: Detection, crop: np.ndarray) -> tuple[str, ...]:
    """Reasons to trust a face's emotions less, from what was detected and its (C, S, S) crop."""
    found = []
    if min(face.box[2:]) < TOO_SMALL:
        found.append("too_small")
    elif sharpness(crop) < TOO_SMOOTH:
        found.append("blurred")
    if face.confidence < TOO_UNSURE:
        found.append("low_confidence")
    if abs(face.roll or 0.0) > _rotation.MAX_UPRIGHT_ROLL:
        found.append("tilted")
    if face.landmarks and abs(estimate_yaw(face.landmarks)) > TOO_TURNED:
        found.append("turned")
    return tuple(found)


def sharpness(crop: np.ndarray) -> float:
    """Spread of a crop's Laplacian relative to its contrast, in percent: (C, S, S) uint8."""
    grey = crop.mean(0).astype(np.float32)
    padded = np.pad(grey, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    laplacian -= 4 * grey
    return float(100 * laplacian.std() / (grey.std() + 1))
