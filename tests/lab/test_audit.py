"""The audit of a dataset: duplicates, conflicting labels, rater agreement, exclusions."""

import csv
import json
import subprocess
import sys
from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mien.lab import audit as auditor
from mien.lab import contact_sheets, data, duplicates
from mien.lab.audit import audit_dataset, exclusions, summary
from mien.lab.data import VOTE_NAMES, Samples
from mien.lab.duplicates import MIN_CORRELATION, exact_pairs, near_pairs
from mien.labels import EMOTIONS
from tests.paths import SHARED
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

FER2013 = SHARED / "fer2013"

ANGRY, DISGUST, FEAR, HAPPY, SAD, SURPRISE, NEUTRAL = range(7)


def votes(**counts):
    """Return the vote counts of a face, as in `votes(happy=7, not_a_face=3)`."""
    return np.array([counts.get(name, 0) for name in VOTE_NAMES], np.uint8)


def splits_with_findings():
    """Return train and val. Every kind of finding occurs in val, whose rows start at 100."""
    train, val = tiny.samples(14, seed=1), tiny.samples(14, seed=2)
    faces, labels, ratings = val.faces.copy(), val.labels.copy(), val.votes.copy()
    faces[0], labels[0] = train.faces[3], train.labels[3]  # an exact duplicate
    faces[1], labels[1] = train.faces[4], SURPRISE  # another one, with a conflicting label
    faces[2] = noisy(train.faces[5])  # a near duplicate
    faces[3] = train.faces[6][:, ::-1]  # a mirrored near duplicate
    faces[5], labels[4], labels[5] = faces[4], SAD, FEAR  # conflicting duplicates, both in val
    ratings[6] = votes(not_a_face=10)
    faces[7] = 0  # flat
    ratings[8] = votes(unknown=4, not_a_face=2, happy=4)
    ratings[9], labels[9] = votes(happy=10), FEAR  # all raters disagree with the label
    return {"val": Samples(faces, labels, ratings, val.rows + 100), "train": train}


def noisy(face):
    noise = np.random.default_rng(0).integers(-9, 10, face.shape)
    return np.clip(face + noise, 0, 255).astype(np.uint8)


def as_set(pairs):
    return {tuple(pair) for pair in pairs.tolist()}


def rows_of_kind(numbers, kind):
    """Return the counts of a summary for a kind of duplicates: (split, duplicate in) -> counts."""
    return {
        (row["split"], row["duplicate_in"]): row
        for row in numbers["duplicates"]
        if row["kind"] == kind
    }


GRAY_LEVELS = st.sampled_from([0, 1, 7, 100, 101, 102, 200, 255])
"""Few gray levels, so that many pixels have the same one."""


def equalized(faces):
    return np.stack([cv2.equalizeHist(face) for face in faces]).reshape(len(faces), -1)


@settings(deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 50), st.integers(1, 50)), elements=GRAY_LEVELS))
def test_histogram_equalization_matches_opencv(face):
    assert np.array_equal(duplicates.equalize_histogram(face), cv2.equalizeHist(face))


# Duplicates

few_faces = arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.just(2), st.just(2)), elements=st.integers(0, 1)
)


@given(few_faces)
def test_exact_pairs_match_a_comparison_of_all_pairs(faces):
    expected = {
        (i, j) for i, j in combinations(range(len(faces)), 2) if (faces[i] == faces[j]).all()
    }
    assert as_set(exact_pairs(faces)) == expected


@given(few_faces)
def test_all_identical_faces_but_the_first_are_duplicates_of_earlier_faces(faces):
    samples = Samples(faces, np.zeros(len(faces), int), np.zeros((len(faces), 10), np.uint8),
                      np.arange(len(faces)))  # fmt: skip
    numbers = summary(audit_dataset({"val": samples}, quick=True))
    expected = len(faces) - len(np.unique(faces.reshape(len(faces), -1), axis=0))
    assert (
        numbers["duplicates_of_earlier_faces"]
        == numbers["splits"]["val"]["duplicates_of_earlier_faces"]
        == expected
    )


