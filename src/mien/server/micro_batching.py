"""Many threads, few batches: what lets one classifier serve them all."""

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

ONE_THREAD = 1
"""For a detector: pictures are worked on side by side, so each needs one core and not all."""


class Ask:
    """One caller's crops, and their answer or error when there is one."""

    def __init__(self, crops: np.ndarray) -> None:
        self.crops = crops
        self.found: np.ndarray | None = None
        self.error: Exception | None = None

    def is_over(self) -> bool:
        """Whether somebody has answered."""
        return self.found is not None or self.error is not None


class MicroBatchingClassifier(Classifier):
    """A classifier whose concurrent callers share its batches.

    Whoever comes first answers for all who wait. It waits for those that are known to be coming
    until a batch is full or `patience` seconds have passed, and for nobody when it is alone.
    told: is told the number of faces of each batch.
    """

    def __init__(
        self,
        file: Path | weights.ModelFile,
        threads: int,
        patience: float,
        told: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._patience = patience
        self._told: Callable[[int], object] = lambda _: None  # of what it tries itself with, nobody
        self._changed = threading.Condition()
        self._asks: list[Ask] = []
        self._coming = 0
        self._is_led = False
        super().__init__(file, threads)
        self._told = told

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Within it, others wait a little for the caller's faces."""
        with self._changed:
            self._coming += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming -= 1
                self._changed.notify_all()

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """(N, C, side, side) uint8 -> (N, K) float64 probabilities; rows sum to 1."""
        ask = Ask(crops)
        with self._changed:
            self._asks.append(ask)
            self._changed.notify_all()
        while batch := self._batch(ask):
            self._answer(batch)
        if ask.error is not None:
            raise ask.error
        assert ask.found is not None
        return ask.found

    def _batch(self, ask: Ask) -> list[Ask]:
        """What the caller is to answer, itself or others first; empty when its own is answered."""
        with self._changed:
            self._changed.wait_for(lambda: ask.is_over() or not self._is_led)
            if ask.is_over():
                return []
            self._is_led = True
            self._changed.wait_for(self._is_worthwhile, self._patience)
            faces, count = 0, 0
            for waiting in self._asks:
                faces += len(waiting.crops)
                if count and faces > MAX_FACES_PER_BATCH:
                    break
                count += 1
            batch, self._asks = self._asks[:count], self._asks[count:]
            return batch

    def _is_worthwhile(self) -> bool:
        faces = sum(len(ask.crops) for ask in self._asks)
        return len(self._asks) >= self._coming or faces >= MAX_FACES_PER_BATCH

    def _answer(self, batch: list[Ask]) -> None:
        try:
            found = super().__call__(np.concatenate([ask.crops for ask in batch]))
            ends = np.cumsum([len(ask.crops) for ask in batch])[:-1]
            for ask, part in zip(batch, np.split(found, ends), strict=True):
                ask.found = part
            self._told(len(found))
        except Exception as error:  # it belongs to everybody who asked
            for ask in batch:
                ask.error = error
        finally:
            with self._changed:
                self._is_led = False
                self._changed.notify_all()


class Analyzers:
    """The analyzers that requests can ask for, each made when first wanted, their parts shared."""

    def __init__(self, settings: Settings, told: Callable[[int], object]) -> None:
        self._settings, self._told = settings, told
        file = weights.model(settings.model)
        self.models = weights.models() | {file.name: file}
        self.model = file.name
        first = detection.load(settings.detector, ONE_THREAD)
        self.detector = first.name
        self._detectors: dict[str, Detector] = {first.name: first}
        self._classifiers: dict[str, MicroBatchingClassifier] = {}
        self._analyzers: dict[tuple[str, str, bool], Analyzer] = {}
        self._making = threading.Lock()

    def detectors(self) -> list[str]:
        """The names of the detectors that can be asked for."""
        return sorted({self.detector, *detection.available()})

    def classifier(self, model: str = "") -> MicroBatchingClassifier:
        """The classifier of that name, the usual one without; a `UserError` if there is none."""
        model = model or self.model
        if model not in self.models:
            # A name from outside is never taken as a path.
            raise unknown_name_error("model", model, self.models)
        with self._making:
            if model not in self._classifiers:
                self._classifiers[model] = MicroBatchingClassifier(
                    self.models[model], self._settings.threads, self._settings.patience, self._told
                )
            return self._classifiers[model]

    def take(self, model: str = "", detector: str = "", contempt: bool = False) -> Analyzer:
        """The analyzer of these parts; the usual ones where nothing is said."""
        classifier, detect = self.classifier(model), self._detector(detector)
        wanted = (classifier.name, detect.name, contempt)
        with self._making:
            if wanted not in self._analyzers:
                self._analyzers[wanted] = Analyzer(classifier, detect, contempt=contempt)
            return self._analyzers[wanted]

    def _detector(self, name: str) -> Detector:
        name = name or self.detector
        with self._making:
            if name not in self._detectors:
                self._detectors[name] = detection.load(name, ONE_THREAD)
            return self._detectors[name]
