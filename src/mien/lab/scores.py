"""Probabilities and ground truth -> every score that mien publishes of a model.

docs/results.md lists the rules behind these scores.
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
"""Metrics of predicted shares against vote shares: (N, 7), (N, 7) -> a number."""

BINNED_METRICS = (
    metrics.calibration_error, metrics.share_calibration_error, metrics.top_label_error
)  # fmt: skip
"""Their bootstrap samples are biased upward, so they need the basic bootstrap."""

SIMULATED_PANELS = 100
"""How many panels of raters are simulated for the sampling floor."""


def score(
    probabilities: np.ndarray,
    samples: Samples,
    train: Samples | None = None,
    resamples: int = 1000,
) -> dict:
    """Every score that mien publishes of a model.

    Args:
        probabilities: (N, 7) or (N, 8), predicted for the samples.
        samples: the N faces of the evaluation set.
        train: the training set. Faces that are also in it (the same pixels, or a changed copy of
            the same row) are duplicates; near duplicates look nearly the same
            (`mien.lab.duplicates`).
        resamples: of the bootstrap. Duplicates of a face are resampled together.

    Returns:
        Section -> scores, each `{"value", "low", "high"}` with its 95 % interval over faces;
        `per_class` and `confusion` are plain numbers. `sampling_floor` is the score that perfect
        proportions would get from as few raters. Without `train` the sections without duplicates
        are missing, and so is any section without faces: FER+'s where there are no votes.
    """
    seven = restrict_labels(
        probabilities, EMOTIONS_AND_CONTEMPT[: probabilities.shape[1]], EMOTIONS
    )
    eight = np.pad(probabilities, ((0, 0), (0, 8 - probabilities.shape[1])))
    cases: dict[str, tuple[np.ndarray, np.ndarray, Sequence[str]]] = {
        "fer2013": (seven, samples.labels, EMOTIONS)
    }
    if train is not None:
        exact = data.has_duplicate(samples.faces, train.faces) | np.isin(samples.rows, train.rows)
        near = exact | duplicates.has_near_duplicate(samples.faces, train.faces)
        for name, duplicated in (("duplicates", exact), ("near_duplicates", near)):
            labels = np.where(duplicated, -1, samples.labels)
            cases[f"fer2013_without_{name}"] = (seven, labels, EMOTIONS)
    for name, protocol in (("majority", data.majority), ("plurality", data.plurality)):
        cases[f"ferplus_{name}"] = (eight, protocol(samples.votes), EMOTIONS_AND_CONTEMPT)
    clusters = data.duplicate_groups(samples.faces)
    sections = {
        name: label_scores(predicted[labelled], truth[labelled], names, resamples,
                           clusters[labelled])
        for name, (predicted, truth, names) in cases.items()
        if (labelled := truth >= 0).any()
    }  # fmt: skip
    return sections | _share_scores(seven, samples.votes, clusters, resamples)


def _share_scores(
    predicted: np.ndarray, votes: np.ndarray, clusters: np.ndarray, resamples: int
) -> dict:
    """The sections `proportions` and `sampling_floor`; none without votes."""
    rated, shares = data.seven_shares(votes)
    if not rated.any():
        return {}
    predicted, raters = predicted[rated], votes[rated][:, : len(EMOTIONS)].sum(1)
    estimate = partial(_estimate, resamples=resamples, clusters=clusters[rated])
    scores = {name: estimate(metric, predicted, shares) for name, metric in SHARE_METRICS.items()}
    return {
        "proportions": {"faces": len(predicted), **scores},
        "sampling_floor": _sampling_floor(predicted, raters, min(resamples, SIMULATED_PANELS)),
    }


def summary(probabilities: np.ndarray, samples: Samples) -> dict[str, float]:
    """The few scores that a model file carries; those on votes only where there are votes."""
    sections = score(probabilities, samples, resamples=1)
    places = {
        "fer2013_accuracy": ("fer2013", "accuracy"),
        "ferplus_accuracy": ("ferplus_majority", "accuracy"),
        "kl_nats": ("proportions", "kl_nats"),
        "brier": ("proportions", "brier"),
        "share_calibration_error": ("proportions", "share_calibration_error"),
        "top_label_gap": ("proportions", "top_label_gap"),
    }
    return {
        name: round(sections[section][metric]["value"], 4)
        for name, (section, metric) in places.items()
        if section in sections
    }


def per_face_scores(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The score of each single face.

    Args:
        predictions: `truth` (N,), `raters` (N, 10) and the probabilities of each head, as a run
            folder keeps them.

    Returns:
        Metric name -> (M,), of the faces for which it is defined.
    """
    scores = {}
    if "labels" in predictions and (labelled := predictions["truth"] >= 0).any():
        probabilities, truth = predictions["labels"][labelled], predictions["truth"][labelled]
        true_class = probabilities[np.arange(len(truth)), truth]
        scores["accuracy"] = (probabilities.argmax(1) == truth).astype(float)
        scores["log loss"] = -np.log(np.maximum(true_class, metrics.EPSILON))
    if "votes" in predictions:
        truth = data.majority(predictions["raters"])
        if (labelled := truth >= 0).any():
            correct = predictions["votes"].argmax(1) == truth
            scores["FER+ accuracy"] = correct[labelled].astype(float)
        rated, shares = data.seven_shares(predictions["raters"])
        if rated.any():
            seven = restrict_labels(predictions["votes"][rated], EMOTIONS_AND_CONTEMPT, EMOTIONS)
            scores["KL divergence, nats"] = metrics.kl_divergence(shares, seven)
    return scores


