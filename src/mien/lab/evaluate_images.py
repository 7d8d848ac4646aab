"""Evaluate a model on labeled images, with face detection, overall and by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mien.analyzer import Analyzer
from mien.classification.classifier import Classifier
from mien.classification.weights import ModelFile
from mien.errors import ErrorCallback, UserError
from mien.io import reader
from mien.lab import data, labeled_images, metrics, runs, scores
from mien.lab.labeled_images import LabeledImage
from mien.labels import EMOTIONS
from mien.results import Face, Frame, Result

OnProgress = Callable[[int, int], object]
"""Callback that receives the number of processed images and the total number."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's predictions for N images.

    Attributes:
        images: The images.
        face_counts: (N,) int, number of detected faces.
        probabilities: (N, 7) probabilities of the largest face of each image, in the order of
            `EMOTIONS`; zeros if no face was detected.
    """

    images: list[LabeledImage]
    face_counts: np.ndarray
    probabilities: np.ndarray

    @property
    def truth(self) -> np.ndarray:
        """(N,) int64, the labels as indices into `EMOTIONS`."""
        return np.array([EMOTIONS.index(image.emotion) for image in self.images], np.int64)

    def select(self, mask: np.ndarray) -> Predictions:
        """Return the predictions for the images of a boolean mask."""
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
    """Evaluate a model file on labeled images.

    Args:
        model: Path of an `.onnx` file, or a `ModelFile` to select its head.
        root: A folder with subfolders EMOTION/ or SPLIT/EMOTION/; or a CSV or Parquet table with
            the columns `path` and `emotion`, and optional columns of votes and groups. See
            `labeled_images`.
        split: "train", "val" or "test"; a table and a folder without splits are "val".
        detector: Name of the detector; "whole" if the images are face crops.
        groups: Columns of a table to group by, besides age, gender and ethnicity.
        resamples: Number of bootstrap samples.
        on_error: Called with the error of each image that cannot be read.
        on_progress: Called after each image that can be read.

    Returns:
        The result, with these entries besides those of all results:

        - `data`: The number of `images`, and of those that are `unreadable`, `without_face`, or
          have `several_faces` (the largest is evaluated). `left_out` has the number of images for
          each label that is not one of the seven emotions; these images are not evaluated.
        - `scores`: The result of `score` for all images.
        - `groups`: The result of `score_groups`.

    Raises:
        UserError: The model or the data is invalid, no image has one of the labels or can be read,
            or no face is detected.

    Example:
        ```python
        from mien.lab import evaluate_images

        result = evaluate_images.evaluate("my.onnx", "faces.csv", groups=["skin_tone"])
        print(result["scores"]["accuracy"], result["groups"]["gender"]["female"]["accuracy"])
        ```
    """
    root = Path(root)
    images = data.split(labeled_images.load(root, groups), split)
    usable = _images_with_emotion(images, root)
    classifier = Classifier(model if isinstance(model, ModelFile) else Path(model))
    analyzer = Analyzer(classifier, detector)
    predictions = predict(analyzer, usable, on_error, on_progress)
    _check_predictions(predictions, root, detector, usable)
    return {
        "name": analyzer.model,
        "detector": analyzer.detector,
        "data": {"name": root.name, "split": split, **_count_images(images, predictions)},
        "provenance": dict(classifier.spec.card),
        "environment": runs.environment(),
        "scores": score(predictions, resamples),
        "groups": score_groups(predictions, resamples),
    }


def _images_with_emotion(images: Sequence[LabeledImage], root: Path) -> list[LabeledImage]:
    usable = [image for image in images if image.emotion in EMOTIONS]
    if not usable:
        labels = sorted({image.emotion for image in images})
        raise UserError(f"{root} has none of the labels {', '.join(EMOTIONS)}; its labels are "
                        f"{', '.join(labels[:10])}.")  # fmt: skip
    return usable


def _check_predictions(
    predictions: Predictions, root: Path, detector: str, usable: Sequence[LabeledImage]
) -> None:
    if not predictions.images:
        raise UserError(
            f"None of the {len(usable):,} images of {root} can be read; check the paths."
        )
    if not predictions.face_counts.any():
        raise UserError(f"{detector} detected no face in {len(predictions.images):,} readable "
                        "images. If they are face crops, give --detector whole.")  # fmt: skip


def _count_images(images: Sequence[LabeledImage], predictions: Predictions) -> dict:
    left_out = Counter(image.emotion for image in images if image.emotion not in EMOTIONS)
    return {
        "images": len(images),
        "left_out": dict(left_out),
        "unreadable": len(images) - left_out.total() - len(predictions.images),
        "without_face": int((predictions.face_counts == 0).sum()),
        "several_faces": int((predictions.face_counts > 1).sum()),
    }


def predict(
    analyzer: Analyzer,
    images: Sequence[LabeledImage],
    on_error: ErrorCallback = lambda _: None,
    on_progress: OnProgress = lambda *_: None,
) -> Predictions:
    """Predict the emotions of the largest face of each image that can be read.

    The callbacks are those of `evaluate`.
    """
    readable: list[LabeledImage] = []  # filled while the analyzer consumes frames()

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
    """Return the probabilities of the largest face, with 0 for emotions that the model lacks.

    Without a face, all are 0.
    """
    largest = max(result, key=_area, default=None)
    return [largest.emotions.get(emotion, 0.0) if largest else 0.0 for emotion in EMOTIONS]


def _area(face: Face) -> float:
    return face.box[2] * face.box[3]


def score(predictions: Predictions, resamples: int = 1000) -> dict:
    """Compute the scores of a set of images.

    Args:
        predictions: The predictions for at least one image.
        resamples: Number of bootstrap samples.

    Returns:
        The number of images, the detection rate and the number of faces. If there are faces, also
        the scores of `scores.label_scores` and `scores.share_scores`, the macro recall, the
        top-label gap (here the mean probability of the top emotion minus the accuracy), and the
        recall per emotion. The detection rate, the accuracy and the recalls have Wilson intervals.
    """
    detected = predictions.face_counts > 0
    counts = {
        "images": len(detected),
        "detection_rate": _proportion(int(detected.sum()), len(detected)),
    }
    if not detected.any():
        return counts | {"faces": 0}
    faces = predictions.select(detected)
    truth, probabilities = faces.truth, faces.probabilities
    label_scores = scores.label_scores(probabilities, truth, EMOTIONS, resamples)
    matrix = np.array(label_scores["confusion"])
    estimate = partial(scores.estimate_with_interval, resamples=resamples)
    return {
        **counts,
        **label_scores,
        "accuracy": _proportion(int(np.diag(matrix).sum()), len(truth)),
        "macro_recall": estimate(_macro_recall, truth, probabilities.argmax(1)),
        "top_label_gap": estimate(
            metrics.top_label_gap, probabilities, np.eye(len(EMOTIONS))[truth]
        ),
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
    }


def score_groups(predictions: Predictions, resamples: int = 1000) -> dict[str, dict[str, dict]]:
    """Compute the scores of each group of images.

    Args:
        predictions: The predictions for at least one image.
        resamples: Number of bootstrap samples.

    Returns:
        Column -> group -> the result of `score` and, if faces are detected both in the group
        and in other images, `accuracy_difference`: the accuracy of the group minus that of all
        other images. Groups are sorted by number, then by name.
    """
    columns = predictions.images[0].groups
    return {column: _score_column(predictions, column, resamples) for column in columns}


def _score_column(predictions: Predictions, column: str, resamples: int) -> dict[str, dict]:
    groups = np.array([image.groups[column] for image in predictions.images])
    correct = predictions.probabilities.argmax(1) == predictions.truth
    detected = predictions.face_counts > 0
    group_scores = {}
    for group in sorted(set(groups.tolist()), key=labeled_images.group_order):
        is_member = groups == group
        group_scores[group] = score(predictions.select(is_member), resamples)
        if (is_member & detected).any() and (~is_member & detected).any():
            group_scores[group]["accuracy_difference"] = scores.estimate_with_interval(
                _accuracy_difference, correct[detected], is_member[detected], resamples=resamples
            )
    return group_scores


def _accuracy_difference(correct: np.ndarray, is_member: np.ndarray) -> float:
    """Return the accuracy of a group minus that of all other faces.

    If a resample has no face of one of them, its accuracy counts as 0.
    """

    def accuracy(mask: np.ndarray) -> float:
        return correct[mask].sum() / max(mask.sum(), 1)

    return float(accuracy(is_member) - accuracy(~is_member))


def _macro_recall(truth: np.ndarray, predicted: np.ndarray) -> float:
    return metrics.macro_recall(metrics.confusion(truth, predicted, len(EMOTIONS)))


def _proportion(successes: int, count: int) -> dict[str, float]:
    """Return a proportion and its 95 % Wilson interval."""
    low, high = metrics.wilson_interval(successes, count)
    return {"value": successes / count, "low": low, "high": high}
