"""Estimation of head roll by a small network that `benchmarks/pose.py` trains.

YuNet's landmarks cannot be used: it was trained on upright heads, and its landmarks hardly rotate
with a tilted one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mien.classification.model_spec import CropGeometry, crop
from mien.onnx_runtime import open_session
from mien.results import Detection

FILE = Path(__file__).with_name("roll.onnx")
SIDE = 48
"""Pixels of the network's square grayscale input."""

MIN_CERTAINTY = 0.7
"""If the network's output vector, of length 0 to 1, is shorter, the head is taken as upright."""


class RollEstimator:
    """The roll network in an ONNX Runtime session; thread-safe."""

    def __init__(self, path: Path = FILE, threads: int = 1) -> None:
        self._session = open_session(str(path), threads)

    def __call__(
        self, pixels: np.ndarray, faces: Sequence[Detection], geometry: CropGeometry
    ) -> list[Detection]:
        """Add the missing `roll` of detections.

        Args:
            pixels: The image, (H, W, 3) uint8 RGB.
            faces: Detections in it.
            geometry: Of the detector that made them.

        Returns:
            The detections in the same order; those that have a roll are unchanged.
        """
        without_roll = [face for face in faces if face.roll is None]
        if not without_roll:
            return list(faces)
        squares = [geometry.square(face.box) for face in without_roll]
        crops = np.stack([crop(pixels, square, SIDE, 1) for square in squares])
        rolls = iter(self.degrees(crops).tolist())
        return [
            face if face.roll is not None else replace(face, roll=next(rolls)) for face in faces
        ]

    def degrees(self, crops: np.ndarray) -> np.ndarray:
        """(N, 1, 48, 48) uint8 -> (N,) degrees clockwise, -180 to 180; 0 where uncertain."""
        direction = self._session.run(None, {"faces": crops})[0]  # (N, 2) cosine and sine
        is_certain = np.hypot(*direction.T) >= MIN_CERTAINTY
        angle = np.arctan2(direction[:, 1], direction[:, 0]) * (180 / math.pi)
        return np.where(is_certain, angle, 0.0)
