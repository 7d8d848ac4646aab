"""Micro-batching: classify the faces of concurrent requests in shared batches."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.classification.face_classifier import MAX_FACES_PER_BATCH


def _ignore(_: int) -> None:
    pass


class ClassificationRequest:
    """Face crops of one caller and, after classification, their probabilities or the error."""

    def __init__(self, crops: np.ndarray) -> None:
        self.crops = crops
        self.probabilities: np.ndarray | None = None
        self.error: Exception | None = None

    def is_done(self) -> bool:
        """Return whether the crops have been classified or an error has occurred."""
        return self.probabilities is not None or self.error is not None


class MicroBatchingClassifier(Classifier):
    """A classifier whose concurrent callers share batches. Thread-safe.

    One caller at a time is the leader, which classifies the crops of the oldest queued requests, up
    to `MAX_FACES_PER_BATCH` faces, in one batch. If other requests are announced, the leader first
    waits for their crops until the batch is full or the timeout has passed.

    Args:
        file: Model file.
        threads: Number of threads for inference; 0 uses all cores.
        timeout_seconds: Maximum time to wait for announced requests.
        on_batch: Function that is called with the number of faces of each batch.
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
        self._condition = threading.Condition()
        self._queued: list[ClassificationRequest] = []
        self._announced_requests = 0
        self._has_leader = False
        super().__init__(file, threads)
        self._on_batch = on_batch

    @contextmanager
    def announce_request(self) -> Iterator[None]:
        """Announce that the caller will classify crops in this context; a leader waits for them."""
        with self._condition:
            self._announced_requests += 1
        try:
            yield
        finally:
            with self._condition:
                self._announced_requests -= 1
                self._condition.notify_all()

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Classify face crops.

        Args:
            crops: (N, C, side, side) uint8 face crops.

        Returns:
            (N, K) float64 probabilities; each row sums to 1.
        """
        request = ClassificationRequest(crops)
        with self._condition:
            self._queued.append(request)
            self._condition.notify_all()
        # If many requests are queued, the first batch may not have this one.
        while batch := self._next_batch(request):
            self._classify(batch)
        if request.error is not None:
            raise request.error
        assert request.probabilities is not None
        return request.probabilities

    def _next_batch(self, request: ClassificationRequest) -> list[ClassificationRequest]:
        """Wait until `request` is done or its caller can be the leader.

        Returns:
            The batch that the caller must classify as the leader; empty if `request` is done.
        """
        with self._condition:
            self._condition.wait_for(lambda: request.is_done() or not self._has_leader)
            if request.is_done():
                return []
            self._has_leader = True
            self._condition.wait_for(self._is_batch_ready, self._timeout_seconds)
            face_count, request_count = 0, 0
            for queued in self._queued:
                face_count += len(queued.crops)
                # The first request is classified even if it alone exceeds the limit.
                if request_count and face_count > MAX_FACES_PER_BATCH:
                    break
                request_count += 1
            batch, self._queued = self._queued[:request_count], self._queued[request_count:]
            return batch

    def _is_batch_ready(self) -> bool:
        face_count = sum(len(request.crops) for request in self._queued)
        return len(self._queued) >= self._announced_requests or face_count >= MAX_FACES_PER_BATCH

    def _classify(self, batch: list[ClassificationRequest]) -> None:
        try:
            probabilities = super().__call__(np.concatenate([request.crops for request in batch]))
            boundaries = np.cumsum([len(request.crops) for request in batch])[:-1]
            for request, rows in zip(batch, np.split(probabilities, boundaries), strict=True):
                request.probabilities = rows
            self._on_batch(len(probabilities))
        except Exception as error:  # raised by `__call__` of each caller
            for request in batch:
                request.error = error
        finally:
            with self._condition:
                self._has_leader = False
                self._condition.notify_all()
