"""The Haar cascade that comes with OpenCV 4, tamed: for where nothing can be downloaded.

Viola & Jones 2001, https://doi.org/10.1109/CVPR.2001.990517. As it comes it is slow and sees faces
where there are none. Ours looks at a smaller picture and asks a small network, trained by mien,
whether each box really is a face (`benchmarks/gate.py`; what it gains is in the README).
"""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np

from mien.contract import Geometry, crop
from mien.detectors import shrink
from mien.errors import UserError
from mien.faces import Box, scaled
from mien.onnx_runtime import onnxruntime
from mien.weights import PACKAGED

LONGEST = 640
"""Pixels of the longer side it works on; the cascade's time grows with the square."""

SMALLEST = 24
NEIGHBOURS = 2
SURE_ENOUGH = 0.5
GATE = PACKAGED / "_gate.onnx"


class Haar:
    """Cascade and gate; the cascade is used by one thread at a time."""

    name = "haar"
    geometry = Geometry(size=1.01)

    def __init__(self) -> None:
        if not hasattr(cv2, "CascadeClassifier"):
            raise UserError(f"OpenCV {cv2.__version__} has no Haar cascade; OpenCV 4 has.")
        file = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(file))
        self._gate = onnxruntime.InferenceSession(GATE, providers=["CPUExecutionProvider"])
        self._lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> list[tuple[Box, float]]:
        """(H, W, 3) uint8 RGB -> a box and the gate's confidence per face, surest first."""
        small, scale = shrink(pixels, LONGEST)
        boxes = self.candidates(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        if not boxes:
            return []
        wide = [scaled(box, 1 / scale) for box in boxes]
        sure = self.confidences(pixels, wide)
        found = [(box, float(p)) for box, p in zip(wide, sure, strict=True) if p >= SURE_ENOUGH]
        return sorted(found, key=lambda pair: -pair[1])

    def candidates(self, grey: np.ndarray) -> list[Box]:
        """What the cascade alone takes for faces: (H, W) uint8 -> boxes."""
        with self._lock:
            found = self._cascade.detectMultiScale(
                grey, 1.1, NEIGHBOURS, minSize=(SMALLEST, SMALLEST)
            )
        return [scaled(box, 1.0) for box in np.asarray(found, float).tolist()]

    def confidences(self, pixels: np.ndarray, boxes: list[Box]) -> np.ndarray:
        """How likely each box is a face, by the gate: (N,) float, 0 to 1."""
        (port,) = self._gate.get_inputs()
        side = port.shape[2]
        crops = np.stack([crop(pixels, self.geometry.square(box), side, 1) for box in boxes])
        return self._gate.run(None, {port.name: crops})[0][:, 0]


def load() -> Haar:
    """The cascade; it needs no download."""
    return Haar()
