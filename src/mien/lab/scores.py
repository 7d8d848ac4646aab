"""Compute all scores that mien publishes for a model, from probabilities and ground truth.

docs/results.md explains how the scores are defined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from mien.lab import data, duplicates, metrics
from mien.lab.data import Samples
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels

SHARE_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "kl_nats": lambda predicted, voted: metrics.kl_divergence(voted, predicted).mean(),
    "brier": metrics.brier,
    "share_calibration_error": metrics.share_calibration_error,
    "top_label_gap": metrics.top_label_gap,
    "top_label_error": metrics.top_label_error,
    "js_bits": lambda predicted, voted: metrics.js_divergence(voted, predicted).mean(),
}
"""Metric name -> function of the (N, 7) predicted shares and the (N, 7) vote shares."""

BINNED_METRICS = (
    metrics.calibration_error, metrics.share_calibration_error, metrics.top_label_error
)  # fmt: skip
"""Metrics whose interval is a basic bootstrap interval, because resampling biases them upward."""

MAX_SAMPLING_FLOOR_REPEATS = 100
"""Maximum number of simulations of the votes for the sampling floor.

There are only `resamples` simulations if that is fewer."""


def score(
    probabilities: np.ndarray,
    samples: Samples,
    train: Samples | None = None,
    resamples: int = 1000,
) -> dict:
    """Compute all scores that mien publishes for a model.

    Args:
        probabilities: (N, 7) or (N, 8) predictions for the samples.
        samples: The N faces of the evaluation set.
        train: The training set, for the sections without duplicates. A duplicate is a face with
            the same pixels as a training face, or with the same row in the dataset. Near duplicates
            are defined in `mien.lab.duplicates`.
        resamples: Number of bootstrap samples. Duplicates of a face are resampled together.

    Returns:
        Section -> scores. Each score is `{"value", "low", "high"}` with the 95 % interval over
        faces or, in `sampling_floor`, the 95 % range over simulations. `faces`, the number of
        faces, `per_class` and `confusion` have no intervals. Sections without faces are missing,
        for example those of FER+ if there are no votes. The sections:

        - `fer2013`: against the labels. With `train`, also `fer2013_without_duplicates` and
          `fer2013_without_near_duplicates` (which is without both).
        - `ferplus_majority`, `ferplus_plurality`: against labels that are derived from the votes.
        - `proportions`: predicted shares against the vote shares.
        - `sampling_floor`: the scores that the predicted shares would get from votes that are drawn
          from these shares.
    """
    without_contempt = restrict_labels(
        probabilities, EMOTIONS_AND_CONTEMPT[: probabilities.shape[1]], EMOTIONS
    )
    with_contempt = np.pad(
        probabilities, ((0, 0), (0, len(EMOTIONS_AND_CONTEMPT) - probabilities.shape[1]))
    )
    clusters = data.duplicate_groups(samples.faces)
    label_sections = partial(_label_sections, clusters=clusters, resamples=resamples)
    return (
        label_sections(without_contempt, _fer2013_labels(samples, train), EMOTIONS)
        | label_sections(with_contempt, _ferplus_labels(samples), EMOTIONS_AND_CONTEMPT)
        | share_scores(without_contempt, samples.votes, clusters, resamples)
    )


def share_scores(
    predicted: np.ndarray, votes: np.ndarray, clusters: np.ndarray, resamples: int
) -> dict:
    """Compute the sections `proportions` and `sampling_floor` of the result of `score`.

    Args:
        predicted: (N, 7) probabilities.
        votes: (N, 10) counts.
        clusters: (N,) cluster ids; faces with the same id are resampled together.
        resamples: Number of bootstrap samples.

    Returns:
        The sections, for the faces with enough votes (see `data.seven_shares`); an empty dictionary
        if there are none.
    """
    has_enough_votes, shares = data.seven_shares(votes)
    if not has_enough_votes.any():
        return {}
    predicted, clusters = predicted[has_enough_votes], clusters[has_enough_votes]
    vote_counts = votes[has_enough_votes, : len(EMOTIONS)].sum(1)
    estimate = partial(estimate_with_interval, resamples=resamples, clusters=clusters)
    scores = {name: estimate(metric, predicted, shares) for name, metric in SHARE_METRICS.items()}
    return {
        "proportions": {"faces": len(predicted), **scores},
        "sampling_floor": _sampling_floor(
            predicted, vote_counts, min(resamples, MAX_SAMPLING_FLOOR_REPEATS)
        ),
    }


def summary(probabilities: np.ndarray, samples: Samples) -> dict[str, float]:
    """Return the main scores for the card of a model file, metric -> score with four decimals.

    Scores for which the samples have no labels or not enough votes are missing.
    """
    sections = score(probabilities, samples, resamples=1)
    keys = {
        "fer2013_accuracy": ("fer2013", "accuracy"),
        "ferplus_accuracy": ("ferplus_majority", "accuracy"),
        "kl_nats": ("proportions", "kl_nats"),
        "brier": ("proportions", "brier"),
        "share_calibration_error": ("proportions", "share_calibration_error"),
        "top_label_gap": ("proportions", "top_label_gap"),
    }
    return {
        name: round(sections[section][metric]["value"], 4)
        for name, (section, metric) in keys.items()
        if section in sections
    }


def per_face_scores(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Compute the scores of each face.

    Args:
        predictions: `truth` (N,), `raters` (N, 10) and the probabilities of each head, as returned
            by `runs.load_predictions`.

    Returns:
        Metric name -> (M,) scores of the faces for which the metric is defined.
    """
    scores = {}
    if "labels" in predictions:
        has_label = predictions["truth"] >= 0
        probabilities, truth = predictions["labels"][has_label], predictions["truth"][has_label]
        true_class = probabilities[np.arange(len(truth)), truth]
        scores["accuracy"] = (probabilities.argmax(1) == truth).astype(float)
        scores["log loss"] = -np.log(np.maximum(true_class, metrics.EPSILON))
    if "votes" in predictions:
        majority = data.majority(predictions["raters"])
        has_majority = majority >= 0
        correct = predictions["votes"].argmax(1) == majority
        scores["FER+ accuracy"] = correct[has_majority].astype(float)
        has_enough_votes, shares = data.seven_shares(predictions["raters"])
        predicted_shares = restrict_labels(
            predictions["votes"][has_enough_votes], EMOTIONS_AND_CONTEMPT, EMOTIONS
        )
        scores["KL divergence, nats"] = metrics.kl_divergence(shares, predicted_shares)
    return {name: values for name, values in scores.items() if len(values)}