changes = st.lists(st.sampled_from(["noise", "mirror", "flat", "new"]), max_size=14)


@st.composite
def related_faces(draw):
    """Small faces. Each is new, flat, or a noisy or mirrored copy of an earlier one."""
    size = draw(st.tuples(st.integers(1, 9), st.integers(2, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    faces = [rng.integers(0, 256, size)]
    for change in draw(changes):
        other = faces[rng.integers(len(faces))]
        faces.append({
            "noise": np.clip(other + rng.normal(0, rng.uniform(0, 60), size), 0, 255),
            "mirror": other[:, ::-1],
            "flat": np.full(size, rng.integers(0, 256)),
            "new": rng.integers(0, 256, size),
        }[change])  # fmt: skip
    return np.array(faces).astype(np.uint8)


@given(related_faces())
def test_near_pairs_match_a_comparison_of_all_pairs(faces):
    near, mirrored = map(as_set, near_pairs(faces))
    with np.errstate(invalid="ignore"):
        correlation = np.corrcoef(equalized(faces), equalized(faces[:, :, ::-1]))
    count = len(faces)
    for i, j in combinations(range(count), 2):
        direct, with_mirror_image = correlation[i, j], correlation[i, count + j]
        is_flat = [np.ptp(faces[k]) == 0 for k in (i, j)]
        if any(is_flat):  # no correlation is defined; two flat faces count as near duplicates
            direct = with_mirror_image = float(all(is_flat))
        # Closer to the threshold, rounding decides.
        if abs(direct - MIN_CORRELATION) > 1e-5:
            assert ((i, j) in near) == (direct > MIN_CORRELATION)
        if abs(with_mirror_image - MIN_CORRELATION) > 1e-5:
            is_mirrored = with_mirror_image > MIN_CORRELATION and (i, j) not in near
            assert ((i, j) in mirrored) == is_mirrored


@given(related_faces(), st.integers(1, 20))
def test_near_pairs_do_not_depend_on_the_block_size(faces, block_size):
    expected, actual = near_pairs(faces), near_pairs(faces, block_size=block_size)
    assert list(map(as_set, actual)) == list(map(as_set, expected))


def test_correlations_match_numpy():
    faces = tiny.samples(12).faces
    pairs = np.array(list(combinations(range(12), 2)))
    expected = np.corrcoef(equalized(faces))[pairs[:, 0], pairs[:, 1]]
    assert np.allclose(duplicates.correlations(faces, pairs), expected, atol=1e-5)


@given(related_faces())
def test_exact_pairs_are_near_pairs(faces):
    assert as_set(exact_pairs(faces)) <= as_set(near_pairs(faces)[0])


@settings(max_examples=20)
@given(related_faces(), st.randoms())
def test_near_pairs_do_not_depend_on_the_order_of_the_faces(faces, rng):
    order = list(range(len(faces)))
    rng.shuffle(order)
    for pairs, shuffled in zip(near_pairs(faces), near_pairs(faces[order]), strict=True):
        original = {tuple(sorted((order[i], order[j]))) for i, j in as_set(shuffled)}
        assert as_set(pairs) == original


def test_near_pairs_report_progress():
    calls = []
    near_pairs(
        tiny.samples(10).faces, block_size=4, on_progress=lambda *counts: calls.append(counts)
    )
    assert calls == [(4, 10), (8, 10), (10, 10)]


# A dataset with every kind of finding


@pytest.fixture(scope="module")
def findings():
    return audit_dataset(splits_with_findings())


def test_splits_are_in_the_order_train_val_test(findings):
    assert findings.split_names == ("train", "val")
    assert findings.split_indices.tolist() == [0] * 14 + [1] * 14
    assert findings.samples.rows[14] == 100


def test_all_pairs_of_duplicates_are_detected_and_no_others(findings):
    # The faces of train have the indices 0 to 13, those of val 14 to 27.
    assert as_set(findings.exact_pairs) == {(3, 14), (4, 15), (18, 19)}
    assert as_set(findings.near_pairs) == {(3, 14), (4, 15), (18, 19), (5, 16)}
    assert as_set(findings.mirrored_pairs) == {(6, 17)}


def test_duplicates_are_counted_by_pair_of_splits(findings):
    numbers = summary(findings)
    exact = rows_of_kind(numbers, "exact")
    assert list(exact) == [("train", "train"), ("val", "train"), ("val", "val")]
    assert exact["train", "train"]["faces_with_duplicate"] == 0
    assert exact["train", "train"]["same_label"] is None
    of_val = {"pairs": 2, "faces_with_duplicate": 2, "fraction_of_split": 2 / 14, "same_label": 0.5}
    assert of_val.items() <= exact["val", "train"].items()
    assert (exact["val", "val"]["pairs"], exact["val", "val"]["faces_with_duplicate"]) == (1, 2)
    assert exact["val", "val"]["same_label"] == 0
    assert rows_of_kind(numbers, "near")["val", "train"]["faces_with_duplicate"] == 3
    assert rows_of_kind(numbers, "mirrored")["val", "train"]["faces_with_duplicate"] == 1
    assert numbers["duplicates_of_earlier_faces"] == 3
    assert numbers["splits"]["val"]["duplicates_of_earlier_faces"] == 1


def test_a_face_with_several_duplicates_is_counted_once():
    train, val = tiny.samples(7), tiny.samples(1, seed=5)
    train.faces[1:4] = val.faces[0]  # labeled disgust, fear, happy; val angry
    train.labels[1] = ANGRY
    row = rows_of_kind(summary(audit_dataset({"train": train, "val": val}, quick=True)), "exact")[
        "val", "train"
    ]
    assert (row["pairs"], row["faces_with_duplicate"], row["fraction_of_split"]) == (3, 1, 1)
    assert row["same_label"] == pytest.approx(1 / 3)


def test_conflicting_labels_are_counted_by_group():
    samples = tiny.samples(14)
    samples.faces[3:7] = samples.faces[3]  # happy, sad, surprise, neutral
    samples.faces[9] = samples.faces[10]  # fear, happy
    samples.faces[7] = samples.faces[0]  # angry, angry
    conflicts = summary(audit_dataset({"train": samples}, quick=True))["conflicting_labels"]
    # A group is counted once, under the labels of its first conflicting pair.
    assert conflicts == {
        "groups": 2, "faces": 6, "labels": {"happy | sad": 1, "fear | happy": 1}
    }  # fmt: skip


def test_duplicate_without_a_label_does_not_conflict():
    samples = tiny.samples(3)
    samples.faces[1] = samples.faces[0]
    samples.labels[1] = -1
    assert summary(audit_dataset({"val": samples}, quick=True))["conflicting_labels"]["groups"] == 0


def test_images_without_a_face_or_emotion_are_counted(findings):
    train, val = (summary(findings)["splits"][name] for name in ("train", "val"))
    assert (val["one_gray_level"], val["not_a_face"]) == (1, 1)
    assert val["no_emotion"] == 2  # rows 106, which is not a face either, and 108
    assert (train["all"], val["rated"]) == (14, 14)
    assert train["one_gray_level"] == train["not_a_face"] == 0


def test_rater_agreement_is_that_of_the_rated_faces_of_each_label():
    rated = np.array([
        votes(angry=10), votes(angry=4, sad=6), votes(sad=10), votes(happy=5, angry=5),
        votes(happy=8, not_a_face=2), votes(),
    ])  # fmt: skip
    labels = np.array([ANGRY, ANGRY, ANGRY, ANGRY, HAPPY, HAPPY])
    faces = np.zeros((6, 4, 4), np.uint8)
    agreement = auditor.rater_agreement(Samples(faces, labels, rated, np.arange(6)))
    assert list(agreement) == ["angry", "happy", "all"]
    assert agreement["angry"] == pytest.approx(
        {"plurality_agrees": 0.25, "vote_share": 1.9 / 4, "no_votes_for_label": 0.25}
    )
    assert agreement["happy"] == pytest.approx(
        {"plurality_agrees": 1, "vote_share": 0.8, "no_votes_for_label": 0}
    )
    assert agreement["all"] == pytest.approx(
        {"plurality_agrees": 0.4, "vote_share": 2.7 / 5, "no_votes_for_label": 0.2}
    )


def test_counts_of_classes_add_up(findings):
    numbers = summary(findings)
    for name, counts in numbers["classes"].items():
        assert list(counts) == list(EMOTIONS)
        assert sum(counts.values()) == numbers["splits"][name]["all"]


# The clean evaluation set


def test_each_face_is_excluded_for_the_first_reason_that_applies(findings):
    first = 14  # val follows the 14 faces of train
    reasons = {reason: (faces - first).tolist() for reason, faces in exclusions(findings).items()}
    assert reasons == {
        "exact-duplicate": [0, 1],
        "near-duplicate": [2, 3],
        "conflicting-labels": [4, 5],
        "not-a-face": [6, 7],
        "no-emotion": [8],
    }


def test_a_duplicate_in_val_and_test_is_excluded_from_test_and_nothing_from_train():
    splits = {name: tiny.samples(14, seed=k) for k, name in enumerate(("test", "train", "val"))}
    splits["test"].faces[0] = splits["val"].faces[7]
    splits["train"].votes[0] = votes(not_a_face=10)
    findings = audit_dataset(splits)
    (face,) = exclusions(findings)["exact-duplicate"]
    assert (findings.split_names[findings.split_indices[face]], findings.samples.rows[face]) == (
        "test",
        0,
    )
    assert sum(map(len, exclusions(findings).values())) == 1


def test_a_quick_audit_excludes_the_same_faces_except_near_duplicates(findings):
    quick = exclusions(audit_dataset(splits_with_findings(), quick=True))
    assert not len(quick.pop("near-duplicate"))
    for reason, faces in quick.items():
        assert faces.tolist() == exclusions(findings)[reason].tolist()


def test_exclusion_list_has_the_row_numbers_of_the_dataset(findings, tmp_path):
    path = tmp_path / "new" / "clean.csv"
    auditor.write_exclusions(path, findings)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(100, 109))
    assert {row["split"] for row in rows} == {"val"}
    assert [rows[k]["reason"] for k in (0, 2, 8)] == [
        "exact-duplicate",
        "near-duplicate",
        "no-emotion",
    ]


# Contact sheets


def test_each_kind_of_finding_has_a_contact_sheet(findings, tmp_path):
    paths = contact_sheets.write(tmp_path, findings)
    names = [
        "conflicting-labels",
        "near-duplicates",
        "mirrored-duplicates",
        "not-a-face",
        "rejected-labels",
    ]
    assert [path.name for path in paths] == [f"{name}.png" for name in names]
    with Image.open(tmp_path / "conflicting-labels.png") as image:
        sheet = np.asarray(image)
    enlarged = findings.samples.faces[4].repeat(2, 0).repeat(2, 1)
    first_face = slice(contact_sheets.CELL_GAP, contact_sheets.CELL_GAP + 2 * 48)
    assert (sheet[first_face, first_face] == enlarged).all()


def test_a_kind_of_finding_without_examples_has_no_contact_sheet(tmp_path):
    samples = tiny.samples(7)
    samples.votes[:] = 0
    assert contact_sheets.write(tmp_path, audit_dataset({"val": samples})) == []


def test_contact_sheet_of_many_examples_has_limited_size(tmp_path):
    samples = tiny.samples(140)
    samples.votes[:] = votes(not_a_face=10)
    (path,) = contact_sheets.write(tmp_path, audit_dataset({"val": samples}, quick=True))
    with Image.open(path) as image:
        assert image.width <= contact_sheets.MAX_SHEET_WIDTH + contact_sheets.CELL_GAP
        assert image.height < 1000  # the maximum of 48 examples has six rows of 136 pixels


# The command


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_audit_prints_and_saves_its_findings(mien, tmp_path):
    root = tiny.write_packed(tmp_path / "data", tiny.table(28, 14))
    before = contents(root)
    code, out, _ = mien(
        "audit", root, "--out", tmp_path / "out", "--exclusions", tmp_path / "c.csv"
    )
    assert code == 0
    assert len(out.splitlines()) < 60  # about one screen
    for text in ("FER+ votes", "angry", "mirrored", "plurality", "exact-duplicate 0", "audit.json"):
        assert text in out
    saved = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert saved["data"]["faces"] == {"train": 28, "val": 14}
    assert saved["raters"]["val"]["all"]["plurality_agrees"] > 0.9
    assert (tmp_path / "c.csv").read_text().startswith("row,split,reason")
    assert contents(root) == before


def test_quick_audit_prints_that_near_duplicates_are_skipped(mien, tmp_path):
    root = tiny.write_csv(tmp_path / "data", tiny.table(28, 14))
    code, out, _ = mien("audit", root, "--quick", "--exclusions", tmp_path / "clean.csv")
    assert code == 0
    assert "mirrored" not in out
    assert "near duplicates skipped" in out


@pytest.mark.parametrize("counts", [(28, 0, 0), (0, 14, 0), (14, 0, 7), (14, 7, 7)])
def test_image_folders_have_no_votes_and_may_lack_splits(mien, tmp_path, counts):
    root = tiny.write_images(tmp_path / "data", tiny.table(*counts))
    code, out, _ = mien("audit", root, "--out", tmp_path / "out")
    assert code == 0
    assert "FER+" not in out
    saved = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert saved["raters"] == {}
    assert sum(split["all"] for split in saved["splits"].values()) == sum(counts)


@pytest.mark.parametrize(
    ("arguments", "expected_text"),
    [
        (["nowhere"], "nowhere"),
        (["data", "--exclusions", "c.csv"], "--exclusions"),
        (["data", "--out", "file"], "file/audit.json"),
        (["empty"], "empty"),
    ],
)
def test_a_user_error_is_one_line_with_exit_code_2(
    mien, tmp_path, monkeypatch, arguments, expected_text
):
    monkeypatch.chdir(tmp_path)
    tiny.write_images(tmp_path / "data", tiny.table(7, 0))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("unrelated")
    code, _, err = mien("audit", *arguments)
    assert code == 2
    (line,) = err.strip().splitlines()
    assert expected_text in line
    assert (tmp_path / "file").read_text() == "unrelated"
    assert not (tmp_path / "c.csv").exists()


def test_audit_does_not_import_torch():
    code = "import sys, mien.lab.audit; print('torch' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "False"


# FER2013


@pytest.fixture(scope="module")
def fer2013():
    if not FER2013.is_dir():
        pytest.skip(f"no FER2013 at {FER2013}")
    splits = data.load(FER2013)
    return {name: splits[name] for name in ("train", "val")}


def test_fer2013_has_the_known_duplicates_and_labels(fer2013):
    numbers = summary(audit_dataset(fer2013, quick=True))
    assert numbers["duplicates_of_earlier_faces"] == 1533
    assert [numbers["splits"][name]["duplicates_of_earlier_faces"] for name in fer2013] == [
        1237,
        26,
    ]
    assert numbers["classes"]["train"]["disgust"] == 436
    of_val = rows_of_kind(numbers, "exact")["val", "train"]
    assert of_val["faces_with_duplicate"] == 280
    assert of_val["same_label"] == pytest.approx(0.961, abs=0.005)
    assert (numbers["conflicting_labels"]["groups"], numbers["conflicting_labels"]["faces"]) == (
        48,
        131,
    )
    val = numbers["splits"]["val"]
    assert (val["majority"], val["not_a_face"], val["one_gray_level"]) == (3199, 10, 1)
    agreement = numbers["raters"]["val"]
    assert agreement["all"]["vote_share"] == pytest.approx(0.562, abs=0.001)
    assert {label: scores["plurality_agrees"] for label, scores in agreement.items()} == (
        pytest.approx({"angry": 0.490, "disgust": 0.357, "fear": 0.115, "happy": 0.902,
                       "sad": 0.364, "surprise": 0.814, "neutral": 0.848, "all": 0.614}, abs=0.001)
    )  # fmt: skip


def test_publictest_has_near_duplicates_within_itself(fer2013):
    near, mirrored = near_pairs(fer2013["val"].faces)
    assert (len(near), len(mirrored)) == (50, 1)
