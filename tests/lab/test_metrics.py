"""Metrics, checked against scikit-learn and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy
from sklearn.metrics import (
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
)

from mien.lab import metrics

CLASSES = 5
class_indices = st.integers(0, CLASSES - 1)
class_pairs = st.lists(st.tuples(class_indices, class_indices), min_size=1, max_size=60).map(
    np.array
)
seeds = st.integers(0, 2**32 - 1)


def distributions(seed, rows=40, classes=CLASSES, concentration=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(classes, concentration), rows)


def vote_shares(seed, rows=40, classes=CLASSES):
    rng = np.random.default_rng(seed)
    return rng.multinomial(10, rng.dirichlet(np.ones(classes)), rows) / 10


@given(class_pairs)
def test_confusion_and_per_class_scores_match_scikit_learn(pairs):
    truth, predicted = pairs.T
    matrix = metrics.confusion(truth, predicted, CLASSES)
    labels = list(range(CLASSES))
    assert np.array_equal(matrix, confusion_matrix(truth, predicted, labels=labels))
    expected = precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    actual = metrics.per_class(matrix)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert np.allclose(actual[name], values)
    assert metrics.macro_f1(matrix) == pytest.approx(f1_score(truth, predicted, average="macro"))


@given(class_pairs)
def test_specificity_is_the_fraction_of_other_classes_that_is_not_predicted_as_the_class(pairs):
    truth, predicted = pairs.T
    specificity = metrics.per_class(metrics.confusion(truth, predicted, CLASSES))["specificity"]
    for k in range(CLASSES):
        others = truth != k
        expected = (predicted[others] != k).mean() if others.any() else 0
        assert specificity[k] == pytest.approx(expected)


def test_scores_of_no_faces_are_0():
    empty = metrics.confusion(np.array([], int), np.array([], int), 3)
    assert metrics.macro_f1(empty) == 0
    assert not metrics.per_class(empty)["f1"].any()


@given(seeds)
@settings(max_examples=30)
def test_log_loss_matches_scikit_learn(seed):
    probabilities = distributions(seed, concentration=2.0)
    truth = np.random.default_rng(seed + 1).integers(0, CLASSES, len(probabilities))
    expected = log_loss(truth, probabilities, labels=list(range(CLASSES)))
    assert metrics.log_loss(probabilities, truth) == pytest.approx(expected)


def test_log_loss_is_finite_for_probability_zero():
    assert np.isfinite(metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])))


@given(seeds)
@settings(max_examples=30)
def test_divergences_match_scipy(seed):
    shares, probabilities = vote_shares(seed), distributions(seed, concentration=2.0)
    assert np.allclose(
        metrics.kl_divergence(shares, probabilities), entropy(shares, probabilities, axis=1)
    )
    expected = jensenshannon(shares, probabilities, base=2, axis=1) ** 2
    assert np.allclose(metrics.js_divergence(shares, probabilities), expected, atol=1e-9)


@given(seeds)
@settings(max_examples=30)
def test_js_divergence_is_symmetric_and_between_0_and_1(seed):
    probabilities, shares = distributions(seed), vote_shares(seed)
    divergence = metrics.js_divergence(probabilities, shares)
    assert np.allclose(divergence, metrics.js_divergence(shares, probabilities))
    assert ((divergence >= -1e-9) & (divergence <= 1 + 1e-9)).all()
    assert np.allclose(metrics.js_divergence(shares, shares), 0)


def test_js_divergence_of_disjoint_distributions_is_1():
    assert metrics.js_divergence(np.eye(2)[[0]], np.eye(2)[[1]]) == pytest.approx(1)


def test_brier_score_ranges_from_0_to_2():
    assert metrics.brier(np.eye(3), np.eye(3)) == 0
    assert metrics.brier(np.eye(3), np.eye(3)[[1, 2, 0]]) == 2


@given(seeds)
@settings(max_examples=30)
def test_brier_score_is_the_mean_squared_distance(seed):
    probabilities, shares = distributions(seed), vote_shares(seed)
    expected = np.mean(
        [np.linalg.norm(a - b) ** 2 for a, b in zip(probabilities, shares, strict=True)]
    )
    assert metrics.brier(probabilities, shares) == pytest.approx(expected)


def reference_calibration_error(values, outcomes, bins):
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for k in range(bins):
        is_last_bin = k == bins - 1
        is_in_bin = (values >= edges[k]) & (
            (values <= edges[k + 1]) if is_last_bin else values < edges[k + 1]
        )
        if is_in_bin.any():
            error = abs(values[is_in_bin].mean() - outcomes[is_in_bin].mean())
            total += is_in_bin.mean() * error
    return total


@given(seeds, st.integers(1, 20))
@settings(max_examples=30)
def test_calibration_errors_match_a_loop_over_bins(seed, bins):
    probabilities, shares = distributions(seed), vote_shares(seed)
    truth = shares.argmax(1)
    correct = (probabilities.argmax(1) == truth).astype(float)
    expected = reference_calibration_error(probabilities.max(1), correct, bins)
    assert metrics.calibration_error(probabilities, truth, bins) == pytest.approx(expected)
    expected = reference_calibration_error(probabilities.ravel(), shares.ravel(), bins)
    assert metrics.share_calibration_error(probabilities, shares, bins) == pytest.approx(expected)


def test_perfect_model_has_no_calibration_error():
    shares = vote_shares(0, rows=500)
    assert metrics.share_calibration_error(shares, shares) == pytest.approx(0)
    assert metrics.calibration_error(np.eye(3), np.arange(3)) == 0
    assert metrics.top_label_gap(shares, shares) == 0
    assert metrics.top_label_error(shares, shares) == 0


def test_calibrated_model_has_nearly_no_calibration_error():
    probabilities = distributions(3, rows=5000, concentration=1.0)
    rng = np.random.default_rng(4)
    truth = np.array([rng.choice(CLASSES, p=row) for row in probabilities])
    assert metrics.calibration_error(probabilities, truth) < 0.03
    underconfident = probabilities**3  # with the same predicted labels
    assert metrics.calibration_error(underconfident, truth) > 0.1


def test_top_label_gap_uses_the_predicted_label():
    probabilities = np.array([[0.6, 0.4], [0.6, 0.4], [0.2, 0.8], [0.2, 0.8]])
    shares = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 1.0]])
    assert metrics.top_label_gap(probabilities, shares) == pytest.approx(0.7 - 0.625)
    # The mean vote shares in the bins of 0.6 and 0.8 are 0.5 and 0.75.
    assert metrics.top_label_error(probabilities, shares) == pytest.approx((0.1 + 0.05) / 2)


def test_perfect_shares_have_no_top_label_gap_against_few_votes():
    """The largest of several shares of few votes is biased upward; that of a fixed label is not."""
    probabilities = distributions(3, rows=20_000, concentration=1.0)
    rng = np.random.default_rng(0)
    shares = rng.multinomial(10, probabilities / probabilities.sum(1, keepdims=True)) / 10
    assert metrics.top_label_gap(probabilities, shares) == pytest.approx(0, abs=0.005)
    assert shares.max(1).mean() - probabilities.max(1).mean() > 0.03


@given(seeds)
@settings(max_examples=20)
def test_reliability_diagram_counts_every_value_once(seed):
    probabilities, shares = distributions(seed), vote_shares(seed)
    table = metrics.reliability(probabilities.ravel(), shares.ravel())
    assert table.shape == (15, 3)
    assert table[:, 0].sum() == probabilities.size
    assert (table[:, 0] * table[:, 1]).sum() == pytest.approx(probabilities.sum())
    assert (table[:, 0] * table[:, 2]).sum() == pytest.approx(shares.sum())


def test_zero_and_one_are_in_the_first_and_last_bin():
    table = metrics.reliability(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert table[[0, -1], 0].tolist() == [1, 1]


def test_interval_of_a_mean_matches_the_normal_approximation():
    values = np.random.default_rng(1).normal(3, 2, 2000)
    low, high = metrics.interval(lambda v: float(v.mean()), values, resamples=2000)
    std_error = values.std() / len(values) ** 0.5
    assert low == pytest.approx(values.mean() - 1.96 * std_error, abs=std_error / 4)
    assert high == pytest.approx(values.mean() + 1.96 * std_error, abs=std_error / 4)


def test_basic_interval_removes_the_bias_of_a_binned_error():
    """The model is calibrated, so that its true error is 0 and the measured error is only noise."""
    rng = np.random.default_rng(0)
    error = metrics.calibration_error
    for _ in range(5):
        probabilities = rng.dirichlet(np.ones(7), 1000)
        truth = np.array([rng.choice(7, p=row) for row in probabilities])
        percentile = metrics.interval(error, probabilities, truth, resamples=200)
        low, high = metrics.interval(error, probabilities, truth, resamples=200, basic=True)
        assert low < 0.01 < percentile[0]
        assert high == pytest.approx(2 * error(probabilities, truth) - percentile[0])


def test_interval_resamples_rows_jointly_and_reproducibly():
    values = np.random.default_rng(1).normal(size=200)

    def difference(a, b):
        return float(np.abs(a - b).max())

    assert metrics.interval(difference, values, values, resamples=50) == (0.0, 0.0)
    first = metrics.interval(lambda v: float(v.mean()), values, resamples=50, seed=9)
    assert first == metrics.interval(lambda v: float(v.mean()), values, resamples=50, seed=9)


def test_interval_of_an_error_is_not_negative():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 7, 60)
    probabilities = rng.dirichlet(np.full(7, 5.0), 60)
    low, high = metrics.interval(
        metrics.calibration_error, probabilities, truth, resamples=200, basic=True
    )
    assert 0 <= low <= high


def test_duplicates_are_resampled_together():
    values = np.repeat(np.random.default_rng(1).normal(size=300), 4)
    clusters = np.repeat(np.arange(300) * 7, 4)  # ids need not be consecutive
    shuffled = np.random.default_rng(2).permutation(len(values))

    def mean(rows):
        return float(rows.mean())

    ungrouped = metrics.interval(mean, values)
    grouped = metrics.interval(mean, values[shuffled], clusters=clusters[shuffled])
    single = metrics.interval(mean, values[::4])
    assert grouped[1] - grouped[0] == pytest.approx(single[1] - single[0], rel=0.1)
    # In theory twice as wide, since there are four copies of each value.
    assert grouped[1] - grouped[0] > 1.7 * (ungrouped[1] - ungrouped[0])


def test_clusters_are_resampled_whole():
    clusters = np.array([5, 1, 5, 2, 5, 1])

    def check(rows):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2] == counts[4]
        assert counts[1] == counts[5]
        return 0.0

    metrics.interval(check, np.arange(6), clusters=clusters, resamples=50)
