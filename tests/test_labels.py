"""The emotion labels: order, synonyms and restriction to a subset."""

import doctest

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mien import labels
from mien.errors import UserError
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, SYNONYMS, canonical_label, restrict_labels

arrays_of_eight_columns = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.just(8)), elements=st.floats(0, 1)
)


def test_the_order_is_that_of_fer2013():
    assert ",".join(EMOTIONS) == "angry,disgust,fear,happy,sad,surprise,neutral"
    assert (*EMOTIONS, "contempt") == EMOTIONS_AND_CONTEMPT


@pytest.mark.parametrize("name", [*EMOTIONS_AND_CONTEMPT, *SYNONYMS])
def test_names_and_synonyms_are_recognized_in_any_case(name):
    label = canonical_label(name)
    assert label in EMOTIONS_AND_CONTEMPT
    assert canonical_label(f"  {name.upper()}\n") == label
    assert canonical_label(label) == label


@given(st.text())
def test_the_error_for_an_unknown_emotion_lists_all_labels(name):
    assume(name.strip().lower() not in {*EMOTIONS_AND_CONTEMPT, *SYNONYMS})
    with pytest.raises(UserError, match=", ".join(EMOTIONS_AND_CONTEMPT)):
        canonical_label(name)


@given(arrays_of_eight_columns)
def test_restricted_rows_keep_their_proportions(values):
    restricted = restrict_labels(values, EMOTIONS_AND_CONTEMPT, EMOTIONS)
    assert restricted.shape == (len(values), 7)
    assert np.allclose(restricted.sum(1), 1, atol=1e-9)
    kept = values[:, :7]
    for row, shares in zip(kept, restricted, strict=True):
        if row.sum() > 1e-300:  # division by a smaller, subnormal sum is not exact
            assert np.allclose(shares, row / row.sum(), atol=1e-9)


def test_rows_without_kept_labels_become_uniform():
    contempt = np.eye(8, dtype=np.float32)[[7]]
    assert np.allclose(restrict_labels(contempt, EMOTIONS_AND_CONTEMPT, EMOTIONS), 1 / 7)


def test_labels_are_reordered_and_missing_ones_are_zero():
    probabilities = np.array([[0.1, 0.6, 0.3]])
    restricted = restrict_labels(
        probabilities, ("happy", "sad", "fear"), ("sad", "contempt", "happy", "fear")
    )
    assert np.allclose(restricted, [[0.6, 0, 0.1, 0.3]])


def test_keeping_all_labels_changes_nothing():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(8), 5)
    assert np.allclose(
        restrict_labels(probabilities, EMOTIONS_AND_CONTEMPT, EMOTIONS_AND_CONTEMPT),
        probabilities,
        atol=1e-12,
    )


def test_the_docstring_examples_are_true():
    assert doctest.testmod(labels).failed == 0
