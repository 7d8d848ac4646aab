"""Tracking scores on cases computed by hand."""

import itertools

import numpy as np
import pytest

from tests.synthetic import clips, tracking_scores

LEFT, RIGHT = (0, 0, 10, 10), (100, 0, 10, 10)


def test_assignment_is_optimal():
    rng = np.random.default_rng(0)
    for rows, columns in itertools.product(range(5), range(5)):
        gain = np.maximum(rng.normal(0, 1, (rows, columns)), 0)
        pairs = tracking_scores.assign(gain)
        assert all(gain[pair] > 0 for pair in pairs)
        assert all(len(set(names)) == len(pairs) for names in zip(*pairs, strict=True))
        oriented = gain if rows <= columns else gain.T
        best = max(
            sum(oriented[row, column] for row, column in enumerate(order))
            for order in itertools.permutations(range(oriented.shape[1]), oriented.shape[0])
        )
        assert sum(gain[pair] for pair in pairs) == pytest.approx(best)


def test_each_id_switch_is_counted_once():
    truth = [{0: LEFT, 1: RIGHT}] * 6
    unchanged = [{7: LEFT, 8: RIGHT}] * 6
    swapped = [{7: LEFT, 8: RIGHT}] * 3 + [{8: LEFT, 7: RIGHT}] * 3
    renamed = [{7: LEFT, 8: RIGHT}] * 3 + [{}] + [{7: LEFT, 9: RIGHT}] * 2
    for predictions, expected in ((unchanged, 0), (swapped, 2), (renamed, 1)):
        assert tracking_scores.id_switches(truth, predictions) == expected


def test_matches_of_earlier_frames_are_preferred():
    first, second = (0, 0, 10, 10), (2, 0, 10, 10)
    truth = [{0: LEFT, 1: RIGHT}, {0: first, 1: second}]
    predictions = [{7: LEFT, 8: RIGHT}, {7: second, 8: first}]
    assert tracking_scores.id_switches(truth, predictions) == 0


def test_idf1_requires_one_id_per_face():
    truth = [{0: LEFT}] * 10
    assert tracking_scores.id_f1(truth, [{3: LEFT}] * 10) == 1
    assert tracking_scores.id_f1(truth, [{3: LEFT}] * 6 + [{4: LEFT}] * 4) == pytest.approx(0.6)
    assert tracking_scores.id_f1(truth, [{3: LEFT, 4: RIGHT}] * 10) == pytest.approx(2 / 3)
    assert tracking_scores.id_f1(truth, [{3: LEFT}] * 5 + [{}] * 5) == pytest.approx(2 / 3)
    assert tracking_scores.id_f1([{}], [{}]) == 1


def test_constant_bias_of_boxes_is_removed():
    rng = np.random.default_rng(0)
    boxes = np.hstack([rng.uniform(0, 500, (50, 2)), np.repeat(rng.uniform(40, 90, (50, 1)), 2, 1)])
    truth = [{0: tuple(box)} for box in boxes]
    biased = [{0: (x + 0.1 * w, y - 0.05 * h, 0.8 * w, 1.1 * h)} for x, y, w, h in boxes]
    jittered = [{0: (x + rng.normal(0, 6), y, w, h)} for x, y, w, h in boxes]
    assert tracking_scores.box_overlap(truth, biased) == pytest.approx(1)
    assert 0.7 < tracking_scores.box_overlap(truth, jittered) < 0.95
    assert np.isnan(tracking_scores.box_overlap(truth, [{}] * 50))


def test_hidden_faces_and_their_predictions_are_removed():
    truth = clips.Truth(
        0, (clips.VisibleFace(0, LEFT, "happy", 0.2), clips.VisibleFace(1, RIGHT, "sad", 1.0))
    )
    expected, predicted = tracking_scores.without_hidden(
        [truth], [{5: LEFT, 6: RIGHT, 7: (50, 50, 9, 9)}]
    )
    assert expected == [{1: RIGHT}]
    assert predicted == [{6: RIGHT, 7: (50, 50, 9, 9)}]


def test_time_error_and_changes_per_second():
    truth = [clips.Truth(t) for t in (0, 0.5, 1)]
    assert tracking_scores.time_error(truth, [0, 0.4, 1.02]) == pytest.approx(0.1)
    with pytest.raises(ValueError):  # there must be a timestamp for each frame
        tracking_scores.time_error(truth, [0])
    labels = ["sad", "sad", "happy", "sad", "sad"]
    assert tracking_scores.changes_per_second(labels, [0, 0.5, 1, 1.5, 2]) == 1
