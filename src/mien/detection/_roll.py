"""How far a head is tilted, by a small network that mien trained (`benchmarks/pose.py`).

YuNet's landmarks cannot say it: it learnt from upright heads, and they hardly follow a tilted one.
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

MIN_CERTAINTY = 0.7
"""Below this length of the network's answer, 0 to 1, a head is taken for upright."""


class RollEstimator:
    """The network in an ONNX Runtime session; safe to call from several threads."""

    def __init__(self, path: Path = FILE, threads: int = 1) -> None:
        self._session = open_session(str(path), threads)

    def __call__(
        self, pixels: np.ndarray, faces: Sequence[Detection], geometry: CropGeometry
    ) -> list[Detection]:
        """The faces with their `roll`; those that have one keep it.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            faces: what a detector found there.
            geometry: of that detector.
        """
        unknown = [face for face in faces if face.roll is None]
        if not unknown:
            return list(faces)
        squares = [geometry.square(face.box) for face in unknown]
        crops = np.stack([crop(pixels, square, SIDE, 1) for square in squares])
        rolls = iter(self.degrees(crops).tolist())
        return [
            face if face.roll is not None else replace(face, roll=next(rolls)) for face in faces
        ]

    def degrees(self, crops: np.ndarray) -> np.ndarray:
        """(N, 1, 48, 48) uint8 -> (N,) degrees clockwise, -180 to 180; 0 where it is uncertain."""
        direction = self._session.run(None, {"faces": crops})[0]
        certain = np.hypot(*direction.T) >= MIN_CERTAINTY
        angle = np.arctan2(direction[:, 1], direction[:, 0]) * (180 / math.pi)
        return np.where(certain, angle, 0.0)