def paired_differences(
    ours: Mapping[str, np.ndarray], baseline: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """One run's scores minus a baseline's, paired face by face, with a 95 % interval.

    Args:
        ours: predictions, as for `per_face_scores`.
        baseline: predictions for the same faces in the same order.

    Returns:
        Metric name -> `{"value", "low", "high"}`, for the metrics that both have.
    """
    first, second = per_face_scores(ours), per_face_scores(baseline)
    return {name: paired_difference(first[name], second[name]) for name in first if name in second}


def paired_difference(ours: np.ndarray, baseline: np.ndarray) -> dict[str, float]:
    """The mean of `ours - baseline`, (M,) each, with its 95 % interval over faces."""
    low, high = metrics.interval(lambda gain: float(gain.mean()), ours - baseline)
    return {"value": float((ours - baseline).mean()), "low": low, "high": high}


def label_scores(
    probabilities: np.ndarray,
    truth: np.ndarray,
    labels: Sequence[str] = EMOTIONS,
    resamples: int = 1000,
    clusters: np.ndarray | None = None,
) -> dict:
    """One section of `score`: (N, K) probabilities against (N,) true classes."""
    estimate = partial(_estimate, resamples=resamples, clusters=clusters)
    count = len(labels)
    predicted = probabilities.argmax(1)
    matrix = metrics.confusion(truth, predicted, count)
    scores = metrics.per_class(matrix)
    target = np.eye(count)[truth]

    def accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
        return float((truth == predicted).mean())

    def f1(truth: np.ndarray, predicted: np.ndarray) -> float:
        return metrics.macro_f1(metrics.confusion(truth, predicted, count))

    return {
        "faces": len(truth),
        "accuracy": estimate(accuracy, truth, predicted),
        "macro_f1": estimate(f1, truth, predicted),
        "log_loss": estimate(metrics.log_loss, probabilities, truth),
        "brier": estimate(metrics.brier, probabilities, target),
        "calibration_error": estimate(metrics.calibration_error, probabilities, truth),
        "per_class": {
            label: {name: float(values[k]) for name, values in scores.items()}
            for k, label in enumerate(labels)
        },
        "confusion": matrix.tolist(),
    }


def _sampling_floor(predicted: np.ndarray, raters: np.ndarray, panels: int) -> dict:
    """The scores that perfect shares would get, given how few raters each face has.

    The predicted shares, (N, 7), are taken as the truth; each panel draws as many votes per face
    as there were raters, (N,). Mean and 95 % range over the panels.
    """
    rng = np.random.default_rng(0)
    exact = predicted.astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    values: dict[str, list[float]] = {name: [] for name in SHARE_METRICS}
    for _ in range(panels):
        voted = rng.multinomial(raters.astype(np.int64), exact) / raters[:, None]
        for name, metric in SHARE_METRICS.items():
            values[name].append(float(metric(exact, voted)))
    return {"faces": len(predicted)} | {
        name: {
            "value": float(np.mean(of_panels)),
            "low": float(np.quantile(of_panels, 0.025)),
            "high": float(np.quantile(of_panels, 0.975)),
        }
        for name, of_panels in values.items()
    }


def _estimate(
    metric: Callable[..., float],
    *arrays: np.ndarray,
    resamples: int,
    clusters: np.ndarray | None = None,
) -> dict:
    low, high = metrics.interval(
        metric, *arrays, resamples=resamples, basic=metric in BINNED_METRICS, clusters=clusters
    )
    return {"value": float(metric(*arrays)), "low": low, "high": high}
