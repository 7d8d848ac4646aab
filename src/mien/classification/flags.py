"""Flags: reasons why the emotion shares of a face are less reliable."""

from __future__ import annotations

import numpy as np

from mien.detection import _rotation
from mien.results import Detection, estimate_yaw

SMALL_FACE_PIXELS = 24.0
"""Length of the shorter side of a box, in pixels, below which a face is flagged `too_small`. This
threshold and the next one were chosen with `benchmarks/flags.py`."""

BLURRED_SHARPNESS = 18.0
"""`sharpness` of the crop below which a face is flagged `blurred`, unless it is flagged
`too_small`. It was chosen on crops of 48 x 48 pixels."""

LOW_CONFIDENCE = 0.8
"""Confidence of the detector below which a face is flagged `low_confidence`; for the scores of such
faces, see `benchmarks/geometry.py`."""

TURNED_YAW = 0.4
"""Absolute value of `results.estimate_yaw` above which a face is flagged `turned`, chosen with
`benchmarks/pose.py`. (The threshold of the flag `tilted` is `_rotation.MAX_UPRIGHT_ROLL`.)"""


def flags(face: Detection, crop: np.ndarray) -> tuple[str, ...]:
    """Return the flags of a face.

    Args:
        face: The detection. Without a roll, it is not flagged "tilted"; without landmarks, it is
            not flagged "turned".
        crop: Its crop, the input of the model, (C, side, side) uint8.

    Returns:
        Any of "too_small", "blurred", "low_confidence", "tilted" and "turned", in this order; empty
        if none applies.
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
    """Compute the sharpness of a crop, independently of its contrast.

    Args:
        crop: (C, side, side) uint8.

    Returns:
        Standard deviation of the Laplacian in percent of that of the gray levels.
    """
    gray = crop.mean(0).astype(np.float32)
    padded = np.pad(gray, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    laplacian -= 4 * gray
    return float(100 * laplacian.std() / (gray.std() + 1))  # + 1: a flat crop has no contrast
