"""Protocols: faces per class, disjoint splits, and the leaks of the leaky protocols."""

import math
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import UserError
from mien.lab import data, protocols
from mien.lab.config import RECIPES
from mien.lab.data import Samples
from mien.labels import EMOTIONS
from tests.paths import SHARED
from tests.synthetic import tiny

BASE = RECIPES["tiny"]
TOTALS = (4953, 547, 5121, 8989, 6077, 4002, 6198)
"""Faces per emotion in all of FER2013."""

SUPPORTS_IN_PAPER = (495, 55, 512, 899, 608, 400, 620)
"""Faces per emotion in the evaluation set of the paper's Table II."""


def small_samples(labels, first=0) -> Samples:
    """Samples with distinct faces: the four bytes of each are a number, counted from `first`."""
    count = len(labels)
    faces = np.arange(first, first + count, dtype=np.uint32).view(np.uint8).reshape(count, 2, 2)
    return Samples(faces, np.asarray(labels), np.zeros((count, 10), np.uint8), np.arange(count))


def split(protocol, splits, **changes):
    return protocols.split(splits, replace(BASE, protocol=protocol, **changes))


def tiny_splits(train=140, val=70, test=0, seed=0):
    table = tiny.table(train, val, test, seed)
    everything = Samples(table.faces, table.labels, table.votes, np.arange(len(table.labels)))
    usage = np.array(table.usage)
    names = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    return {n: everything.select(usage == u) for u, n in names.items() if (usage == u).any()}


def keys(samples):
    return [face.tobytes() for face in samples.faces]


def test_official_returns_the_published_splits():
    splits = tiny_splits()
    assert split("official", splits) is splits


def test_random10_has_the_supports_of_the_paper():
    labels = np.repeat(np.arange(7), TOTALS)
    np.random.default_rng(0).shuffle(labels)
    train, val, test = np.split(labels, [28709, 28709 + 3589])  # the sizes of FER2013's splits
    splits = {  # no face is in two splits
        "train": small_samples(train),
        "val": small_samples(val, first=40_000),
        "test": small_samples(test, first=80_000),
    }
    result = split("random10", splits)
    assert tuple(np.bincount(result["val"].labels)) == SUPPORTS_IN_PAPER
    assert len(result["train"]) == 35887 - 3589
    assert set(result) == {"train", "val"}
    assert not set(keys(result["train"])) & set(keys(result["val"]))


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(0, 5), st.booleans())
def test_every_face_is_held_out_in_exactly_one_fold(count, seed, grouped):
    protocol = "kfold" if grouped else "kfold-ungrouped"
    splits = tiny_splits(56, 28, 7, seed)
    everything = sorted(keys(splits["train"]) + keys(splits["val"]))
    held_out = []
    for fold in range(count):
        result = split(protocol, splits, fold=fold, folds=count)
        held_out += keys(result["val"])
        assert sorted(keys(result["train"]) + keys(result["val"])) == everything
        assert result["test"] is splits["test"]
        supports = np.bincount(result["val"].labels, minlength=7)
        assert supports.max() - supports.min() <= 1
    assert sorted(held_out) == everything


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_grouped_folds_keep_duplicates_together(seed):
    rng = np.random.default_rng(seed)
    splits = tiny_splits(42, 21, seed=seed)
    copied = rng.integers(0, 42, 30)
    splits["train"] = data.concatenate(splits["train"], splits["train"].select(copied))
    for fold in range(3):
        result = split("kfold", splits, fold=fold, folds=3)
        assert not set(keys(result["train"])) & set(keys(result["val"]))


def test_folds_are_reproducible_and_do_not_depend_on_test():
    splits = tiny_splits()
    _, first = protocols.folds(splits, 5)
    _, again = protocols.folds(splits | {"test": splits["val"]}, 5)
    assert np.array_equal(first, again)


def test_leaky_oversample_balances_classes_and_duplicates_across_splits():
    splits = tiny_splits()
    without_disgust = splits["train"].select(splits["train"].labels != EMOTIONS.index("disgust"))
    result = split("leaky-oversample", splits | {"train": without_disgust})
    both = data.concatenate(result["train"], result["val"])
    assert len(set(Counter(both.labels.tolist()).values())) == 1
    assert data.has_duplicate(result["val"].faces, result["train"].faces).any()
    assert len(result["val"]) == math.ceil(len(both) / 10)


def test_leaky_oversample_treats_faces_without_a_label_as_a_class():
    result = split("leaky-oversample", {"train": small_samples([-1, 0, 0, 0, 1, 1])})
    both = data.concatenate(result["train"], result["val"])
    assert Counter(both.labels.tolist()) == {-1: 3, 0: 3, 1: 3}


def test_leaky_augment_has_copies_of_a_face_in_both_splits():
    splits = tiny_splits()
    result = split("leaky-augment", splits)
    faces = sum(map(len, splits.values()))
    assert len(result["train"]) + len(result["val"]) == (1 + protocols.AUGMENTED_COPIES) * faces
    rows = set(result["train"].rows.tolist())
    assert np.mean([row in rows for row in result["val"].rows]) > 0.9
    assert result["train"].faces.dtype == np.uint8


@pytest.mark.parametrize("seed", range(5))
def test_augmented_copies_match_opencv(seed):
    face = cv2.GaussianBlur(tiny_splits()["train"].faces[seed], (0, 0), 1.5)
    rng = np.random.default_rng(seed)
    turn = cv2.getRotationMatrix2D((24, 24), rng.uniform(-10, 10), 1)
    turn[:, 2] += 48 * rng.uniform(-0.1, 0.1, 2)
    expected = cv2.warpAffine(face, turn, (48, 48), borderMode=cv2.BORDER_REPLICATE)
    expected = expected[:, ::-1] if rng.random() < 0.5 else expected
    first, second = (protocols._augmented(face, np.random.default_rng(seed)) for _ in range(2))
    assert np.abs(first.astype(int) - expected).max() <= 2
    assert np.array_equal(first, second)


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS)
def test_the_leaky_protocols_have_a_warning_and_the_others_none(protocol):
    assert bool(protocols.warning(protocol)) == protocol.startswith("leaky-")


def test_an_unknown_protocol_is_an_error():
    with pytest.raises(UserError, match="'kfold'"):
        split("kfolds", tiny_splits())


def test_too_few_faces_for_the_folds_are_an_error():
    with pytest.raises(UserError, match="does not fit the data"):
        split("kfold-ungrouped", tiny_splits(7, 0), folds=5)


@pytest.mark.skipif(not (SHARED / "fer2013").exists(), reason="FER2013 is not available")
def test_kfold_separates_the_duplicates_of_fer2013_and_other_protocols_do_not():
    splits = data.load(SHARED / "fer2013")
    if "test" in splits:  # random10 splits the faces of all three
        assert tuple(np.bincount(split("random10", splits)["val"].labels)) == SUPPORTS_IN_PAPER
    clean = split("kfold", splits)
    assert not data.has_duplicate(clean["val"].faces, clean["train"].faces).any()
    leaky = split("leaky-oversample", splits)
    assert data.has_duplicate(leaky["val"].faces, leaky["train"].faces).mean() > 0.5
    ungrouped = split("kfold-ungrouped", splits)
    fraction = data.has_duplicate(ungrouped["val"].faces, ungrouped["train"].faces).mean()
    assert 0.05 < fraction < 0.12  # about one in twelve
