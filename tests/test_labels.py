"""The emotions: their order, their other names, and folding one out."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mien.errors import UserError
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, SYNONYMS, canonical, restrict_labels

weights = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.just(8)), elements=st.floats(0, 1)
)


def test_the_order_is_that_of_fer2013():
    assert ",".join(EMOTIONS) == "angry,disgust,fear,happy,sad,surprise,neutral"
    assert (*EMOTIONS, "contempt") == EMOTIONS_AND_CONTEMPT


@pytest.mark.parametrize("name", [*EMOTIONS_AND_CONTEMPT, *SYNONYMS])
def test_a_name_means_its_label_however_it_is_written(name):
    label = canonical(name)
    assert label in EMOTIONS_AND_CONTEMPT
    assert canonical(f"  {name.upper()}\n") == label
    assert canonical(label) == label


@given(st.text())
def test_any_other_name_is_refused_with_those_that_exist(name):
    assume(name.strip().lower() not in {*EMOTIONS_AND_CONTEMPT, *SYNONYMS})
    with pytest.raises(UserError, match="angry, disgust"):
        canonical(name)


@given(weights)
def test_folding_keeps_a_distribution_and_its_proportions(values):
    folded = restrict_labels(values, EMOTIONS_AND_CONTEMPT, EMOTIONS)
    assert folded.shape == (len(values), 7)
    assert np.allclose(folded.sum(1), 1, atol=1e-9)
    kept = values[:, :7]
    for row, shares in zip(kept, folded, strict=True):
        if row.sum() > 1e-300:
            assert np.allclose(shares, row / row.sum(), atol=1e-9)


def test_a_face_that_is_all_contempt_is_shared_out_evenly():
    only = np.eye(8, dtype=np.float32)[[7]]
    assert np.allclose(restrict_labels(only, EMOTIONS_AND_CONTEMPT, EMOTIONS), 1 / 7)


def test_folding_reorders_and_gives_unknown_labels_nothing():
    said = np.array([[0.1, 0.6, 0.3]])
    folded = restrict_labels(said, ("happy", "sad", "fear"), ("sad", "contempt", "happy", "fear"))
    assert np.allclose(folded, [[0.6, 0, 0.1, 0.3]])


def test_folding_nothing_out_changes_nothing():
    said = np.random.default_rng(0).dirichlet(np.ones(8), 5)
    assert np.allclose(
        restrict_labels(said, EMOTIONS_AND_CONTEMPT, EMOTIONS_AND_CONTEMPT), said, atol=1e-12
    )
