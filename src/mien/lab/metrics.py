"""Numbers about answers: pure NumPy, from arrays to arrays.

Throughout, `truth` and `guess` are (N,) class indices, `probabilities` and `shares` are (N, K)
distributions: what a model says, and what a group of raters said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TINY = 1e-12


def confusion(truth: np.ndarray, guess: np.ndarray, classes: int) -> np.ndarray:
    """Count pairs: entry [i, j] is how often class i was called j; (N,), (N,) -> (K, K) int64."""
    pairs = np.asarray(truth) * classes + np.asarray(guess)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def per_class(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, specificity, F1 and support of each class: (K, K) -> five of (K,).

    What would be 0/0 is 0, as in scikit-learn.
    """
    matrix = matrix.astype(np.float64)
    hit, support, called = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    others = matrix.sum() - support
    return {
        "precision": _ratio(hit, called),
        "recall": _ratio(hit, support),
        "specificity": _ratio(others - (called - hit), others),
        "f1": _ratio(2 * hit, support + called),
        "support": support.astype(np.int64),
    }


def macro_f1(matrix: np.ndarray) -> float:
    """F1 averaged over classes that occur, in truth or in answers."""
    scores = per_class(matrix)
    present = (matrix.sum(0) + matrix.sum(1)) > 0
    return float(scores["f1"][present].mean()) if present.any() else 0.0


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log probability of the true class, in nats."""
    return float(-np.log(np.maximum(_picked(probabilities, truth), TINY)).mean())


def brier(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean squared distance to the target distribution, summed over classes: 0 (best) to 2."""
    return float(((probabilities - targets) ** 2).sum(1).mean())


def calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error of the top answer: |confidence - accuracy| over equal bins.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599.
    """
    sure = probabilities.max(1)
    right = (probabilities.argmax(1) == truth).astype(np.float64)
    return _binned_gap(sure, right, bins)


def kl_divergence(shares: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """KL(shares || probabilities) per row, in nats: (N, K), (N, K) -> (N,)."""
    terms = np.log(np.maximum(shares, TINY)) - np.log(np.maximum(probabilities, TINY))
    return np.where(shares > 0, shares * terms, 0).sum(1)


def js_divergence(shares: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence per row, in bits, 0 to 1: (N, K), (N, K) -> (N,)."""
    middle = (shares + probabilities) / 2
    both = kl_divergence(shares, middle) + kl_divergence(probabilities, middle)
    return both / (2 * np.log(2))


def share_calibration_error(probabilities: np.ndarray, shares: np.ndarray, bins: int = 15) -> float:
    """How far predicted shares are from the raters', over all N x K of them, in equal bins.

    In each bin, |mean predicted share - mean share of votes|, weighted by the bin's size.
    """
    return _binned_gap(probabilities.ravel(), shares.ravel(), bins)


def top_label_gap(probabilities: np.ndarray, shares: np.ndarray) -> float:
    """Mean predicted share of the top label minus the mean vote share of that same label.

    Above 0 the model claims too much. (Not minus the raters' own largest share: the largest of
    ten votes is biased upward, so that equalling it means to claim too much.)
    """
    predicted, voted = _top(probabilities, shares)
    return float((predicted - voted).mean())


def top_label_error(probabilities: np.ndarray, shares: np.ndarray, bins: int = 15) -> float:
    """Binned error of the predicted top share: |mean predicted - mean voted| over equal bins."""
    return _binned_gap(*_top(probabilities, shares), bins)


def _top(probabilities: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The predicted share of each row's top label, and its vote share: (N,) each."""
    label = probabilities.argmax(1)
    return _picked(probabilities, label), _picked(shares, label)


def reliability(values: np.ndarray, outcomes: np.ndarray, bins: int = 15) -> np.ndarray:
    """For a reliability diagram: (M,), (M,) -> (bins, 3) of count, mean value, mean outcome."""
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=x, minlength=bins) for x in (values, outcomes)]
    return np.stack([count, *(total / np.maximum(count, 1) for total in sums)], 1)


def interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    basic: bool = False,
    clusters: np.ndarray | None = None,
) -> tuple[float, float]:
    """95 % bootstrap interval of `statistic(*arrays)`, rows drawn together with replacement.

    Args:
        statistic: of arrays to a number.
        arrays: N rows each.
        resamples: how often rows are drawn.
        seed: of the drawing.
        basic: the basic bootstrap, which mirrors the percentiles at the value, instead of the
            percentiles themselves. For what is binned, such as a calibration error: resamples
            have more of it than the sample. Its ends are at least 0.
        clusters: (N,) of any numbers; rows with the same one are drawn or left together, as
            copies of a face are.
    """
    rng = np.random.default_rng(seed)
    members = _Clusters.of(np.arange(len(arrays[0])) if clusters is None else clusters)
    found = np.empty(resamples)
    for k in range(resamples):
        which = members.drawn(rng)
        found[k] = statistic(*(array[which] for array in arrays))
    low, high = np.quantile(found, (0.025, 0.975))
    if basic:
        value = statistic(*arrays)
        low, high = max(2 * value - high, 0.0), max(2 * value - low, 0.0)
    return float(low), float(high)


@dataclass(frozen=True)
class _Clusters:
    """Rows sorted by cluster: where each cluster begins there, and how many rows it has."""

    rows: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, clusters: np.ndarray) -> _Clusters:
        rows = np.argsort(clusters, kind="stable")
        _, starts, sizes = np.unique(clusters[rows], return_index=True, return_counts=True)
        return cls(rows, starts, sizes)

    def drawn(self, rng: np.random.Generator) -> np.ndarray:
        """The rows of as many clusters as there are, drawn with replacement."""
        picked = rng.integers(0, len(self.starts), len(self.starts))
        sizes = self.sizes[picked]
        within = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
        return self.rows[np.repeat(self.starts[picked], sizes) + within]


def _picked(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return probabilities[np.arange(len(truth)), truth]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part, np.float64), where=whole > 0)


def _binned_gap(values: np.ndarray, outcomes: np.ndarray, bins: int) -> float:
    count, said, found = reliability(values, outcomes, bins).T
    return float((count * np.abs(said - found)).sum() / max(count.sum(), 1))
