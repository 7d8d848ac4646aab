"""Metrics in pure NumPy: arrays in, numbers out.

Throughout, `truth` and `predicted` are (N,) class indices, `probabilities` are (N, K) predicted
distributions, and `shares` are (N, K) shares of the raters' votes. Each row of a distribution or of
shares sums to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EPSILON = 1e-12
"""Lower bound of the probabilities whose logarithm is computed."""


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Compute the confusion matrix: entry [i, j] counts samples of class i predicted as class j.

    Args:
        truth: (N,) class indices.
        predicted: (N,) class indices.
        classes: The number of classes, K.

    Returns:
        (K, K) int64 counts.
    """
    pairs = np.asarray(truth) * classes + np.asarray(predicted)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Compute precision, recall, specificity, F1 and support of each class.

    Args:
        matrix: (K, K) confusion matrix, as returned by `confusion`.

    Returns:
        Metric name -> (K,) values; 0/0 is defined as 0, as in scikit-learn.
    """
    matrix = matrix.astype(np.float64)
    true_positives, support, predictions = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    negatives = matrix.sum() - support
    return {
        "precision": _ratio(true_positives, predictions),
        "recall": _ratio(true_positives, support),
        "specificity": _ratio(negatives - (predictions - true_positives), negatives),
        "f1": _ratio(2 * true_positives, support + predictions),
        "support": support.astype(np.int64),
    }


def macro_f1(matrix: np.ndarray) -> float:
    """Average F1 over the classes that occur in the truth or in the predictions; 0 if none does."""
    scores = per_class(matrix)
    occurs = (matrix.sum(0) + matrix.sum(1)) > 0
    return float(scores["f1"][occurs].mean()) if occurs.any() else 0.0


def macro_recall(matrix: np.ndarray) -> float:
    """Average recall over the classes that occur in the truth; 0 if none does."""
    occurs = matrix.sum(1) > 0
    return float(per_class(matrix)["recall"][occurs].mean()) if occurs.any() else 0.0


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Compute the mean negative log-probability of the true class, in nats."""
    return float(-np.log(np.maximum(_at_labels(probabilities, truth), EPSILON)).mean())


def brier(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Compute the Brier score: the mean squared distance to (N, K) targets, from 0 (best) to 2."""
    return float(((probabilities - targets) ** 2).sum(1).mean())


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Compute the expected calibration error (ECE) with equal-width bins of the confidence.

    The confidence is the largest probability of a row. The ECE is the mean of
    |mean confidence - accuracy| over bins, weighted by bin size. Guo et al. 2017,
    https://arxiv.org/abs/1706.04599.
    """
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == truth).astype(np.float64)
    return _binned_error(confidence, correct, bins)


