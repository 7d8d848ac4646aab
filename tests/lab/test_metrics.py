"""Numbers, proved against scikit-learn and SciPy."""

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
pairs = st.lists(st.tuples(*[st.integers(0, CLASSES - 1)] * 2), min_size=1, max_size=60).map(
    np.array
)
seeds = st.integers(0, 2**32 - 1)


def distributions(seed, rows=40, classes=CLASSES, sharp=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(classes, sharp), rows)


def votes(seed, rows=40, classes=CLASSES):
    dice = np.random.default_rng(seed)
    return dice.multinomial(10, dice.dirichlet(np.ones(classes)), rows) / 10


@given(pairs)
def test_counts_and_scores_are_those_of_scikit_learn(answers):
    truth, guess = answers.T
    matrix = metrics.confusion(truth, guess, CLASSES)
    every = list(range(CLASSES))
    assert np.array_equal(matrix, confusion_matrix(truth, guess, labels=every))
    theirs = precision_recall_fscore_support(truth, guess, labels=every, zero_division=0)
    ours = metrics.per_class(matrix)
    for name, values in zip(("precision", "recall", "f1", "support"), theirs, strict=True):
        assert np.allclose(ours[name], values)
    assert metrics.macro_f1(matrix) == pytest.approx(f1_score(truth, guess, average="macro"))


@given(pairs)
def test_specificity_is_the_recall_of_everything_else(answers):
    truth, guess = answers.T
    found = metrics.per_class(metrics.confusion(truth, guess, CLASSES))["specificity"]
    for k in range(CLASSES):
        others = truth != k
        wanted = (guess[others] != k).mean() if others.any() else 0
        assert found[k] == pytest.approx(wanted)


def test_no_faces_give_zeros_and_not_errors():
    empty = metrics.confusion(np.array([], int), np.array([], int), 3)
    assert metrics.macro_f1(empty) == 0
    assert not metrics.per_class(empty)["f1"].any()


@given(seeds)
@settings(max_examples=30)
def test_log_loss_is_that_of_scikit_learn(seed):
    said = distributions(seed, sharp=2.0)
    truth = np.random.default_rng(seed + 1).integers(0, CLASSES, len(said))
    theirs = log_loss(truth, said, labels=list(range(CLASSES)))
    assert metrics.log_loss(said, truth) == pytest.approx(theirs)


def test_a_probability_of_zero_costs_much_but_not_everything():
    assert np.isfinite(metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])))


@given(seeds)
@settings(max_examples=30)
def test_divergences_are_those_of_scipy(seed):
    shares, said = votes(seed), distributions(seed, sharp=2.0)
    assert np.allclose(metrics.kl_divergence(shares, said), entropy(shares, said, axis=1))
    theirs = jensenshannon(shares, said, base=2, axis=1) ** 2
    assert np.allclose(metrics.js_divergence(shares, said), theirs, atol=1e-9)


@given(seeds)
@settings(max_examples=30)
def test_the_jensen_shannon_divergence_is_symmetric_and_between_0_and_1(seed):
    left, right = distributions(seed), votes(seed)
    found = metrics.js_divergence(left, right)
    assert np.allclose(found, metrics.js_divergence(right, left))
    assert ((found >= -1e-9) & (found <= 1 + 1e-9)).all()
    assert np.allclose(metrics.js_divergence(left, left), 0)


def test_the_jensen_shannon_divergence_of_strangers_is_1():
    assert metrics.js_divergence(np.eye(2)[[0]], np.eye(2)[[1]]) == pytest.approx(1)


def test_the_brier_score_runs_from_0_to_2():
    assert metrics.brier(np.eye(3), np.eye(3)) == 0
    assert metrics.brier(np.eye(3), np.eye(3)[[1, 2, 0]]) == 2


@given(seeds)
@settings(max_examples=30)
def test_the_brier_score_is_the_mean_squared_distance(seed):
    said, shares = distributions(seed), votes(seed)
    wanted = np.mean([np.linalg.norm(a - b) ** 2 for a, b in zip(said, shares, strict=True)])
    assert metrics.brier(said, shares) == pytest.approx(wanted)


def binned_by_hand(values, outcomes, bins):
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for k in range(bins):
        last = k == bins - 1
        inside = (values >= edges[k]) & (
            (values <= edges[k + 1]) if last else values < edges[k + 1]
        )
        if inside.any():
            total += inside.mean() * abs(values[inside].mean() - outcomes[inside].mean())
    return total


@given(seeds, st.integers(1, 20))
@settings(max_examples=30)
def test_calibration_errors_are_those_counted_by_hand(seed, bins):
    said, shares = distributions(seed), votes(seed)
    truth = shares.argmax(1)
    right = (said.argmax(1) == truth).astype(float)
    wanted = binned_by_hand(said.max(1), right, bins)
    assert metrics.calibration_error(said, truth, bins) == pytest.approx(wanted)
    wanted = binned_by_hand(said.ravel(), shares.ravel(), bins)
    assert metrics.share_calibration_error(said, shares, bins) == pytest.approx(wanted)


