"""Face detectors: one file each, offering `load(threads) -> Detector`.

What belongs here finds faces in one picture. Following them over time is tracking's business.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mien.classification.model_spec import CropGeometry
from mien.registry import load_module, names, unknown_name_error
from mien.results import Detection

REGISTRY = __name__


class Detector(Protocol):
    """Finds the faces of a picture; safe to call from several threads.

    Attributes:
        name: appears in every record.
        geometry: how its boxes lie relative to FER2013's crops, as `benchmarks/geometry.py`
            measures it; `CropGeometry()` where a box is the square to classify.

    Example:
        A detector of your own:

        ```python
        class Centre:
            name, geometry = "centre", mien.CropGeometry()

            def __call__(self, pixels):
                height, width = pixels.shape[:2]
                return [mien.Detection((width / 4, height / 4, width / 2, height / 2), 1.0)]


        mien.Analyzer(detector=Centre()).analyze("photo.jpg")
        ```
    """

    name: str
    geometry: CropGeometry

    def __call__(self, pixels: np.ndarray) -> list[Detection]:
        """The faces of a picture.

        Args:
            pixels: (H, W, 3) uint8 RGB; not to be changed.

        Returns:
            Boxes in pixels of this picture, most confident first; empty without a face.
        """
        ...


def load(name: str, threads: int = 0) -> Detector:
    """The detector called `name`; a `UserError` that guesses what was meant if there is none.

    Args:
        name: `"yunet"` or `"whole"`.
        threads: for one picture; 0 is all cores.
    """
    if name not in available():
        raise unknown_name_error("detector", name, available())
    return load_module(REGISTRY, name).load(threads)


def available() -> list[str]:
    """The names that `load` takes."""
    return names(REGISTRY)
