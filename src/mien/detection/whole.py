"""A detector that treats the central square of an image as one face, for crops as in FER2013."""

from __future__ import annotations

import numpy as np

from mien.classification.model_spec import CropGeometry
from mien.results import Detection


class WholeImage:
    """Returns the largest central square of the image as its only face."""

    name = "whole"
    geometry = CropGeometry()

    def __call__(self, pixels: np.ndarray) -> list[Detection]:
        """Return one detection with confidence 1 and roll 0 for (H, W, 3) uint8 RGB pixels."""
        height, width = pixels.shape[:2]
        side = float(min(height, width))
        return [Detection(((width - side) / 2, (height - side) / 2, side, side), 1.0, roll=0.0)]


def load(threads: int = 0) -> WholeImage:  # noqa: ARG001
    """Load the detector; `threads` is ignored."""
    return WholeImage()
