"""Evaluate a model on any labelled images, with detection and crops as in use, and by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.analyzer import Analyzer
from mien.classification.classifier import Classifier
from mien.classification.weights import ModelFile
from mien.errors import ErrorCallback, UserError
from mien.io import reader
from mien.lab import data, labelled_images, metrics, runs, scores
from mien.lab.labelled_images import LabelledImage
from mien.labels import EMOTIONS
from mien.results import Face, Frame, Result

OnProgress = Callable[[int, int], object]
"""Callback that receives the number of images read so far and the total number."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model predicts for N readable images.

    Attributes:
        images: The images.
        face_counts: (N,) number of detected faces.
        probabilities: (N, 7) for the largest face of each image, in the order of `EMOTIONS`; zeros
            if no face was detected.
    """

    images: list[LabelledImage]
    face_counts: np.ndarray
    probabilities: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """(N,) indices of the labels."""
        return np.array([EMOTIONS.index(image.emotion) for image in self.images], np.int64)

    def select(self, mask: np.ndarray) -> Predictions:
        """The predictions for the images of a boolean mask."""
        images = [image for image, selected in zip(self.images, mask, strict=True) if selected]
        return Predictions(images, self.face_counts[mask], self.probabilities[mask])


def evaluate(
    model: str | Path | ModelFile,
    root: str | Path,
    *,
    split: str = "val",
    detector: str = "yunet",
    groups: Sequence[str] = (),
    resamples: int = 1000,
    on_error: ErrorCallback = lambda _: None,
    on_progress: OnProgress = lambda *_: None,
) -> dict:
    """Evaluate a model file on labelled images.

    Args:
        model: An `.onnx` file.
        root: A folder EMOTION/ or SPLIT/EMOTION/, or a CSV or Parquet table with the columns
            `path` and `emotion`, and optionally of votes and groups; see `labelled_images`.
        split: "train", "val" or "test"; a table and a folder without splits are "val".
        detector: Name of the detector; "whole" if the images are face crops.
        groups: Columns of a table to group by, besides age, gender and ethnicity.
        resamples: Number of bootstrap samples.
        on_error: Called with the error of each image that cannot be read.
        on_progress: Called after each image.

    Returns:
        `{"name", "detector", "data", "provenance", "environment", "scores", "groups"}`. `data`
        counts the images: all, `left_out` (other labels), `unreadable`, `without_face` and
        `several_faces` (the largest was evaluated). `scores` is one section as in
        `mien.lab.scores`, with the detection rate, the macro recall, the top-label gap against the
        labels, and the recall per emotion. `groups` has such a section for each group of each
        column, with `accuracy_difference`: its accuracy minus that of all other images.

    Raises:
        UserError: There are no images with a label, or the data is invalid.

    Example:
        ```python
        from mien.lab import evaluate_images

        result = evaluate_images.evaluate("my.onnx", "faces.csv", groups=["skin_tone"])
        print(result["scores"]["accuracy"], result["groups"]["gender"]["female"]["accuracy"])
        ```
    """
    root = Path(root)
    images = data.split(labelled_images.load(root, groups), split)
    usable = [image for image in images if image.emotion in EMOTIONS]
    left_out = Counter(image.emotion for image in images if image.emotion not in EMOTIONS)
    if not usable:
        raise UserError(f"{root} has none of the labels {', '.join(EMOTIONS)}; its labels are "
                        f"{', '.join(sorted(left_out)[:10])}.")  # fmt: skip
    classifier = Classifier(model if isinstance(model, ModelFile) else Path(model))
    analyzer = Analyzer(classifier, detector)
    predictions = predict(analyzer, usable, on_error, on_progress)
    if not predictions.images:
        raise UserError(
            f"None of the {len(usable):,} images of {root} can be read; check the paths."
        )
    if not predictions.face_counts.any():
        raise UserError(f"{detector} detected no face in {len(usable):,} images. If they are face "
                        "crops, give --detector whole.")  # fmt: skip
    return {
        "name": analyzer.model,
        "detector": analyzer.detector,
        "data": {
            "name": root.name,
            "split": split,
            "images": len(images),
            "left_out": dict(left_out),
            "unreadable": len(usable) - len(predictions.images),
            "without_face": int((predictions.face_counts == 0).sum()),
            "several_faces": int((predictions.face_counts > 1).sum()),
        },
        "provenance": dict(classifier.spec.card),
        "environment": runs.about(),
        "scores": section(predictions, resamples),
        "groups": _group_sections(predictions, resamples),
    }


def predict(
    analyzer: Analyzer,
    images: Sequence[LabelledImage],
    on_error: ErrorCallback = lambda _: None,
    on_progress: OnProgress = lambda *_: None,
) -> Predictions:
    """Predict the emotions of the largest face in each image that can be read."""
    readable: list[LabelledImage] = []

    def frames() -> Iterator[Frame]:
        for count, image in enumerate(images, 1):
            try:
                frame = reader.read_image(image.path)
            except UserError as error:
                on_error(error)
                continue
            readable.append(image)
            yield frame
            on_progress(count, len(images))

    face_counts, probabilities = [], []
    for result in analyzer.analyze_frames(frames()):
        face_counts.append(len(result))
        probabilities.append(_probabilities(result))
    return Predictions(
        readable,
        np.array(face_counts, np.int64),
        np.array(probabilities, np.float64).reshape(-1, len(EMOTIONS)),
    )


def _probabilities(result: Result) -> list[float]:
    """Probabilities of the largest face, or zeros; an emotion that a model lacks has 0."""
    largest = max(result, key=_area, default=None)
    return [largest.emotions.get(emotion, 0.0) if largest else 0.0 for emotion in EMOTIONS]


def _area(face: Face) -> float:
    return face.box[2] * face.box[3]


def section(predictions: Predictions, resamples: int = 1000) -> dict:
    """Compute the scores of some images; without a detected face, only the detection rate."""
    detected = predictions.face_counts > 0
    counts = {
        "images": len(detected),
        "detection_rate": _proportion(int(detected.sum()), len(detected)),
    }
    if not detected.any():
        return counts | {"faces": 0}
    faces = predictions.select(detected)
    truth, probabilities = faces.truth, faces.probabilities
    section = scores.label_scores(probabilities, truth, EMOTIONS, resamples)
    matrix = np.array(section["confusion"])
    return counts | section | {
        "accuracy": _proportion(int(np.diag(matrix).sum()), len(truth)),
        "macro_recall": _macro_recall(truth, probabilities.argmax(1), resamples),
        "top_label_gap": _top_label_gap(truth, probabilities, resamples),
        "recall": {
            emotion: {"faces": int(row.sum()), **_proportion(int(row[k]), int(row.sum()))}
            for k, (emotion, row) in enumerate(zip(EMOTIONS, matrix, strict=True))
            if row.sum()
        },
        **scores.share_scores(
            probabilities,
            np.array([image.votes for image in faces.images]),
            np.arange(len(truth)),
            resamples,
        ),
    }  # fmt: skip


def _group_sections(predictions: Predictions, resamples: int) -> dict[str, dict[str, dict]]:
    """Return column -> group -> scores; groups are sorted, numbers by value."""
    columns = predictions.images[0].groups
    return {column: _column_sections(predictions, column, resamples) for column in columns}


def _column_sections(predictions: Predictions, column: str, resamples: int) -> dict[str, dict]:
    groups = np.array([image.groups[column] for image in predictions.images])
    correct = predictions.probabilities.argmax(1) == predictions.truth
    detected = predictions.face_counts > 0
    sections = {}
    for group in sorted(set(groups.tolist()), key=labelled_images.group_order):
        member = groups == group
        sections[group] = section(predictions.select(member), resamples)
        if (member & detected).any() and (~member & detected).any():
            sections[group]["accuracy_difference"] = _estimate(
                _difference, correct[detected], member[detected], resamples=resamples
            )
    return sections


def _difference(correct: np.ndarray, member: np.ndarray) -> float:
    """Accuracy of a group minus that of the others; a resample may have no face of either."""
    inside, outside = (
        correct[part].sum() / max(part.sum(), 1) for part in (member, ~member)
    )  # fmt: skip
    return float(inside - outside)


def _macro_recall(truth: np.ndarray, predicted: np.ndarray, resamples: int) -> dict[str, float]:
    def macro_recall(truth: np.ndarray, predicted: np.ndarray) -> float:
        return metrics.macro_recall(metrics.confusion(truth, predicted, len(EMOTIONS)))

    return _estimate(macro_recall, truth, predicted, resamples=resamples)


def _top_label_gap(truth: np.ndarray, probabilities: np.ndarray, resamples: int) -> dict:
    """The mean predicted share of the top emotion minus the accuracy."""
    return _estimate(
        metrics.top_label_gap, probabilities, np.eye(len(EMOTIONS))[truth], resamples=resamples
    )


def _proportion(successes: int, count: int) -> dict[str, float]:
    low, high = metrics.wilson_interval(successes, count)
    return {"value": successes / count, "low": low, "high": high}


def _estimate(
    metric: Callable[..., float], *arrays: np.ndarray, resamples: int
) -> dict[str, float]:
    low, high = metrics.interval(metric, *arrays, resamples=resamples)
    return {"value": metric(*arrays), "low": low, "high": high}