def kl_divergence(shares: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute KL(shares || probabilities) of each row, in nats: (N,)."""
    terms = np.log(np.maximum(shares, EPSILON)) - np.log(np.maximum(probabilities, EPSILON))
    return np.where(shares > 0, shares * terms, 0).sum(1)


def js_divergence(shares: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the Jensen-Shannon divergence of each row, in bits, 0 to 1: (N,)."""
    mixture = (shares + probabilities) / 2
    total = kl_divergence(shares, mixture) + kl_divergence(probabilities, mixture)
    return total / (2 * np.log(2))


def share_calibration_error(probabilities: np.ndarray, shares: np.ndarray, bins: int = 15) -> float:
    """Compute the calibration error of all N x K predicted shares with equal-width bins.

    It is the mean of |mean predicted share - mean vote share| over bins, weighted by bin size.
    """
    return _binned_error(probabilities.ravel(), shares.ravel(), bins)


def top_label_gap(probabilities: np.ndarray, shares: np.ndarray) -> float:
    """Compute the mean predicted share of the top predicted label minus its mean vote share.

    The model is over-confident if the gap is above 0. The largest vote share of each face is not
    used, because the largest of several shares that are estimated from ten votes is biased upward.
    """
    predicted_share, vote_share = _top_label(probabilities, shares)
    return float((predicted_share - vote_share).mean())


def top_label_error(probabilities: np.ndarray, shares: np.ndarray, bins: int = 15) -> float:
    """Compute the calibration error of the predicted shares of the top predicted labels."""
    return _binned_error(*_top_label(probabilities, shares), bins)


def _top_label(probabilities: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted share and vote share of the top predicted label of each row, (N,) each."""
    label = probabilities.argmax(1)
    return _at_labels(probabilities, label), _at_labels(shares, label)


def reliability(values: np.ndarray, outcomes: np.ndarray, bins: int = 15) -> np.ndarray:
    """Compute the data of a reliability diagram.

    Args:
        values: (M,) predicted values, 0 to 1.
        outcomes: (M,) observed values, 0 to 1.
        bins: The number of equal-width bins.

    Returns:
        (bins, 3): for each bin the count, the mean predicted value and the mean observed value.
        An empty bin has zeros.
    """
    bin_indices = np.minimum((values * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_indices, minlength=bins)
    sums = [np.bincount(bin_indices, weights=x, minlength=bins) for x in (values, outcomes)]
    return np.stack([count, *(total / np.maximum(count, 1) for total in sums)], 1)


def interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    basic: bool = False,
    clusters: np.ndarray | None = None,
) -> tuple[float, float]:
    """Compute the 95 % bootstrap interval of `statistic(*arrays)`, resampling rows jointly.

    Args:
        statistic: A function that computes a number from the arrays.
        arrays: Arrays with N rows each.
        resamples: The number of bootstrap samples.
        seed: Seed of the random generator.
        basic: Use the basic bootstrap instead of the percentile bootstrap, and set negative ends
            to 0. The basic bootstrap reflects the percentiles about the value of the statistic.
            This corrects the upward bias of resampled calibration errors.
        clusters: (N,) cluster ids. Rows with the same id, such as duplicates of a face, are
            resampled together. None to resample each row alone.

    Returns:
        The lower and the upper end of the interval.
    """
    rng = np.random.default_rng(seed)
    clustered = _Clusters.from_ids(np.arange(len(arrays[0])) if clusters is None else clusters)
    values = np.empty(resamples)
    for k in range(resamples):
        rows = clustered.resample(rng)
        values[k] = statistic(*(array[rows] for array in arrays))
    low, high = np.quantile(values, (0.025, 0.975))
    if basic:
        value = statistic(*arrays)
        low, high = max(2 * value - high, 0.0), max(2 * value - low, 0.0)
    return float(low), float(high)


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """Compute the 95 % Wilson score interval of the proportion `successes / count`.

    Unlike a bootstrap interval, it is not a single point if the proportion is 0 or 1.

    Args:
        successes: Number of successes, from 0 to `count`.
        count: Number of samples, at least 1.
    """
    z = 1.959964  # quantile 0.975 of the standard normal distribution
    center = (successes + z**2 / 2) / (count + z**2)
    half = z * math.sqrt(successes * (count - successes) / count + z**2 / 4) / (count + z**2)
    return max(center - half, 0.0), min(center + half, 1.0)


@dataclass(frozen=True)
class _Clusters:
    """Row indices sorted by cluster, and the start and size of each cluster among them."""

    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def from_ids(cls, clusters: np.ndarray) -> _Clusters:
        rows = np.argsort(clusters, kind="stable")
        _, starts, sizes = np.unique(clusters[rows], return_index=True, return_counts=True)
        return cls(rows, starts, sizes)

    def resample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw as many clusters as exist, with replacement, and return their row indices."""
        drawn = rng.integers(0, len(self.starts), len(self.starts))
        sizes = self.sizes[drawn]
        # 0, 1, 2, ... within each drawn cluster
        offsets = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
        return self.rows[np.repeat(self.starts[drawn], sizes) + offsets]


def _at_labels(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return probabilities[np.arange(len(labels)), labels]


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    zeros = np.zeros_like(numerator, np.float64)
    return np.divide(numerator, denominator, out=zeros, where=denominator > 0)


def _binned_error(values: np.ndarray, outcomes: np.ndarray, bins: int) -> float:
    count, mean_predicted, mean_observed = reliability(values, outcomes, bins).T
    errors = np.abs(mean_predicted - mean_observed)
    return float((count * errors).sum() / max(count.sum(), 1))
