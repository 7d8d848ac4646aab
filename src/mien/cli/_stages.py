"""How fast mien is here: the milliseconds of each stage, on this machine and for this model."""

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

BATCH = 32
"""Faces in the larger batch."""

FEWEST, SECONDS = 5, 1.0
"""Each stage is repeated so often at least, and for so long."""


@dataclass(frozen=True)
class Stage:
    """What was timed, its milliseconds in the median, and how many faces or frames that was."""

    name: str
    milliseconds: float
    count: int = 1

    @property
    def a_second(self) -> float:
        """Faces or frames a second."""
        return 1000 * self.count / self.milliseconds


def measure(
    model: str, detector: str, threads: int, size: tuple[int, int], seconds: float = SECONDS
) -> list[Stage]:
    """The stages of a frame of noise, `size` wide and high, that has one face.

    What a detector or a network does takes the same time whatever the pixels are. seconds: for
    each stage.
    """
    dice = np.random.default_rng(0)
    pixels = dice.integers(0, 256, (size[1], size[0], 3), np.uint8)
    began = time.perf_counter()
    classify, detect = Classifier(weights.model(model), threads), detection.load(detector, threads)
    roll = RollEstimator()
    loading = 1000 * (time.perf_counter() - began)
    expects = classify.spec
    half = min(size) / 2
    box: Box = (half / 2, half / 2, half, half)
    square = detect.geometry.square(box, expects.margin)

    def cut() -> np.ndarray:
        return model_spec.crop(pixels, square, expects.side, expects.channels)

    one = cut()[None]
    many = dice.integers(0, 256, (BATCH, *one.shape[1:]), np.uint8)

    def estimate_roll() -> None:
        roll(pixels, [Detection(box, 1.0)], detect.geometry)

    def frame() -> None:
        detect(pixels)
        estimate_roll()
        classify(cut()[None])

    return [
        Stage("load model and detector", loading),
        Stage(
            f"detect ({detect.name}), {size[0]} x {size[1]}",
            median(lambda: detect(pixels), seconds),
        ),
        Stage("estimate the roll of a face", median(estimate_roll, seconds)),
        Stage("cut a face", median(cut, seconds)),
        Stage("classify a face", median(lambda: classify(one), seconds)),
        Stage(f"classify {BATCH} faces", median(lambda: classify(many), seconds), BATCH),
        Stage("a frame with one face", median(frame, seconds)),
    ]


def median(work: Callable[[], object], seconds: float) -> float:
    """Milliseconds that `work` takes, in the median, after a first time that does not count."""
    work()
    spent: list[float] = []
    began = time.perf_counter()
    while len(spent) < FEWEST or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return 1000 * float(np.median(spent))
