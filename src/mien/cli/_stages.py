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
"""Each stage is repeated at least this often, and for at least this long."""


@dataclass(frozen=True)
class Stage:
    """The measured time of a stage.

    Attributes:
        name: Name of the stage.
        milliseconds: Median time.
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
    """Measure each stage on a frame of noise with the box of one face.

    The times do not depend on the pixels.

    Args:
        model: Name or path of the model.
        detector: Name of the detector.
        threads: Number of threads; 0 uses all cores.
        size: Width and height of the frame in pixels.
        seconds: Minimum time per stage.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    started = time.perf_counter()
    classifier, detect = (
        Classifier(weights.model(model), threads),
        detection.load(detector, threads),
    )
    roll = RollEstimator()
    loading_milliseconds = 1000 * (time.perf_counter() - started)
    spec = classifier.spec
    half = min(size) / 2
    box: Box = (half / 2, half / 2, half, half)
    square = detect.geometry.square(box, spec.margin)

    def crop_one() -> np.ndarray:
        return model_spec.crop(pixels, square, spec.side, spec.channels)

    single = crop_one()[None]
    batch = rng.integers(0, 256, (BATCH_SIZE, *single.shape[1:]), np.uint8)

    def estimate_roll() -> None:
        roll(pixels, [Detection(box, 1.0)], detect.geometry)

    def analyze_frame() -> None:
        detect(pixels)
        estimate_roll()
        classifier(crop_one()[None])

    return [
        Stage("load model and detector", loading_milliseconds),
        Stage(
            f"detect ({detect.name}), {size[0]} x {size[1]}",
            median_milliseconds(lambda: detect(pixels), seconds),
        ),
        Stage("estimate the roll of a face", median_milliseconds(estimate_roll, seconds)),
        Stage("crop a face", median_milliseconds(crop_one, seconds)),
        Stage("classify a face", median_milliseconds(lambda: classifier(single), seconds)),
        Stage(
            f"classify {BATCH_SIZE} faces",
            median_milliseconds(lambda: classifier(batch), seconds),
            BATCH_SIZE,
        ),
        Stage("a frame with one face", median_milliseconds(analyze_frame, seconds)),
    ]


def median_milliseconds(work: Callable[[], object], seconds: float) -> float:
    """Measure the median time of a function in milliseconds, without its first call.

    Args:
        work: The function, which is called at least 6 times.
        seconds: Minimum time for which it is repeated.
    """
    work()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < MIN_REPEATS or time.perf_counter() - started < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))
