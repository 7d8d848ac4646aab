"""The faces of frames between two detections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mien.classification.face_classifier import FrameDetections
from mien.results import Detection, Frame


@dataclass(frozen=True)
class TimedDetections:
    """The faces that were detected in a frame.

    Attributes:
        seconds: Time of the frame.
        faces: Detections by face id.
    """

    seconds: float
    faces: Mapping[int, Detection]

    def to_dict(self) -> dict[str, Any]:
        """Return the detections as a JSON-serializable dictionary."""
        return {
            "seconds": self.seconds,
            "faces": [
                {
                    "face_id": face_id,
                    "box": face.box,
                    "confidence": face.confidence,
                    "landmarks": face.landmarks,
                    "roll": face.roll,
                }
                for face_id, face in self.faces.items()
            ],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> TimedDetections:
        """Create detections from the dictionary that `to_dict` returned."""
        faces = {
            face["face_id"]: Detection(
                face["box"], face["confidence"], face["landmarks"], face["roll"]
            )
            for face in state["faces"]
        }
        return cls(state["seconds"], faces)


def hold(last: TimedDetections | None, frames: Sequence[Frame]) -> Iterator[FrameDetections]:
    """Yield frames with the faces of the detection before them.

    If there is none (`last` is None), nothing is yielded: every shot begins with a detection, so no
    frame waits. There is no later detection to interpolate to at the end of a shot or video, and
    before an abrupt change.
    """
    if last is not None:
        yield from ((frame, last.faces) for frame in frames)


def fill(
    earlier: TimedDetections | None, frames: Sequence[Frame], later: TimedDetections
) -> Iterator[FrameDetections]:
    """Yield frames between two detections with interpolated faces; nothing without `earlier`."""
    if earlier is None:
        return
    for frame in frames:
        fraction = (frame.seconds - earlier.seconds) / (later.seconds - earlier.seconds)
        yield frame, interpolate(earlier.faces, later.faces, fraction)


def interpolate(
    earlier: Mapping[int, Detection], later: Mapping[int, Detection], fraction: float
) -> dict[int, Detection]:
    """Interpolate linearly between the faces of two frames.

    Args:
        earlier: Detections by face id.
        later: Detections by face id.
        fraction: Position between the two frames in time, 0 (earlier) to 1 (later).

    Returns:
        The faces that are in both frames, with their confidence and roll in the earlier frame;
        without landmarks if one of the two detections has none.
    """
    return {
        face_id: _interpolate(detection, later[face_id], fraction)
        for face_id, detection in earlier.items()
        if face_id in later
    }


def _interpolate(earlier: Detection, later: Detection, fraction: float) -> Detection:
    def between(a: Sequence[float], b: Sequence[float]) -> tuple[float, ...]:
        return tuple(p + (q - p) * fraction for p, q in zip(a, b, strict=True))

    landmarks = None
    if earlier.landmarks and later.landmarks:
        landmarks = tuple(map(between, earlier.landmarks, later.landmarks))
    box = between(earlier.box, later.box)
    return replace(earlier, box=box, landmarks=landmarks)  # type: ignore[arg-type]
