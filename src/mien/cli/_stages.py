"""`mien bench`: measure the time of each stage with a model and a detector on this machine."""

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
"""Faces in the large batch."""

MIN_REPEATS, SECONDS_PER_STAGE = 5, 1.0
"""Each stage is repeated at least this often, and for at least this long."""


@dataclass(frozen=True)
class Stage:
    """The measured time of a stage.

    Attributes:
        name: what was timed.
        milliseconds: the median time.
        count: how many faces or frames were processed in that time.
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
    """Measure each stage on a frame of noise with one assumed face.

    The time of a detector and of a network does not depend on the pixels.

    Args:
        model: name or path of the model.
        detector: name of the detector.
        threads: number of threads; 0 uses all cores.
        size: width and height of the frame in pixels.
        seconds: minimum time per stage.
    """
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    started = time.perf_counter()
    classifier, detect = (
        Classifier(weights.model(model), threads),
        detection.load(detector, threads),
    )
    roll = RollEstimator()
    loading = 1000 * (time.perf_counter() - started)
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

    def frame() -> None:
        detect(pixels)
        estimate_roll()
        classifier(crop_one()[None])

    return [
        Stage("load model and detector", loading),
        Stage(
            f"detect ({detect.name}), {size[0]} x {size[1]}",
            median(lambda: detect(pixels), seconds),
        ),
        Stage("estimate the roll of a face", median(estimate_roll, seconds)),
        Stage("crop a face", median(crop_one, seconds)),
        Stage("classify a face", median(lambda: classifier(single), seconds)),
        Stage(
            f"classify {BATCH_SIZE} faces", median(lambda: classifier(batch), seconds), BATCH_SIZE
        ),
        Stage("a frame with one face", median(frame, seconds)),
    ]


def median(work: Callable[[], object], seconds: float) -> float:
    """Median milliseconds of a function, without its first call.

    Args:
        work: the function; called at least 6 times.
        seconds: how long to repeat it.
    """
    work()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < MIN_REPEATS or time.perf_counter() - started < seconds:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))
