"""Evaluation of labeled images: reading folders and tables, predictions, scores by group."""

import csv
import json
from functools import partial

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from PIL import Image

from mien.analyzer import Analyzer
from mien.detection import whole
from mien.errors import UserError
from mien.lab import data, evaluate_images, labeled_images, metrics
from mien.lab.evaluate_images import Predictions
from mien.lab.labeled_images import LabeledImage
from mien.labels import EMOTIONS
from mien.results import Detection
from tests.synthetic import tiny


def write_image(path, size=64, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_table(path, header, rows, *, separator=",", encoding="utf-8"):
    with open(path, "w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=separator).writerows([header, *rows])
    return path


def emotions(images):
    return [image.emotion for image in images]


def random_predictions(count=400, seed=0):
    """Random predictions for images, without a detected face in every tenth."""
    rng = np.random.default_rng(seed)
    images = [
        LabeledImage(None, EMOTIONS[k], groups={"side": "left" if left else "right"})
        for k, left in zip(rng.integers(0, 7, count), rng.random(count) < 0.3, strict=True)
    ]
    face_counts = np.where(np.arange(count) % 10 == 0, 0, 1)
    probabilities = rng.dirichlet(np.full(7, 0.5), count) * (face_counts > 0)[:, None]
    return Predictions(images, face_counts, probabilities)


# Folders and tables of images


def test_a_folder_per_emotion_is_read_at_any_depth_with_usual_spellings(tmp_path):
    for name in ("Anger/one.png", "0_happiness/subject 1/two.jpg", "contempt/three.png", "x/4.png"):
        write_image(tmp_path / name)
    assert labeled_images.can_load(tmp_path)
    splits = labeled_images.load(tmp_path)
    assert list(splits) == ["val"]
    assert emotions(splits["val"]) == ["happy", "angry", "contempt", "x"]


def test_a_folder_with_splits_is_read_by_split(tmp_path):
    for name in ("train/sad/1.png", "train/sad/2.png", "Validation/neutral/3.png", "docs/4.png"):
        write_image(tmp_path / name)
    splits = labeled_images.load(tmp_path)
    assert {name: emotions(images) for name, images in splits.items()} == {
        "train": ["sad", "sad"], "val": ["neutral"],
    }  # fmt: skip


def test_other_files_in_a_folder_are_reported(tmp_path):
    write_image(tmp_path / "sad" / "1.png")
    (tmp_path / "sad" / "notes.txt").write_text("no image")
    with pytest.warns(UserWarning, match=r"\.txt"):
        assert len(labeled_images.load(tmp_path)["val"]) == 1


HEADER = ["File", "Emotion", "Age", "Sex", "happiness", "neutral"]
TABLE = [
    ["a.png", "Happiness", "31", "female", "8", "2"],
    ["b.png", "neutrality", "", "male", "0", "9"],
    ["c.png", "contempt", "35.5", "male", "", ""],
]


def assert_images_are_those_of_the_table(images, folder):
    assert [image.path for image in images] == [folder / f"{name}.png" for name in "abc"]
    assert emotions(images) == ["happy", "neutral", "contempt"]
    assert [image.groups["sex"] for image in images] == ["female", "male", "male"]
    assert [image.votes[data.VOTE_NAMES.index("neutral")] for image in images] == [2, 9, 0]
    assert images[0].votes[data.VOTE_NAMES.index("happy")] == 8


@pytest.mark.parametrize(
    ("separator", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8-sig")]
)
def test_a_csv_table_can_have_the_separators_and_the_encoding_of_excel(
    tmp_path, separator, encoding
):
    path = tmp_path / "t.csv"
    write_table(path, HEADER, TABLE, separator=separator, encoding=encoding)
    assert labeled_images.can_load(path)
    images = labeled_images.load(path)["val"]
    assert_images_are_those_of_the_table(images, tmp_path)
    assert [image.groups["age"] for image in images] == ["31", "not stated", "35.5"]


def test_a_parquet_table_is_read_like_a_csv_table(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path, table_columns = tmp_path / "t.parquet", list(zip(*TABLE, strict=True))
    votes = [[int(cell) if cell else None for cell in column] for column in table_columns[4:]]
    columns = dict(zip(("path", "label", "age", "sex"), map(list, table_columns[:4]), strict=True))
    columns |= {"happy": votes[0], "neutral": votes[1]}
    parquet.write_table(pyarrow.table(columns), path)
    assert labeled_images.can_load(path)
    assert_images_are_those_of_the_table(labeled_images.load(path)["val"], tmp_path)


def test_a_column_of_many_different_numbers_is_grouped_by_tens(tmp_path):
    ages = [*range(8, 30), 100, ""]
    rows = [["x.png", "sad", age, k % 3] for k, age in enumerate(ages)]
    path = write_table(tmp_path / "t.csv", ["path", "emotion", "age", "level"], rows)
    images = labeled_images.load(path, ["level"])["val"]
    groups = {image.groups["age"] for image in images}
    assert sorted(groups, key=labeled_images.group_order) == [
        "0 to 9", "10 to 19", "20 to 29", "100 to 109", "not stated",
    ]  # fmt: skip
    assert {image.groups["level"] for image in images} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("header", "row", "groups", "expected_text"),
    [
        (["name", "emotion"], ["a.png", "sad"], (), "name, emotion"),
        (["path", "mood"], ["a.png", "sad"], (), "path, mood"),
        (["path", "emotion"], ["a.png", "sad"], ("skin",), "column skin"),
        (["path", "emotion", "happy"], ["a.png", "sad", "0.5"], (), "happy"),
        (["path", "emotion", "happy"], ["a.png", "sad", "many"], (), "happy"),
        (["path", "emotion", "happy"], ["a.png", "sad", "inf"], (), "happy"),
        (["path", "emotion"], ["a.png"], (), "line 2"),
    ],
)
def test_an_unusable_table_is_an_error(tmp_path, header, row, groups, expected_text):
    path = write_table(tmp_path / "t.csv", header, [row])
    with pytest.raises(UserError, match=expected_text):
        labeled_images.load(path, groups)


def test_groups_of_a_folder_are_an_error(tmp_path):
    write_image(tmp_path / "sad" / "1.png")
    with pytest.raises(UserError, match="--group"):
        labeled_images.load(tmp_path, ["age"])


def test_datasets_of_face_crops_are_not_loaded_as_labeled_images(tmp_path):
    tiny.write_csv(tmp_path / "csv", tiny.table())
    tiny.write_images(tmp_path / "images", tiny.table())
    (tmp_path / "empty").mkdir()
    for path in ("csv", "csv/fer2013.csv", "images", "empty", "missing"):
        assert not labeled_images.can_load(tmp_path / path)


# Predictions


class TwoFaces(whole.WholeImage):
    """Detects a small and a large face in each image, and no face in dark images."""

    def __call__(self, pixels):
        if pixels.mean() < 50:
            return []
        return [Detection((0.0, 0.0, 20.0, 20.0), 0.9, roll=0.0),
                Detection((20.0, 20.0, 40.0, 40.0), 0.8, roll=0.0)]  # fmt: skip


def test_the_largest_face_of_each_readable_image_is_predicted(tmp_path, tiny_model):
    paths = [write_image(tmp_path / f"{k}.png", seed=k) for k in range(40)]
    Image.new("RGB", (64, 64)).save(paths[3])
    paths[5].write_bytes(b"no image")
    paths[6].unlink()
    analyzer, errors = Analyzer(tiny_model, TwoFaces()), []
    images = [LabeledImage(path, "sad") for path in paths]
    predictions = evaluate_images.predict(analyzer, images, errors.append)
    readable = [path for k, path in enumerate(paths) if k not in (5, 6)]
    assert [image.path for image in predictions.images] == readable
    for k, error in zip((5, 6), errors, strict=True):
        assert str(paths[k]) in str(error)
    assert predictions.face_counts.tolist() == [0 if path == paths[3] else 2 for path in readable]
    for path, row in zip(readable, predictions.probabilities, strict=True):
        faces = analyzer.analyze(path)
        largest = [face for face in faces if face.box[2] == 40]  # the width
        expected = [largest[0].emotions[name] for name in EMOTIONS] if largest else [0] * 7
        assert row == pytest.approx(expected, abs=1e-6)


# Scores


def test_scores_match_scikit_learn():
    predictions = random_predictions()
    section = evaluate_images.score(predictions, resamples=20)
    detected = predictions.face_counts > 0
    truth = predictions.truth[detected]
    predicted = predictions.probabilities[detected].argmax(1)
    assert (section["images"], section["faces"]) == (400, 360)
    assert section["detection_rate"]["value"] == 0.9
    assert section["accuracy"]["value"] == sklearn.metrics.accuracy_score(truth, predicted)
    macro_recall = sklearn.metrics.balanced_accuracy_score(truth, predicted)
    assert section["macro_recall"]["value"] == pytest.approx(macro_recall)
    recalls = sklearn.metrics.recall_score(truth, predicted, average=None)
    assert [row["value"] for row in section["recall"].values()] == pytest.approx(recalls.tolist())
    confidence = predictions.probabilities[detected].max(1).mean()
    gap = confidence - section["accuracy"]["value"]
    assert section["top_label_gap"]["value"] == pytest.approx(gap)
    assert "proportions" not in section


def test_votes_add_the_scores_of_shares():
    predictions = random_predictions(60)
    images = [LabeledImage(None, image.emotion, (0, 0, 0, 3, 7, 0, 0, 0, 0, 0))
              for image in predictions.images]  # fmt: skip
    with_votes = Predictions(images, predictions.face_counts, predictions.probabilities)
    section = evaluate_images.score(with_votes, resamples=5)
    detected = predictions.probabilities[predictions.face_counts > 0]
    shares = np.tile([0, 0, 0, 0.3, 0.7, 0, 0], (len(detected), 1))
    expected = [scipy.stats.entropy(a, b) for a, b in zip(shares, detected, strict=True)]
    assert section["proportions"]["kl_nats"]["value"] == pytest.approx(np.mean(expected))
    assert section["sampling_floor"]["kl_nats"]["value"] > 0


def test_emotions_without_images_do_not_enter_the_macro_recall():
    images = [LabeledImage(None, name) for name in ("happy", "happy", "neutral")]
    predictions = Predictions(images, np.ones(3), np.eye(7)[[3, 4, 6]])
    section = evaluate_images.score(predictions, resamples=5)
    assert section["macro_recall"]["value"] == 0.75  # of happy 0.5 and of neutral 1
    assert list(section["recall"]) == ["happy", "neutral"]


def test_a_group_without_a_detected_face_has_only_a_detection_rate():
    images = [LabeledImage(None, "sad", groups={"sex": sex}) for sex in ("male", "female")]
    predictions = Predictions(images, np.array([1, 0]), np.eye(7)[[4, 4]])
    groups = evaluate_images.score_groups(predictions, 5)["sex"]
    assert groups["female"]["faces"] == 0
    assert groups["female"]["detection_rate"]["value"] == 0
    assert "accuracy" not in groups["female"]
    assert "accuracy_difference" not in groups["male"]


def test_each_group_is_scored_as_a_subset_and_compared_with_the_other_images():
    predictions = random_predictions()
    is_left = np.array([image.groups["side"] == "left" for image in predictions.images])
    groups = evaluate_images.score_groups(predictions, 200)["side"]
    assert list(groups) == ["left", "right"]
    subset = evaluate_images.score(predictions.select(is_left), 200)
    difference = groups["left"].pop("accuracy_difference")
    assert groups["left"] == subset
    accuracies = [groups[side]["accuracy"]["value"] for side in ("left", "right")]
    assert difference["value"] == pytest.approx(accuracies[0] - accuracies[1])
    assert difference["low"] < difference["value"] < difference["high"]


def test_a_group_with_wrong_predictions_has_a_negative_accuracy_difference():
    predictions = random_predictions(600)
    probabilities = np.eye(7)[predictions.truth]
    is_left = np.array([image.groups["side"] == "left" for image in predictions.images])
    is_wrong = is_left & (np.arange(600) % 3 == 0)
    probabilities[is_wrong] = np.roll(probabilities[is_wrong], 1, axis=1)
    biased = Predictions(predictions.images, np.ones(600), probabilities)
    groups = evaluate_images.score_groups(biased, 200)["side"]
    assert groups["left"]["accuracy_difference"]["high"] < -0.2
    assert groups["right"]["accuracy"]["value"] == 1
    assert groups["right"]["accuracy"]["low"] < 1


@pytest.mark.parametrize(("successes", "count"), [(0, 5), (5, 5), (102, 102), (3, 200), (70, 100)])
def test_wilson_interval_matches_scipy(successes, count):
    expected = scipy.stats.binomtest(successes, count).proportion_ci(method="wilson")
    assert metrics.wilson_interval(successes, count) == pytest.approx(tuple(expected), abs=1e-6)


# The command


@pytest.fixture(autouse=True)
def wide_lines_and_few_resamples(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    patched = partial(evaluate_images.evaluate, resamples=5)
    monkeypatch.setattr(evaluate_images, "evaluate", patched)


def test_mien_evaluate_prints_and_writes_the_scores_by_group(mien, tmp_path, tiny_model):
    rows = []
    for k in range(30):
        write_image(tmp_path / "images" / f"{k}.png", seed=k)
        rows.append(
            [f"images/{k}.png", ("anger", "bored", "joy")[k % 3], "fair" if k % 2 else "dark"]
        )
    rows.append(["images/none.png", "joy", "fair"])
    table = write_table(tmp_path / "t.csv", ["path", "emotion", "skin"], rows)
    result_file = tmp_path / "result.json"
    options = ("--detector", "whole", "--group", "skin", "--per-class", "--out", result_file)
    code, printed, err = mien("evaluate", tiny_model, "--data", table, *options)
    assert code == 0, err
    result = json.loads(result_file.read_text())
    assert result["data"] == {
        "name": "t.csv", "split": "val", "images": 31, "left_out": {"bored": 10}, "unreadable": 1,
        "without_face": 0, "several_faces": 0,
    }  # fmt: skip
    assert result["scores"]["faces"] == 20
    assert set(result["groups"]["skin"]) == {"dark", "fair"}
    assert "none.png" in err
    assert "10 bored" in err
    for text in ("macro recall", "calibration error", "dark", "fair", "angry", "happy"):
        assert text in printed


@pytest.mark.parametrize(
    "option", [("--tta", "flip"), ("--exclude", "x.csv"), ("--input-size", 44)]
)
def test_options_for_face_crops_are_an_error_for_images(mien, tmp_path, tiny_model, option):
    write_image(tmp_path / "sad" / "1.png")
    code, _, err = mien("evaluate", tiny_model, "--data", tmp_path, *option)
    assert (code, err.count("\n")) == (2, 1)
    assert option[0] in err


@pytest.mark.parametrize("folder", ["missing", "empty", "sad/empty"])
def test_a_folder_without_images_is_an_error(mien, tmp_path, tiny_model, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "sad" / "empty" / "sad").mkdir(parents=True)
    data = ("--data", tmp_path / folder, "--detector", "yunet")
    code, _, err = mien("evaluate", tiny_model, *data)
    assert (code, err.count("\n")) == (2, 1)
    assert str(tmp_path / folder) in err


def test_a_run_is_not_evaluated_with_a_detector(mien, tmp_path):
    code, _, err = mien("evaluate", tmp_path, "--data", tmp_path, "--detector", "yunet")
    assert code == 2
    assert "mien export" in err


@pytest.mark.parametrize(
    ("name", "expected_text"),
    [("sad/1.png", "--detector whole"), ("sad/1.txt", "can be read"), ("bored/1.png", "bored")],
)
def test_data_without_a_face_to_evaluate_are_an_error(
    mien, tmp_path, tiny_model, name, expected_text
):
    path = tmp_path / name
    path.parent.mkdir()
    Image.new("RGB", (64, 64)).save(path, format="PNG")
    table = write_table(tmp_path / "t.csv", ["path", "emotion"], [[name, name.split("/")[0]]])
    if path.suffix == ".txt":
        path.write_text("no image")
    code, _, err = mien("evaluate", tiny_model, "--data", table)
    assert code == 2
    assert expected_text in err
