"""Load and cache the analyzers that requests use."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mien import detection
from mien.analyzer import Analyzer
from mien.classification import weights
from mien.detection import Detector
from mien.registry import unknown_name_error
from mien.server.micro_batching import MicroBatchingClassifier
from mien.server.settings import Settings

DETECTOR_THREADS = 1
"""Number of threads of a detector; 1, because several images are analyzed in parallel."""


class AnalyzerCache:
    """Cache with one analyzer per model, detector and contempt option.

    Analyzers are created on first use; they share classifiers and detectors.

    Args:
        settings: Settings with the default model, the default detector and the number of threads.
        on_batch: Function that is called with the number of faces of each batch.

    Attributes:
        models: Model files by name.
        default_model: Name of the default model.
        default_detector: Name of the default detector.

    Raises:
        UserError: The default model is unknown or not found, or the default detector is unknown.
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
        """Return the sorted names of the detectors that requests may use."""
        return sorted({self.default_detector, *detection.available()})

    def classifier(self, model: str = "") -> MicroBatchingClassifier:
        """Return the classifier of a model, or of the default model if `model` is empty.

        Raises:
            UserError: The model is unknown or cannot be read.
        """
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
        """Return an analyzer; empty names select the default model and detector.

        Raises:
            UserError: The model or detector is unknown, or the model cannot be read.
        """
        classifier, loaded_detector = self.classifier(model), self._detector(detector)
        key = (classifier.name, loaded_detector.name, contempt)
        with self._lock:
            if key not in self._analyzers:
                self._analyzers[key] = Analyzer(classifier, loaded_detector, contempt=contempt)
            return self._analyzers[key]

    def _detector(self, name: str) -> Detector:
        name = name or self.default_detector
        with self._lock:
            if name not in self._detectors:
                self._detectors[name] = detection.load(name, DETECTOR_THREADS)
            return self._detectors[name]
