"""Face detectors: one module each, with a function `load(threads) -> Detector`.

Detectors work on single images; `mien.tracking` links faces over time.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mien.classification.model_spec import CropGeometry
from mien.registry import load_module, names, unknown_name_error
from mien.results import Detection

REGISTRY = __name__


class Detector(Protocol):
    """The interface of face detectors; implementations must be thread-safe.

    Attributes:
        name: Name that is stored with every result.
        geometry: Position and size of FER2013's crops relative to the detector's boxes, measured by
            `benchmarks/geometry.py`; `CropGeometry()` if the boxes are already the squares to
            classify. `Analyzer` also accepts a detector without this attribute, and then uses
            `CropGeometry()`.

    Example:
        A custom detector:

        ```python
        class CenterDetector:
            name, geometry = "center", mien.CropGeometry()

            def __call__(self, pixels):
                height, width = pixels.shape[:2]
                return [mien.Detection((width / 4, height / 4, width / 2, height / 2), 1.0)]


        mien.Analyzer(detector=CenterDetector()).analyze("photo.jpg")
        ```
    """

    name: str
    geometry: CropGeometry

    def __call__(self, pixels: np.ndarray) -> list[Detection]:
        """Detect the faces of an image.

        Args:
            pixels: (H, W, 3) uint8 RGB; must not be modified.

        Returns:
            Detections in pixels of this image, most confident first; empty if there are none.
        """
        ...


def load(name: str, threads: int = 0) -> Detector:
    """Load a detector by name.

    Args:
        name: `"yunet"` or `"whole"`.
        threads: Number of threads per image; 0 uses all cores.

    Raises:
        UserError: If the name is unknown; the message suggests similar names.

    Example:
        ```python
        from mien import detection

        detect = detection.load("yunet")
        detections = detect(pixels)
        ```
    """
    if name not in available():  # `load_module` would write "detection" instead of "detector"
        raise unknown_name_error("detector", name, available())
    return load_module(REGISTRY, name).load(threads)


def available() -> list[str]:
    """Return the names of all detectors."""
    return names(REGISTRY)
