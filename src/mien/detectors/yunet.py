"""YuNet, a small convolutional face detector: fast, with few false boxes. The one to use.

Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y. Its weights (MIT) are fetched once from
the OpenCV Zoo, or by `mien download yunet`.
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from mien import weights
from mien.contract import Geometry
from mien.detectors import shrink
from mien.errors import UserError
from mien.faces import Box, scaled

LONGEST = 640
"""Pixels of the longer side it works on: fewer miss small faces, more cost time."""

SMALLEST = 64
"""Smaller pictures are given a black border: below 33 pixels OpenCV's YuNet answers nonsense."""

SURE_ENOUGH = 0.7


class YuNet:
    """The network in OpenCV, which keeps state between calls: one thread at a time."""

    name = "yunet"
    geometry = Geometry(size=1.11, right=0.01, down=-0.02)

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        loud = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            model = np.frombuffer(path.read_bytes(), np.uint8)
            self._net = cv2.FaceDetectorYN.create(
                "onnx", model, np.empty(0, np.uint8), (LONGEST, LONGEST), SURE_ENOUGH
            )
            # Another network loads as well as YuNet does, and fails only when it is used.
            self(np.zeros((SMALLEST, SMALLEST, 3), np.uint8))
        except cv2.error:
            raise UserError(f"{path} is damaged or not YuNet; `mien download yunet`.") from None
        finally:
            cv2.utils.logging.setLogLevel(loud)

    def __call__(self, pixels: np.ndarray) -> list[tuple[Box, float]]:
        """(H, W, 3) uint8 RGB -> a box and a confidence per face, surest first."""
        small, scale = shrink(pixels, LONGEST)
        below, right = (max(0, SMALLEST - n) for n in small.shape[:2])
        if below or right:
            small = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT)
        with self._lock:
            self._net.setInputSize((small.shape[1], small.shape[0]))
            _, found = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if found is None:
            return []
        # Columns: x, y, width, height, ten landmarks, score.
        rows = sorted(found.astype(float).tolist(), key=lambda row: -row[-1])
        return [(scaled(row[:4], 1 / scale), min(row[-1], 1.0)) for row in rows]


def load() -> YuNet:
    """YuNet, its weights fetched if they are not here yet; `weights.Unavailable` if they cannot."""
    return YuNet(weights.remote("yunet"))
