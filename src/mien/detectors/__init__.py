"""Face detectors: one file each, offering `load() -> Detector`."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from mien.contract import Geometry
from mien.faces import Box
from mien.shelf import names, take

SHELF = __name__


class Detector(Protocol):
    """Finds faces; safe to call from several threads.

    name: as users type it. geometry: how its boxes lie to FER2013's crops, measured by
    `benchmarks/geometry.py`.
    """

    name: str
    geometry: Geometry

    def __call__(self, pixels: np.ndarray) -> list[tuple[Box, float]]:
        """(H, W, 3) uint8 RGB -> a box and a confidence (0 to 1) per face, surest first."""
        ...


def load(name: str) -> Detector:
    """The detector called `name`; a `UserError` that guesses what was meant if there is none."""
    return take(SHELF, name).load()


def available() -> list[str]:
    """The names that `load` takes."""
    return names(SHELF)


def shrink(pixels: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """A picture whose longer side is at most `longest` pixels, and by how much it shrank (<= 1)."""
    scale = min(1.0, longest / max(pixels.shape[:2]))
    if scale == 1.0:
        return pixels, scale
    size = [max(1, round(n * scale)) for n in (pixels.shape[1], pixels.shape[0])]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), scale