def test_a_perfect_model_has_no_calibration_error():
    shares = votes(0, rows=500)
    assert metrics.share_calibration_error(shares, shares) == pytest.approx(0)
    assert metrics.calibration_error(np.eye(3), np.arange(3)) == 0
    assert metrics.top_label_gap(shares, shares) == 0
    assert metrics.top_label_error(shares, shares) == 0


def test_a_calibrated_sampler_has_nearly_no_calibration_error():
    said = distributions(3, rows=20_000, sharp=1.0)
    dice = np.random.default_rng(4)
    truth = np.array([dice.choice(CLASSES, p=row) for row in said[:5000]])
    assert metrics.calibration_error(said[:5000], truth) < 0.03
    assert metrics.calibration_error(said[:5000] ** 3, truth) > 0.1


def test_the_top_label_gap_is_of_the_predicted_label():
    even = np.array([[0.6, 0.4], [0.6, 0.4], [0.2, 0.8], [0.2, 0.8]])
    votes = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 1.0]])
    assert metrics.top_label_gap(even, votes) == pytest.approx(0.7 - 0.625)
    # Bins of 0.6 and of 0.8: said and found are 0.6 and 0.5, 0.8 and 0.75.
    assert metrics.top_label_error(even, votes) == pytest.approx((0.1 + 0.05) / 2)


def test_perfect_shares_have_no_gap_against_few_votes():
    """The raters' own largest share is above them, as the largest of few votes is biased."""
    said = distributions(3, rows=20_000, sharp=1.0)
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, said / said.sum(1, keepdims=True)) / 10
    assert metrics.top_label_gap(said, votes) == pytest.approx(0, abs=0.005)
    assert votes.max(1).mean() - said.max(1).mean() > 0.03


@given(seeds)
@settings(max_examples=20)
def test_a_reliability_diagram_counts_every_value_once(seed):
    said, shares = distributions(seed), votes(seed)
    table = metrics.reliability(said.ravel(), shares.ravel())
    assert table.shape == (15, 3)
    assert table[:, 0].sum() == said.size
    assert (table[:, 0] * table[:, 1]).sum() == pytest.approx(said.sum())
    assert (table[:, 0] * table[:, 2]).sum() == pytest.approx(shares.sum())


def test_zero_and_one_fall_in_the_first_and_last_bin():
    table = metrics.reliability(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    assert table[[0, -1], 0].tolist() == [1, 1]


def test_an_interval_covers_a_mean_as_the_normal_law_says():
    values = np.random.default_rng(1).normal(3, 2, 2000)
    low, high = metrics.interval(lambda v: float(v.mean()), values, resamples=2000)
    error = values.std() / len(values) ** 0.5
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=error / 4)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=error / 4)


def test_the_basic_interval_of_a_binned_error_takes_its_bias_away():
    """Of a calibrated model: its error is nothing, and whatever is found is noise."""
    rng = np.random.default_rng(0)
    error = metrics.calibration_error
    for _ in range(5):
        said = rng.dirichlet(np.ones(7), 1000)
        truth = np.array([rng.choice(7, p=row) for row in said])
        usual = metrics.interval(error, said, truth, resamples=200)
        low, high = metrics.interval(error, said, truth, resamples=200, basic=True)
        assert low < 0.01 < usual[0]
        assert high == pytest.approx(2 * error(said, truth) - usual[0])


def test_an_interval_draws_rows_together_and_the_same_each_time():
    values = np.random.default_rng(1).normal(size=200)

    def difference(a, b):
        return float(np.abs(a - b).max())

    assert metrics.interval(difference, values, values, resamples=50) == (0.0, 0.0)
    once = metrics.interval(lambda v: float(v.mean()), values, resamples=50, seed=9)
    assert once == metrics.interval(lambda v: float(v.mean()), values, resamples=50, seed=9)


def test_the_interval_of_an_error_is_never_below_nothing():
    dice = np.random.default_rng(3)
    truth = dice.integers(0, 7, 60)
    said = dice.dirichlet(np.full(7, 5.0), 60)

    def gap(said, truth):
        return metrics.calibration_error(said, truth)

    low, high = metrics.interval(gap, said, truth, resamples=200, basic=True)
    assert 0 <= low <= high


def test_copies_are_drawn_together():
    values = np.repeat(np.random.default_rng(1).normal(size=300), 4)
    clusters = np.repeat(np.arange(300) * 7, 4)
    shuffled = np.random.default_rng(2).permutation(len(values))

    def mean(rows):
        return float(rows.mean())

    alone = metrics.interval(mean, values)
    together = metrics.interval(mean, values[shuffled], clusters=clusters[shuffled])
    single = metrics.interval(mean, values[::4])
    assert together[1] - together[0] == pytest.approx(single[1] - single[0], rel=0.1)
    assert together[1] - together[0] > 1.7 * (alone[1] - alone[0])


def test_every_row_of_a_drawn_cluster_comes_with_it():
    clusters = np.array([5, 1, 5, 2, 5, 1])

    def complete(rows):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2] == counts[4]
        assert counts[1] == counts[5]
        return 0.0

    metrics.interval(complete, np.arange(6), clusters=clusters, resamples=50)
