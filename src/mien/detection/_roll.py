"""Estimation of head roll by a small network that `benchmarks/pose.py` trains.

The roll cannot be computed from YuNet's landmarks: YuNet was trained on upright heads, and its
landmarks hardly rotate with a tilted head.
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
CROP_SIDE = 48
"""Side of the network's square grayscale input in pixels."""

MIN_CERTAINTY = 0.7
"""Minimum length of the direction vector that the network outputs, which is 0 to about 1. A shorter
vector is uncertain, and the head is assumed to be upright."""


class RollEstimator:
    """The roll network, run by ONNX Runtime; thread-safe."""

    def __init__(self, path: Path = FILE, threads: int = 1) -> None:
        self._session = open_session(str(path), threads)

    def __call__(
        self, pixels: np.ndarray, faces: Sequence[Detection], geometry: CropGeometry
    ) -> list[Detection]:
        """Add the missing `roll` of detections.

        Args:
            pixels: The image, (H, W, 3) uint8 RGB.
            faces: Detections in the image.
            geometry: Crop geometry of the detector.

        Returns:
            The detections in the same order; detections that already have a roll are unchanged.
        """
        without_roll = [face for face in faces if face.roll is None]
        if not without_roll:
            return list(faces)
        squares = [geometry.square(face.box) for face in without_roll]
        crops = np.stack([crop(pixels, square, CROP_SIDE, 1) for square in squares])
        rolls = iter(self.estimate(crops).tolist())
        return [
            face if face.roll is not None else replace(face, roll=next(rolls)) for face in faces
        ]

    def estimate(self, crops: np.ndarray) -> np.ndarray:
        """Estimate the roll of the heads in (N, 1, 48, 48) uint8 crops.

        Returns:
            (N,) roll in degrees clockwise, -180 to 180; 0 where it is uncertain.
        """
        direction = self._session.run(None, {"faces": crops})[0]  # (N, 2) cosine and sine
        is_certain = np.hypot(*direction.T) >= MIN_CERTAINTY
        angle = np.arctan2(direction[:, 1], direction[:, 0]) * (180 / math.pi)
        return np.where(is_certain, angle, 0.0)
