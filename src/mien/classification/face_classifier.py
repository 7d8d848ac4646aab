"""Classify the faces of many frames in shared batches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mien.classification.classifier import Classifier
from mien.classification.crops import crop_face
from mien.classification.flags import flags
from mien.classification.model_spec import CropGeometry
from mien.errors import UserError
from mien.labels import restrict_labels
from mien.results import Detection, Face, Frame, Result

MAX_FACES_PER_BATCH = 32
MAX_PIXELS_PER_BATCH = 16_000_000
MAX_BATCH_SECONDS = 0.5
"""After each frame, the batch is classified if it has at least this many faces, its frames have at
least this many pixels in total, or it was begun more than this many seconds ago."""

FrameDetections = tuple[Frame, Mapping[int, Detection]]
"""A frame and its detections by face id."""


@dataclass(slots=True)
class _Batch:
    """Frames to be classified together, with the crops of their faces."""

    entries: list[tuple[Frame, Mapping[int, Detection], list[np.ndarray]]] = field(
        default_factory=list
    )
    face_count: int = 0
    pixel_count: int = 0
    start_time: float = field(default_factory=time.monotonic)

    def add(
        self, frame: Frame, detections: Mapping[int, Detection], crops: list[np.ndarray]
    ) -> None:
        self.entries.append((frame, detections, crops))
        self.face_count += len(crops)
        self.pixel_count += frame.pixels.shape[0] * frame.pixels.shape[1]

    def is_full(self) -> bool:
        is_late = time.monotonic() - self.start_time > MAX_BATCH_SECONDS
        is_large = self.pixel_count >= MAX_PIXELS_PER_BATCH
        return is_late or is_large or self.face_count >= MAX_FACES_PER_BATCH


class FaceClassifier:
    """Classifies detected faces with one model.

    Args:
        classifier: The model.
        geometry: The crop geometry of the detector.
        labels: The emotions to output, in this order. The shares of the model's other emotions are
            dropped, and the rest is normalized to sum to 1.
        detector: The detector's name, stored in each result's frame.

    Attributes:
        model: The model's name.
        labels: The emotions, in output order.
    """

    def __init__(
        self, classifier: Classifier, geometry: CropGeometry, labels: Sequence[str], detector: str
    ) -> None:
        self._classifier, self._geometry, self._detector = classifier, geometry, detector
        self.model, self.labels = classifier.name, tuple(labels)

    def __call__(self, frames: Iterable[FrameDetections]) -> Iterator[Result]:
        """Classify the faces of frames.

        Args:
            frames: Each frame with its detections by face id.

        Yields:
            One result per frame, in order, when the batch of the frame is classified. Live frames
            are classified immediately.

        Raises:
            UserError: `frames` raised it; the results of all earlier frames are yielded before. Or
                the outputs of the model are not probabilities.
        """
        batch, errors = _Batch(), list[UserError]()
        for frame, detections in _until_error(frames, errors):
            crops = [self.crop(frame.pixels, face) for face in detections.values()]
            batch.add(frame, detections, crops)
            if batch.is_full() or frame.is_live:
                yield from self._classify(batch)
                batch = _Batch()
        yield from self._classify(batch)
        if errors:
            raise errors[0]

    def crop(self, pixels: np.ndarray, face: Detection) -> np.ndarray:
        """Crop a face from (H, W, 3) uint8 RGB pixels; return (C, side, side) uint8."""
        return crop_face(pixels, face, self._geometry, self._classifier.spec)

    def predict_shares(self, crops: np.ndarray) -> np.ndarray:
        """Predict (N, K) shares in the order of `labels` for (N, C, side, side) uint8 crops."""
        return restrict_labels(self._classifier(crops), self._classifier.spec.labels, self.labels)

    def _classify(self, batch: _Batch) -> Iterator[Result]:
        shares = self._predict_in_batches([crop for _, _, crops in batch.entries for crop in crops])
        for frame, detections, crops in batch.entries:
            faces = [
                self._face(face_id, detection, crop, next(shares))
                for (face_id, detection), crop in zip(detections.items(), crops, strict=True)
            ]
            yield Result(replace(frame, model=self.model, detector=self._detector), faces)

    def _face(
        self, face_id: int, detection: Detection, crop: np.ndarray, shares: list[float]
    ) -> Face:
        return Face(
            detection.box, detection.confidence, dict(zip(self.labels, shares, strict=True)),
            face_id, flags(detection, crop), landmarks=detection.landmarks,
        )  # fmt: skip

    def _predict_in_batches(self, crops: list[np.ndarray]) -> Iterator[list[float]]:
        """Yield the shares of each crop; `MAX_FACES_PER_BATCH` crops are classified at a time."""
        for start in range(0, len(crops), MAX_FACES_PER_BATCH):
            yield from self.predict_shares(
                np.stack(crops[start : start + MAX_FACES_PER_BATCH])
            ).tolist()


def _until_error(
    frames: Iterable[FrameDetections], errors: list[UserError]
) -> Iterator[FrameDetections]:
    """Yield frames; if reading them raises a `UserError`, append it to `errors` and end."""
    try:
        yield from frames
    except UserError as error:
        errors.append(error)