def paired_differences(
    predictions: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Compute the scores of a run minus those of a baseline, paired by face.

    Args:
        predictions: Predictions of the run, as for `per_face_scores`.
        baseline: Predictions of the baseline for the same faces in the same order.

    Returns:
        Metric name -> `{"value", "low", "high"}`, with the 95 % interval over faces, for the
        metrics that are defined for both.
    """
    scores, baseline_scores = per_face_scores(predictions), per_face_scores(baseline)
    return {
        name: paired_difference(scores[name], baseline_scores[name])
        for name in scores
        if name in baseline_scores
    }


def paired_difference(scores: np.ndarray, baseline: np.ndarray) -> dict[str, float]:
    """Compute the mean of `scores - baseline`, both (M,), and its 95 % interval over faces."""
    differences = scores - baseline
    low, high = metrics.interval(lambda resampled: float(resampled.mean()), differences)
    return {"value": float(differences.mean()), "low": low, "high": high}


def label_scores(
    probabilities: np.ndarray,
    truth: np.ndarray,
    class_names: Sequence[str] = EMOTIONS,
    resamples: int = 1000,
    clusters: np.ndarray | None = None,
) -> dict:
    """Compute one section of the result of `score`.

    Args:
        probabilities: (N, K) predictions.
        truth: (N,) class indices.
        class_names: Names of the K classes.
        resamples: Number of bootstrap samples.
        clusters: (N,) cluster ids, as for `metrics.interval`; None to resample each face alone.

    Returns:
        Metric name -> `{"value", "low", "high"}`. Without intervals: `faces`, the number of faces;
        `per_class`, class name -> metric of `metrics.per_class` -> value; and `confusion`, K lists
        of K counts, whose rows are the true classes.
    """
    estimate = partial(estimate_with_interval, resamples=resamples, clusters=clusters)
    class_count = len(class_names)
    predicted = probabilities.argmax(1)
    matrix = metrics.confusion(truth, predicted, class_count)
    class_scores = metrics.per_class(matrix)
    one_hot = np.eye(class_count)[truth]

    def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
        return float((truth == predicted).mean())

    def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
        return metrics.macro_f1(metrics.confusion(truth, predicted, class_count))

    return {
        "faces": len(truth),
        "accuracy": estimate(accuracy, truth, predicted),
        "macro_f1": estimate(macro_f1, truth, predicted),
        "log_loss": estimate(metrics.log_loss, probabilities, truth),
        "brier": estimate(metrics.brier, probabilities, one_hot),
        "calibration_error": estimate(metrics.calibration_error, probabilities, truth),
        "per_class": {
            class_name: {name: float(values[k]) for name, values in class_scores.items()}
            for k, class_name in enumerate(class_names)
        },
        "confusion": matrix.tolist(),
    }


def estimate_with_interval(
    metric: Callable[..., float],
    *arrays: np.ndarray,
    resamples: int,
    clusters: np.ndarray | None = None,
) -> dict[str, float]:
    """Compute `metric(*arrays)` and its 95 % interval over faces, as `{"value", "low", "high"}`.

    Args:
        metric: A function that computes a number from the arrays.
        arrays: Arrays with a row per face.
        resamples: Number of bootstrap samples.
        clusters: (N,) cluster ids, as for `metrics.interval`; None to resample each face alone.
    """
    low, high = metrics.interval(
        metric, *arrays, resamples=resamples, basic=metric in BINNED_METRICS, clusters=clusters
    )
    return {"value": float(metric(*arrays)), "low": low, "high": high}


def _label_sections(
    probabilities: np.ndarray,
    labels_by_section: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    clusters: np.ndarray,
    resamples: int,
) -> dict[str, dict]:
    """Return the label scores of each section that has faces; faces with label -1 are left out."""
    sections = {}
    for section, labels in labels_by_section.items():
        has_label = labels >= 0
        if has_label.any():
            sections[section] = label_scores(
                probabilities[has_label], labels[has_label], class_names, resamples,
                clusters[has_label],
            )  # fmt: skip
    return sections


def _fer2013_labels(samples: Samples, train: Samples | None) -> dict[str, np.ndarray]:
    """Return section -> (N,) labels of FER2013; -1 for none, and for duplicates to leave out."""
    labels = {"fer2013": samples.labels}
    if train is not None:
        exact = data.has_duplicate(samples.faces, train.faces) | np.isin(samples.rows, train.rows)
        near = exact | duplicates.has_near_duplicate(samples.faces, train.faces)
        labels["fer2013_without_duplicates"] = np.where(exact, -1, samples.labels)
        labels["fer2013_without_near_duplicates"] = np.where(near, -1, samples.labels)
    return labels


def _ferplus_labels(samples: Samples) -> dict[str, np.ndarray]:
    """Return section -> (N,) labels that are derived from the votes; -1 for none."""
    return {
        "ferplus_majority": data.majority(samples.votes),
        "ferplus_plurality": data.plurality(samples.votes),
    }


def _sampling_floor(predicted: np.ndarray, vote_counts: np.ndarray, repeats: int) -> dict:
    """Simulate the scores that the predicted shares would get if they were the true shares.

    The votes are drawn from the predicted shares, as many per face as there are real votes.

    Args:
        predicted: (N, 7) predicted shares.
        vote_counts: (N,) numbers of votes.
        repeats: Number of simulations.

    Returns:
        The number of faces, and for each metric the mean and the 95 % range over simulations.
    """
    rng = np.random.default_rng(0)
    shares = predicted.astype(np.float64)
    shares /= shares.sum(1, keepdims=True)  # `multinomial` rejects sums above 1
    values: dict[str, list[float]] = {name: [] for name in SHARE_METRICS}
    for _ in range(repeats):
        voted = rng.multinomial(vote_counts.astype(np.int64), shares) / vote_counts[:, None]
        for name, metric in SHARE_METRICS.items():
            values[name].append(float(metric(shares, voted)))
    floor: dict = {"faces": len(predicted)}
    for name, simulated in values.items():
        low, high = np.quantile(simulated, (0.025, 0.975))
        floor[name] = {"value": float(np.mean(simulated)), "low": float(low), "high": float(high)}
    return floor
