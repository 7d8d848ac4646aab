"""The faces of many frames, cut out and classified in batches that the frames share."""

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
MAX_PIXELS_PER_BATCH = 32_000_000
MAX_BATCH_SECONDS = 0.5
"""Limits of a batch: faces, pixels of its frames together, seconds of waiting."""

FrameDetections = tuple[Frame, Mapping[int, Detection]]
"""A frame, and the faces that were detected in it by their ids."""


@dataclass(slots=True)
class _Batch:
    """Frames that wait to be classified together, with the crops of their faces."""

    entries: list[tuple[Frame, Mapping[int, Detection], list[np.ndarray]]] = field(
        default_factory=list
    )
    faces: int = 0
    pixels: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, frame: Frame, found: Mapping[int, Detection], crops: list[np.ndarray]) -> None:
        self.entries.append((frame, found, crops))
        self.faces += len(crops)
        self.pixels += frame.pixels.shape[0] * frame.pixels.shape[1]

    def is_full(self) -> bool:
        late = time.monotonic() - self.began > MAX_BATCH_SECONDS
        return late or self.faces >= MAX_FACES_PER_BATCH or self.pixels >= MAX_PIXELS_PER_BATCH


class FaceClassifier:
    """FrameDetections faces -> results, by one model.

    Args:
        classifier: the model.
        geometry: how its detector's boxes lie around a face.
        labels: the emotions that are kept, in their order.
        detector: the name of the detector, for the frames.

    Attributes:
        model: the name of the model.
        labels: the emotions, in their order.
    """

    def __init__(
        self, classifier: Classifier, geometry: CropGeometry, labels: Sequence[str], detector: str
    ) -> None:
        self._classifier, self._geometry, self._detector = classifier, geometry, detector
        self.model, self.labels = classifier.name, tuple(labels)

    def __call__(self, detected: Iterable[FrameDetections]) -> Iterator[Result]:
        """The results of frames, in their order; at most one batch behind, live frames at once.

        Raises:
            UserError: the one of `detected`, after the results of the frames before it.
        """
        batch, failed = _Batch(), list[UserError]()
        for frame, found in _until_an_error(detected, failed):
            batch.add(frame, found, [self.crop(frame.pixels, face) for face in found.values()])
            if batch.is_full() or frame.is_live:
                yield from self._results(batch)
                batch = _Batch()
        yield from self._results(batch)
        if failed:
            raise failed[0]

    def crop(self, pixels: np.ndarray, face: Detection) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> the face as its model wants it, (C, side, side) uint8."""
        return crop_face(pixels, face, self._geometry, self._classifier.spec)

    def shares(self, crops: np.ndarray) -> np.ndarray:
        """(N, C, side, side) uint8 -> (N, K) float64, in the order of the labels."""
        return restrict_labels(self._classifier(crops), self._classifier.spec.labels, self.labels)

    def _results(self, batch: _Batch) -> Iterator[Result]:
        shares = self._in_batches([crop for *_, crops in batch.entries for crop in crops])
        for frame, found, crops in batch.entries:
            faces = [
                self._face(face_id, face, crop, next(shares))
                for (face_id, face), crop in zip(found.items(), crops, strict=True)
            ]
            yield Result(replace(frame, model=self.model, detector=self._detector), faces)

    def _face(self, face_id: int, face: Detection, crop: np.ndarray, shares: list[float]) -> Face:
        emotions = dict(zip(self.labels, shares, strict=True))
        return Face(
            face.box, face.confidence, emotions, face_id, flags(face, crop),
            landmarks=face.landmarks,
        )  # fmt: skip

    def _in_batches(self, crops: list[np.ndarray]) -> Iterator[list[float]]:
        for start in range(0, len(crops), MAX_FACES_PER_BATCH):
            yield from self.shares(np.stack(crops[start : start + MAX_FACES_PER_BATCH])).tolist()


def _until_an_error(
    detected: Iterable[FrameDetections], failed: list[UserError]
) -> Iterator[FrameDetections]:
    try:
        yield from detected
    except UserError as error:
        failed.append(error)
