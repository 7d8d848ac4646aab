"""The nouns that every other module takes and gives; nothing that reads, finds or writes them."""

from mien.results.detection import (
    LANDMARKS,
    Box,
    Detection,
    Landmarks,
    overlap,
    scaled,
    suppressed,
    yaw,
)
from mien.results.face import Face
from mien.results.result import LIVE, Frame, Kind, Result, Write

__all__ = [
    "LANDMARKS", "LIVE", "Box", "Detection", "Face", "Frame", "Kind", "Landmarks", "Result",
    "Write", "overlap", "scaled", "suppressed", "yaw",
]  # fmt: skip
