"""The protocols: supports, disjointness, and that the leaky ones leak."""

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
from tests.paths import SHARED
from tests.synthetic import tiny

BASE = RECIPES["tiny"]
TOTALS = (4953, 547, 5121, 8989, 6077, 4002, 6198)
"""Faces of each emotion in the whole of FER2013."""

PRINTED = (495, 55, 512, 899, 608, 400, 620)
"""The supports of the paper's Table II."""


def bare(labels, seed=0) -> Samples:
    """Samples whose faces are one random pixel pair each: cheap, and all different."""
    count = len(labels)
    faces = np.arange(seed, seed + count, dtype=np.uint32).view(np.uint8).reshape(count, 2, 2)
    return Samples(faces, np.asarray(labels), np.zeros((count, 10), np.uint8), np.arange(count))


def divided(protocol, splits, **changes):
    return protocols.divide(splits, replace(BASE, protocol=protocol, **changes))


def tiny_splits(train=140, val=70, test=0, seed=0):
    made = tiny.table(train, val, test, seed)
    everything = Samples(made.faces, made.labels, made.votes, np.arange(len(made.labels)))
    usage = np.array(made.usage)
    names = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    return {n: everything.take(usage == u) for u, n in names.items() if (usage == u).any()}


def keys(samples):
    return [face.tobytes() for face in samples.faces]


def test_the_official_protocol_changes_nothing():
    splits = tiny_splits()
    assert divided("official", splits) is splits


def test_the_random_tenth_has_the_supports_that_the_paper_prints():
    labels = np.repeat(np.arange(7), TOTALS)
    np.random.default_rng(0).shuffle(labels)
    parts = np.split(labels, [28709, 28709 + 3589])
    splits = {
        n: bare(p, 40_000 * k)
        for k, (n, p) in enumerate(zip(("train", "val", "test"), parts, strict=True))
    }
    found = divided("random10", splits)
    assert tuple(np.bincount(found["val"].labels)) == PRINTED
    assert len(found["train"]) == 35887 - 3589
    assert set(found) == {"train", "val"}
    assert not set(keys(found["train"])) & set(keys(found["val"]))


@settings(max_examples=25)
@given(st.integers(2, 6), st.integers(0, 5), st.booleans())
def test_every_face_is_held_out_in_exactly_one_fold(count, seed, grouped):
    protocol = "kfold" if grouped else "kfold-ungrouped"
    splits = tiny_splits(56, 28, 7, seed)
    everything = sorted(keys(splits["train"]) + keys(splits["val"]))
    held = []
    for fold in range(count):
        found = divided(protocol, splits, fold=fold, folds=count)
        held += keys(found["val"])
        assert sorted(keys(found["train"]) + keys(found["val"])) == everything
        assert found["test"] is splits["test"]
        supports = np.bincount(found["val"].labels, minlength=7)
        assert supports.max() - supports.min() <= (2 if not grouped else 12)
    assert sorted(held) == everything


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_grouped_folds_keep_twins_together(seed):
    dice = np.random.default_rng(seed)
    splits = tiny_splits(42, 21, seed=seed)
    copied = dice.integers(0, 42, 30)
    splits["train"] = data.together(splits["train"], splits["train"].take(copied))
    for fold in range(3):
        found = divided("kfold", splits, fold=fold, folds=3)
        assert not set(keys(found["train"])) & set(keys(found["val"]))


def test_folds_are_the_same_each_time_and_depend_on_nothing_but_the_faces():
    splits = tiny_splits()
    _, first = protocols.folds(splits, 5)
    _, again = protocols.folds(splits | {"test": splits["val"]}, 5)
    assert np.array_equal(first, again)


def test_oversampling_makes_classes_even_and_twins_on_both_sides():
    splits = tiny_splits()
    rare = splits["train"].take(splits["train"].labels != 1)
    found = divided("leaky-oversample", splits | {"train": rare})
    both = data.together(found["train"], found["val"])
    assert len(set(Counter(both.labels.tolist()).values())) == 1
    assert data.twins(found["val"].faces, found["train"].faces).any()
    assert len(found["val"]) == -(-len(both) // 10)


def test_augmenting_first_puts_copies_of_one_face_on_both_sides():
    splits = tiny_splits()
    found = divided("leaky-augment", splits)
    assert len(found["train"]) + len(found["val"]) == (1 + protocols.COPIES) * 210
    rows = set(found["train"].rows.tolist())
    assert np.mean([row in rows for row in found["val"].rows]) > 0.9
    assert found["train"].faces.dtype == np.uint8


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_changed_as_opencv_would_change_them(seed):
    face = cv2.GaussianBlur(tiny_splits()["train"].faces[seed], (0, 0), 1.5)
    rng = np.random.default_rng(seed)
    turn = cv2.getRotationMatrix2D((24, 24), rng.uniform(-10, 10), 1)
    turn[:, 2] += 48 * rng.uniform(-0.1, 0.1, 2)
    wanted = cv2.warpAffine(face, turn, (48, 48), borderMode=cv2.BORDER_REPLICATE)
    wanted = wanted[:, ::-1] if rng.random() < 0.5 else wanted
    made, again = (protocols._changed(face, np.random.default_rng(seed)) for _ in range(2))
    assert np.abs(made.astype(int) - wanted).max() <= 2
    assert np.array_equal(made, again)


def test_a_protocol_nobody_knows_gets_one_sentence():
    with pytest.raises(UserError, match="Did you mean 'kfold'"):
        divided("kfolds", tiny_splits())


def test_too_few_faces_for_the_folds_get_one_sentence():
    with pytest.raises(UserError, match="does not fit the data"):
        divided("kfold-ungrouped", tiny_splits(7, 0), folds=5)


@pytest.mark.skipif(not (SHARED / "fer2013").exists(), reason="the real pack is not here")
def test_on_the_real_pack():
    splits = data.load(SHARED / "fer2013")
    if "test" in splits:
        assert tuple(np.bincount(divided("random10", splits)["val"].labels)) == PRINTED
    clean = divided("kfold", splits)
    assert not data.twins(clean["val"].faces, clean["train"].faces).any()
    leaky = divided("leaky-oversample", splits)
    assert data.twins(leaky["val"].faces, leaky["train"].faces).mean() > 0.5
    loose = divided("kfold-ungrouped", splits)
    assert 0.05 < data.twins(loose["val"].faces, loose["train"].faces).mean() < 0.12
