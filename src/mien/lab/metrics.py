"""Metrics in pure NumPy: arrays in, numbers out.

Throughout, `truth` and `predicted` are (N,) class indices; `probabilities` are (N, K) predicted
distributions and `shares` (N, K) vote shares of raters, each row summing to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EPSILON = 1e-12


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Confusion matrix: entry [i, j] counts samples of class i predicted as j.

    Args:
        truth: (N,) class indices.
        predicted: (N,) class indices.
        classes: the number of classes, K.

    Returns:
        (K, K) int64.
    """
    pairs = np.asarray(truth) * classes + np.asarray(predicted)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, specificity, F1 and support of each class.

    Args:
        matrix: (K, K) counts, as `confusion` returns them.

    Returns:
        Metric name -> (K,) values; 0/0 counts as 0, as in scikit-learn.
    """
    matrix = matrix.astype(np.float64)
    true_positives, support, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    negatives = matrix.sum() - support
    return {
        "precision": _ratio(true_positives, predicted),
        "recall": _ratio(true_positives, support),
        "specificity": _ratio(negatives - (predicted - true_positives), negatives),
        "f1": _ratio(2 * true_positives, support + predicted),
        "support": support.astype(np.int64),
    }


def macro_f1(matrix: np.ndarray) -> float:
    """F1 averaged over the classes that occur in the truth or the predictions."""
    scores = per_class(matrix)
    present = (matrix.sum(0) + matrix.sum(1)) > 0
    return float(scores["f1"][present].mean()) if present.any() else 0.0


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log probability of the true class, in nats."""
    return float(-np.log(np.maximum(_select(probabilities, truth), EPSILON)).mean())


def brier(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Brier score: mean squared distance to the (N, K) targets, 0 (best) to 2."""
    return float(((probabilities - targets) ** 2).sum(1).mean())


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (ECE): |confidence - accuracy| over equal-width bins.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """
    confidence = probabilities.max(1)
    correct = (probabilities.argmax(1) == truth).astype(np.float64)
    return _binned_gap(confidence, correct, bins)


def kl_divergence(shares: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """KL(shares || probabilities) of each row, in nats: (N, K), (N, K) -> (N,)."""
    terms = np.log(np.maximum(shares, EPSILON)) - np.log(np.maximum(probabilities, EPSILON))
    return np.where(shares > 0, shares * terms, 0).sum(1)


def js_divergence(shares: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of each row, in bits, 0 to 1: (N, K), (N, K) -> (N,)."""
    mixture = (shares + probabilities) / 2
    total = kl_divergence(shares, mixture) + kl_divergence(probabilities, mixture)
    return total / (2 * np.log(2))


def share_calibration_error(probabilities: np.ndarray, shares: np.ndarray, bins: int = 15) -> float:
    """Calibration error over all N x K predicted shares, in equal-width bins.

    In each bin, |mean predicted share - mean vote share|, weighted by the bin's size.
    """
    return _binned_gap(probabilities.ravel(), shares.ravel(), bins)


def top_label_gap(probabilities: np.ndarray, shares: np.ndarray) -> float:
    """Mean predicted share of the top label minus the mean vote share of that same label.

    Above 0 the model is over-confident. The comparison is not with the raters' own largest share:
    the largest of ten votes is biased upward, so a model that matches it is over-confident.
    """
    predicted, voted = _top_label(probabilities, shares)
    return float((predicted - voted).mean())


def top_label_error(probabilities: np.ndarray, shares: np.ndarray, bins: int = 15) -> float:
    """Calibration error of the top label's share: |mean predicted - mean voted| over bins."""
    return _binned_gap(*_top_label(probabilities, shares), bins)


def _top_label(probabilities: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The predicted share of each row's top label, and its vote share: (N,) each."""
    label = probabilities.argmax(1)
    return _select(probabilities, label), _select(shares, label)


def reliability(values: np.ndarray, outcomes: np.ndarray, bins: int = 15) -> np.ndarray:
    """The data of a reliability diagram.

    Args:
        values: (M,) predicted, 0 to 1.
        outcomes: (M,) observed, 0 to 1.
        bins: the number of equal-width bins.

    Returns:
        (bins, 3): count, mean value and mean outcome of each bin.
    """
    bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_of, minlength=bins)
    sums = [np.bincount(bin_of, weights=x, minlength=bins) for x in (values, outcomes)]
    return np.stack([count, *(total / np.maximum(count, 1) for total in sums)], 1)


def interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    basic: bool = False,
    clusters: np.ndarray | None = None,
) -> tuple[float, float]:
    """95 % bootstrap interval of `statistic(*arrays)`, rows resampled jointly with replacement.

    Args:
        statistic: a function from arrays to a number.
        arrays: N rows each.
        resamples: the number of bootstrap samples.
        seed: of the random generator.
        basic: use the basic bootstrap, which mirrors the percentiles at the value. For binned
            statistics such as a calibration error, whose resamples are biased upward. Both ends
            are at least 0.
        clusters: (N,) ids; rows with the same id are resampled together, as duplicates of a face.

    Returns:
        The lower and upper end.
    """
    rng = np.random.default_rng(seed)
    clustered = _Clusters.of(np.arange(len(arrays[0])) if clusters is None else clusters)
    values = np.empty(resamples)
    for k in range(resamples):
        rows = clustered.resample(rng)
        values[k] = statistic(*(array[rows] for array in arrays))
    low, high = np.quantile(values, (0.025, 0.975))
    if basic:
        value = statistic(*arrays)
        low, high = max(2 * value - high, 0.0), max(2 * value - low, 0.0)
    return float(low), float(high)


@dataclass(frozen=True)
class _Clusters:
    """Rows sorted by cluster, with the start and the size of each cluster."""

    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, clusters: np.ndarray) -> _Clusters:
        rows = np.argsort(clusters, kind="stable")
        _, starts, sizes = np.unique(clusters[rows], return_index=True, return_counts=True)
        return cls(rows, starts, sizes)

    def resample(self, rng: np.random.Generator) -> np.ndarray:
        """Draw as many clusters as exist, with replacement; their rows."""
        drawn = rng.integers(0, len(self.starts), len(self.starts))
        sizes = self.sizes[drawn]
        offsets = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
        return self.rows[np.repeat(self.starts[drawn], sizes) + offsets]


def _select(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return probabilities[np.arange(len(labels)), labels]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part, np.float64), where=whole > 0)


def _binned_gap(values: np.ndarray, outcomes: np.ndarray, bins: int) -> float:
    count, predicted, observed = reliability(values, outcomes, bins).T
    return float((count * np.abs(predicted - observed)).sum() / max(count.sum(), 1))
