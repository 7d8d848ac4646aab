"""Frames -> faces: detect, cut, classify. Faces of many frames share one batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from mien import contract, detectors, sources, weights
from mien.classify import Classifier
from mien.errors import UserError
from mien.faces import Box, Face, Frame
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, fold

FACES_AT_ONCE = 32
PIXELS_AT_ONCE = 32_000_000
"""What waits for its batch at most: so many faces, or frames of so many pixels together."""

TOO_SMALL = 24.0
TOO_SMOOTH = 18.0
TOO_UNSURE = 0.8
"""Limits of the flags, read off `benchmarks/flags.py`: pixels of the face's shorter side, spread of
its Laplacian at 48 pixels, the detector's confidence."""


class Analyzer:
    """A detector and a classifier; no other state. Safe to call from several threads.

    model: a packaged name ("default", "default-labels") or the path of an `.onnx` file.
    detector: "auto", "yunet", "haar" or "whole". threads: for the classifier; 0 is all cores.
    contempt: keep the eighth emotion of the models that know it, instead of folding it out.
    """

    def __init__(
        self,
        model: str | os.PathLike = "default",
        detector: str = "auto",
        threads: int = 0,
        contempt: bool = False,
    ) -> None:
        path = weights.model(os.fspath(model))
        self._classify = Classifier(path, threads)
        self._detect = detectors.load(detector)
        self.model = path.stem
        self.detector = self._detect.name
        known = self._classify.contract.labels
        wanted = EMOTIONS_AND_CONTEMPT if contempt and "contempt" in known else EMOTIONS
        self.labels = tuple(name for name in wanted if name in known)

    def analyze(self, picture: sources.Picture) -> list[Face]:
        """The faces on one picture, surest first; none is an empty list.

        picture: a path, a file's bytes, (H, W, 3) uint8 RGB pixels or a PIL image. Of a moving
        picture, the first frame. Raises `UserError` for what cannot be read as a picture, and for
        a folder or glob of several, which `stream` reads.
        """
        ((_, faces),) = self.frames([sources.picture(picture)])
        return faces

    def stream(
        self, where: sources.Picture, skip: Callable[[UserError], None] | None = None
    ) -> Iterator[tuple[Frame, list[Face]]]:
        """Every frame of a picture, folder or glob, with its faces, in order.

        A file that cannot be read raises `UserError`; with `skip`, it is told and left out.
        """
        return self.frames(sources.frames(where, skip))

    def frames(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, list[Face]]]:
        """The given frames with their faces, in order; works ahead by one batch at most."""
        waiting: list[tuple[Frame, list[tuple[Box, float]], list[np.ndarray]]] = []
        faces = pixels = 0
        for frame in frames:
            found = self._detect(frame.pixels)
            crops = [self._crop(frame.pixels, box) for box, _ in found]
            waiting.append((frame, found, crops))
            faces += len(found)
            pixels += frame.pixels.shape[0] * frame.pixels.shape[1]
            if faces >= FACES_AT_ONCE or pixels >= PIXELS_AT_ONCE:
                yield from self._answers(waiting)
                waiting, faces, pixels = [], 0, 0
        yield from self._answers(waiting)

    def _crop(self, pixels: np.ndarray, box: Box) -> np.ndarray:
        expects = self._classify.contract
        square = self._detect.geometry.square(box, expects.margin)
        return contract.crop(pixels, square, expects.side, expects.channels)

    def _answers(
        self, waiting: list[tuple[Frame, list[tuple[Box, float]], list[np.ndarray]]]
    ) -> Iterator[tuple[Frame, list[Face]]]:
        probabilities = self._classified([crop for *_, crops in waiting for crop in crops])
        for frame, found, crops in waiting:
            faces: list[Face] = []
            for (box, confidence), cut in zip(found, crops, strict=True):
                emotions = dict(zip(self.labels, next(probabilities), strict=True))
                signs = flags(box, confidence, cut)
                faces.append(Face(box, confidence, emotions, len(faces), signs))
            yield replace(frame, model=self.model, detector=self.detector), faces

    def _classified(self, crops: list[np.ndarray]) -> Iterator[list[float]]:
        for start in range(0, len(crops), FACES_AT_ONCE):
            answers = self._classify(np.stack(crops[start : start + FACES_AT_ONCE]))
            yield from fold(answers, self._classify.contract.labels, self.labels).tolist()


def flags(box: Box, confidence: float, crop: np.ndarray) -> tuple[str, ...]:
    """Reasons to trust a face's emotions less, from its box, confidence and (C, S, S) crop."""
    found = []
    if min(box[2:]) < TOO_SMALL:
        found.append("too_small")
    elif sharpness(crop) < TOO_SMOOTH:
        found.append("blurred")
    if confidence < TOO_UNSURE:
        found.append("low_confidence")
    return tuple(found)


def sharpness(crop: np.ndarray) -> float:
    """Spread of a crop's Laplacian relative to its contrast, in percent: (C, S, S) uint8."""
    grey = crop.mean(0).astype(np.float32)
    return float(100 * cv2.Laplacian(grey, cv2.CV_32F).std() / (grey.std() + 1))
