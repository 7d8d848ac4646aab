"""mien estimates emotion shares for every face in images and videos.

An emotion share is the estimated fraction of people who would label the facial expression with this
emotion. mien does not detect what a person feels.

    analyzer = mien.Analyzer()
    for face in analyzer.analyze("photo.jpg"):
        print(face.dominant_emotion, face.emotions)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mien.analyzer import Analyzer as Analyzer
    from mien.classification.model_spec import CropGeometry as CropGeometry
    from mien.classification.occlusion import Explanation as Explanation
    from mien.client import Client as Client
    from mien.detection import Detector as Detector
    from mien.errors import UserError as UserError
    from mien.io.frame_selection import FrameSelection as FrameSelection
    from mien.labels import EMOTIONS as EMOTIONS
    from mien.results import Detection as Detection
    from mien.results import Face as Face
    from mien.results import Frame as Frame
    from mien.results import Result as Result
    from mien.tracking.session import VideoSession as VideoSession
    from mien.visualization.annotate import draw as draw

_MODULES = {
    "Analyzer": "analyzer",
    "Client": "client",
    "CropGeometry": "classification.model_spec",
    "Detection": "results",
    "Detector": "detection",
    "EMOTIONS": "labels",
    "Explanation": "classification.occlusion",
    "Face": "results",
    "Frame": "results",
    "FrameSelection": "io.frame_selection",
    "Result": "results",
    "UserError": "errors",
    "VideoSession": "tracking.session",
    "draw": "visualization.annotate",
}
"""Public name -> the module in `mien` from which it is imported."""

__all__ = [
    "EMOTIONS",
    "Analyzer",
    "Client",
    "CropGeometry",
    "Detection",
    "Detector",
    "Explanation",
    "Face",
    "Frame",
    "FrameSelection",
    "Result",
    "UserError",
    "VideoSession",
    "__version__",
    "draw",
]


def __getattr__(name: str) -> object:
    """Import a public name on first use, because importing ONNX Runtime is slow."""
    if name not in _MODULES:
        raise AttributeError(f"module 'mien' has no attribute {name!r}")
    value = getattr(import_module(f"mien.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
