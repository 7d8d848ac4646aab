"""A face: where it is in its picture, and the emotions that it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mien.results.detection import Box, Landmarks


@dataclass(frozen=True)
class Face:
    """One face in one frame, and how people would label its expression.

    box: where the detector saw it. face_confidence: how sure the detector is, 0 to 1.
    emotions: label -> the share of people who would give it; 0 to 1, summing to 1 within 1e-6.
    face_id: its place in the frame or, in a video, who it is from frame to frame.
    flags: reasons to trust the emotions less: "too_small", "blurred", "low_confidence", "tilted"
    (the head leans to a shoulder), "turned" (it looks aside).
    landmarks: x and y in pixels of right eye, left eye, nose, right and left corner of the mouth
    (the person's own right); None where the detector gives none.
    smoothed: in a video, the emotions smoothed over time; None for a still.
    """

    box: Box
    face_confidence: float
    emotions: Mapping[str, float]
    face_id: int = 0
    flags: tuple[str, ...] = ()
    smoothed: Mapping[str, float] | None = None
    landmarks: Landmarks | None = None

    @cached_property
    def dominant_emotion(self) -> str:
        """The emotion with the largest share."""
        return max(self.emotions, key=self.emotions.__getitem__)
