"""Micro-batching: concurrent requests share one classifier and its batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mien import detection
from mien.analyzer import Analyzer
from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.classification.face_classifier import MAX_FACES_PER_BATCH
from mien.detection import Detector
from mien.registry import unknown_name_error
from mien.server.settings import Settings

DETECTOR_THREADS = 1
"""Images are analyzed in parallel, so each detection uses one core."""


def _ignore(_: int) -> None:
    pass


class PendingRequest:
    """The face crops of one caller, then their probabilities or the error."""

    def __init__(self, crops: np.ndarray) -> None:
        self.crops = crops
        self.probabilities: np.ndarray | None = None
        self.error: Exception | None = None

    def is_done(self) -> bool:
        """Whether there are probabilities or an error."""
        return self.probabilities is not None or self.error is not None


class MicroBatchingClassifier(Classifier):
    """A classifier whose concurrent callers share batches. Thread-safe.

    The first caller becomes the leader and classifies the crops of all that wait. It waits for
    announced requests until the batch is full or the timeout has passed; without any, it does not
    wait.

    Args:
        file: the model file.
        threads: for inference; 0 for all cores.
        timeout_seconds: longest wait for announced requests.
        on_batch: called with the number of faces of each batch.
    """

    def __init__(
        self,
        file: Path | weights.ModelFile,
        threads: int,
        timeout_seconds: float,
        on_batch: Callable[[int], object] = _ignore,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._on_batch: Callable[[int], object] = _ignore  # the warm-up batch is not reported
        self._changed = threading.Condition()
        self._pending: list[PendingRequest] = []
        self._announced = 0
        self._has_leader = False
        super().__init__(file, threads)
        self._on_batch = on_batch

    @contextmanager
    def announce_request(self) -> Iterator[None]:
        """A context in which other callers wait, up to the timeout, for this caller's crops."""
        with self._changed:
            self._announced += 1
        try:
            yield
        finally:
            with self._changed:
                self._announced -= 1
                self._changed.notify_all()

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """(N, C, side, side) uint8 -> (N, K) float64 probabilities; rows sum to 1."""
        request = PendingRequest(crops)
        with self._changed:
            self._pending.append(request)
            self._changed.notify_all()
        while batch := self._next_batch(request):
            self._classify(batch)
        if request.error is not None:
            raise request.error
        assert request.probabilities is not None
        return request.probabilities

    def _next_batch(self, request: PendingRequest) -> list[PendingRequest]:
        """The batch that the caller must classify as leader; empty once `request` is done."""
        with self._changed:
            self._changed.wait_for(lambda: request.is_done() or not self._has_leader)
            if request.is_done():
                return []
            self._has_leader = True
            self._changed.wait_for(self._is_batch_ready, self._timeout_seconds)
            faces, count = 0, 0
            for pending in self._pending:
                faces += len(pending.crops)
                if count and faces > MAX_FACES_PER_BATCH:
                    break
                count += 1
            batch, self._pending = self._pending[:count], self._pending[count:]
            return batch

    def _is_batch_ready(self) -> bool:
        faces = sum(len(request.crops) for request in self._pending)
        return len(self._pending) >= self._announced or faces >= MAX_FACES_PER_BATCH

    def _classify(self, batch: list[PendingRequest]) -> None:
        try:
            probabilities = super().__call__(np.concatenate([request.crops for request in batch]))
            ends = np.cumsum([len(request.crops) for request in batch])[:-1]
            for request, rows in zip(batch, np.split(probabilities, ends), strict=True):
                request.probabilities = rows
            self._on_batch(len(probabilities))
        except Exception as error:  # raised in every caller of the batch
            for request in batch:
                request.error = error
        finally:
            with self._changed:
                self._has_leader = False
                self._changed.notify_all()


class AnalyzerCache:
    """Analyzers by model, detector and contempt, created on first use; they share their parts.

    Args:
        settings: the default model and detector, and the threads.
        on_batch: called with the number of faces of each batch.
    """

    def __init__(self, settings: Settings, on_batch: Callable[[int], object]) -> None:
        self._settings, self._on_batch = settings, on_batch
        file = weights.model(settings.model)
        self.models = weights.models() | {file.name: file}
        self.default_model = file.name
        detector = detection.load(settings.detector, DETECTOR_THREADS)
        self.default_detector = detector.name
        self._detectors: dict[str, Detector] = {detector.name: detector}
        self._classifiers: dict[str, MicroBatchingClassifier] = {}
        self._analyzers: dict[tuple[str, str, bool], Analyzer] = {}
        self._lock = threading.Lock()

    def detectors(self) -> list[str]:
        """The detector names that requests may use, sorted."""
        return sorted({self.default_detector, *detection.available()})

    def classifier(self, model: str = "") -> MicroBatchingClassifier:
        """The classifier of a model, by default the default model; `UserError` if unknown."""
        model = model or self.default_model
        if model not in self.models:
            # A name from a client is never used as a path.
            raise unknown_name_error("model", model, self.models)
        with self._lock:
            if model not in self._classifiers:
                self._classifiers[model] = MicroBatchingClassifier(
                    self.models[model],
                    self._settings.threads,
                    self._settings.batch_timeout_seconds,
                    self._on_batch,
                )
            return self._classifiers[model]

    def get(self, model: str = "", detector: str = "", contempt: bool = False) -> Analyzer:
        """The analyzer of these parts; defaults for empty names; `UserError` if unknown."""
        classifier, detect = self.classifier(model), self._detector(detector)
        key = (classifier.name, detect.name, contempt)
        with self._lock:
            if key not in self._analyzers:
                self._analyzers[key] = Analyzer(classifier, detect, contempt=contempt)
            return self._analyzers[key]

    def _detector(self, name: str) -> Detector:
        name = name or self.default_detector
        with self._lock:
            if name not in self._detectors:
                self._detectors[name] = detection.load(name, DETECTOR_THREADS)
            return self._detectors[name]
