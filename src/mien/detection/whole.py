"""No detection: the whole image is one face, as in FER2013 itself."""

from __future__ import annotations

import numpy as np

from mien.classification.model_spec import CropGeometry
from mien.results import Detection


class WholeImage:
    """Returns the largest central square of the image as its only face."""

    name = "whole"
    geometry = CropGeometry()

    def __call__(self, pixels: np.ndarray) -> list[Detection]:
        """(H, W, 3) uint8 RGB -> one detection with confidence 1 and roll 0."""
        height, width = pixels.shape[:2]
        side = float(min(height, width))
        return [Detection(((width - side) / 2, (height - side) / 2, side, side), 1.0, roll=0.0)]


def load(threads: int = 0) -> WholeImage:  # noqa: ARG001
    """Load the detector; `threads` has no effect."""
    return WholeImage()
