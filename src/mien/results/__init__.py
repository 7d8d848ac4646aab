"""The data types that the other packages take and return."""

from mien.results.detection import (
    LANDMARKS,
    Box,
    Detection,
    Landmarks,
    estimate_yaw,
    iou,
    non_maximum_suppression,
    scale_box,
)
from mien.results.face import Face
from mien.results.result import LIVE_KINDS, Frame, Result, ResultWriter, SourceKind

__all__ = [
    "LANDMARKS", "LIVE_KINDS", "Box", "Detection", "Face", "Frame", "Landmarks", "Result",
    "ResultWriter", "SourceKind", "estimate_yaw", "iou", "non_maximum_suppression", "scale_box",
]  # fmt: skip
