"""Measure the time of each stage of an analysis, for `mien bench`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mien import detection
from mien.classification import model_spec, weights
from mien.classification.classifier import Classifier
from mien.detection._roll import RollEstimator
from mien.results import Box, Detection

BATCH_SIZE = 32
"""Number of faces in the batch that is timed."""

MIN_REPEATS, SECONDS_PER_STAGE = 5, 1.0
"""A stage is repeated until it was measured at least this often and for at least this long."""


@dataclass(frozen=True)
class Stage:
    """The measured time of a stage.

    Attributes:
        name: Name of the stage.
        milliseconds: Median time in milliseconds.
        count: Number of faces or frames processed in that time.
    """

    name: str
    milliseconds: float
    count: int = 1

    @property
    def per_second(self) -> float:
        """Faces or frames per second."""
        return 1000 * self.count / self.milliseconds


def measure(
    model: str,
    detector: str,
    threads: int,
    size: tuple[int, int],
    seconds: float = SECONDS_PER_STAGE,
) -> list[Stage]:
    """Measure each stage on a frame of noise, in which one face is assumed.

    The times hardly depend on the pixels.

    Args:
        model: Name or path of the model.
        detector: Name of the detector.
        threads: Number of threads of the classifier and the detector; 0 uses all cores. The roll
            is always estimated with one thread.
        size: Width and height of the frame in pixels.
        seconds: Minimum time per stage in seconds.

    Returns:
        The stages in order; the first one, loading, is measured once.

    Raises:
        UserError: The model or the detector does not exist, or the model file is invalid.
    """
    started = time.perf_counter()
    classifier = Classifier(weights.model(model), threads)
    detect = detection.load(detector, threads)
    estimate_roll = RollEstimator()
    loading_milliseconds = 1000 * (time.perf_counter() - started)
    return [
        Stage("load model and detector", loading_milliseconds),
        *(
            Stage(name, median_milliseconds(work, seconds), count)
            for name, work, count in _repeated_work(classifier, detect, estimate_roll, size)
        ),
    ]


def _repeated_work(
    classifier: Classifier,
    detect: detection.Detector,
    estimate_roll: RollEstimator,
    size: tuple[int, int],
) -> list[tuple[str, Callable[[], object], int]]:
    """Return the name, the function and the number of faces or frames of each repeated stage."""
    rng = np.random.default_rng(0)
    width, height = size
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    side = min(size) / 2
    box: Box = (side / 2, side / 2, side, side)
    spec = classifier.spec
    square = detect.geometry.square(box, spec.margin)
    batch = rng.integers(0, 256, (BATCH_SIZE, spec.channels, spec.side, spec.side), np.uint8)

    def estimate_face_roll() -> None:
        estimate_roll(pixels, [Detection(box, 1.0)], detect.geometry)

    def crop_face() -> np.ndarray:
        return model_spec.crop(pixels, square, spec.side, spec.channels)

    def analyze_frame() -> None:
        detect(pixels)
        estimate_face_roll()
        classifier(crop_face()[None])

    face = crop_face()[None]
    return [
        (f"detect ({detect.name}), {width} x {height}", lambda: detect(pixels), 1),
        ("estimate the roll of a face", estimate_face_roll, 1),
        ("crop a face", crop_face, 1),
        ("classify a face", lambda: classifier(face), 1),
        (f"classify {BATCH_SIZE} faces", lambda: classifier(batch), BATCH_SIZE),
        ("a frame with one face", analyze_frame, 1),
    ]


def median_milliseconds(work: Callable[[], object], seconds: float) -> float:
    """Measure the median time of a function in milliseconds, after an unmeasured first call.

    Args:
        work: The function; it is measured at least `MIN_REPEATS` times.
        seconds: Minimum time for which it is repeated, in seconds.
    """
    work()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < MIN_REPEATS or time.perf_counter() - started < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))
