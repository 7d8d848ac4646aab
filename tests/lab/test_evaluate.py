"""Evaluation of runs and model files: scores, intervals, predictions, results."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import sklearn.metrics
import torch

from mien.errors import UserError
from mien.lab import batches, data, evaluate, export, inference, protocols, runs, train
from mien.lab.config import RECIPES
from mien.lab.data import Samples
from mien.lab.inference import augment, predict
from mien.lab.runs import Run
from mien.lab.scores import score
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

# The average of the weights must follow them within the few steps of this training.
TINY = replace(RECIPES["tiny"], batch_size=14, epochs=2, ema_decay=0.5)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(28, 21, 7))


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Run:
    return train.fit(TINY, root, tmp_path_factory.mktemp("run"), device="cpu")


@pytest.fixture(scope="module")
def model_file(run, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    export.export(run, path)
    return path


def random_probabilities(count: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), count)


def random_samples(count: int = 300, seed: int = 1) -> Samples:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, count)
    probabilities = rng.dirichlet(np.full(10, 0.4), count)
    votes = np.array([rng.multinomial(10, row) for row in probabilities]).astype(np.uint8)
    faces = rng.integers(0, 256, (count, 48, 48), np.uint8)
    return Samples(faces, labels, votes, np.arange(count))


def values(section: dict) -> dict[str, float]:
    """Return score -> value for each score of a section that has an interval."""
    return {k: v["value"] for k, v in section.items() if isinstance(v, dict) and "value" in v}


# Scores


def test_label_scores_match_scikit_learn():
    probabilities, samples = random_probabilities(300, 7), random_samples()
    result = score(probabilities, samples, resamples=2)["fer2013"]
    truth, predicted = samples.labels, probabilities.argmax(1)
    numbers = values(result)
    assert result["faces"] == 300
    assert numbers["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))
    f1 = sklearn.metrics.f1_score(truth, predicted, average="macro")
    assert numbers["macro_f1"] == pytest.approx(f1)
    assert numbers["log_loss"] == pytest.approx(sklearn.metrics.log_loss(truth, probabilities))
    brier = np.mean(((probabilities - np.eye(7)[truth]) ** 2).sum(1))
    assert numbers["brier"] == pytest.approx(brier)
    assert result["confusion"] == sklearn.metrics.confusion_matrix(truth, predicted).tolist()
    scores = sklearn.metrics.precision_recall_fscore_support(truth, predicted)
    for name, column in zip(("precision", "recall", "f1", "support"), scores, strict=True):
        actual = [result["per_class"][label][name] for label in EMOTIONS]
        assert actual == pytest.approx(column.tolist())


def test_calibration_error_matches_a_loop_over_bins():
    probabilities, samples = random_probabilities(300, 7), random_samples()
    result = values(score(probabilities, samples, resamples=2)["fer2013"])
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == samples.labels
    expected = 0.0
    for k in range(15):  # the default number of bins
        inside = (confidence >= k / 15) & ((confidence < (k + 1) / 15) | (k == 14))
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    assert result["calibration_error"] == pytest.approx(expected)


def test_share_scores_match_scipy_on_faces_with_five_votes_for_seven_emotions():
    probabilities, samples = random_probabilities(300, 8), random_samples()
    result = score(probabilities, samples, resamples=2)["proportions"]
    counts = samples.votes[:, :7].astype(float)
    rated = counts.sum(1) >= 5
    truth = counts[rated] / counts[rated].sum(1, keepdims=True)
    predictions = probabilities[rated, :7] / probabilities[rated, :7].sum(1, keepdims=True)
    numbers = values(result)
    assert 0 < rated.sum() < 300
    assert result["faces"] == rated.sum()
    kl = [scipy.stats.entropy(t, s) for t, s in zip(truth, predictions, strict=True)]
    assert numbers["kl_nats"] == pytest.approx(np.mean(kl))
    distance = scipy.spatial.distance.jensenshannon
    js = [distance(t, s, base=2) ** 2 for t, s in zip(truth, predictions, strict=True)]
    assert numbers["js_bits"] == pytest.approx(np.mean(js))
    vote_shares = truth[np.arange(len(predictions)), predictions.argmax(1)]
    gap = (predictions.max(1) - vote_shares).mean()
    assert numbers["top_label_gap"] == pytest.approx(gap)
    assert numbers["brier"] == pytest.approx(((predictions - truth) ** 2).sum(1).mean())
    expected = 0.0
    for k in range(15):  # the default number of bins
        inside = (predictions >= k / 15) & ((predictions < (k + 1) / 15) | (k == 14))
        if inside.any():
            expected += inside.mean() * abs(predictions[inside].mean() - truth[inside].mean())
    assert numbers["share_calibration_error"] == pytest.approx(expected)


def test_sampling_floor_is_the_score_of_shares_from_which_the_votes_are_drawn():
    samples = random_samples()
    uniform = np.full((300, 7), 1 / 7)
    floor = score(uniform, samples, resamples=50)["sampling_floor"]
    assert floor["top_label_gap"]["value"] == pytest.approx(0, abs=0.02)
    # Votes that are drawn from seven equal shares differ from them, since there are few per face.
    assert floor["kl_nats"]["low"] > 0.1
    assert floor["js_bits"]["low"] > 0.05
    assert floor["share_calibration_error"]["value"] == pytest.approx(0, abs=0.02)
    certain = np.eye(7)[np.arange(300) % 7]  # all drawn votes are for one emotion
    floor = score(certain, samples, resamples=50)["sampling_floor"]
    assert floor["top_label_gap"] == {"value": 0, "low": 0, "high": 0}
    assert floor["js_bits"]["high"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("protocol", ["majority", "plurality"])
def test_ferplus_is_scored_over_eight_classes_where_its_protocol_gives_a_label(protocol):
    probabilities, samples = random_probabilities(300, 8), random_samples()
    result = score(probabilities, samples, resamples=2)[f"ferplus_{protocol}"]
    truth = getattr(data, protocol)(samples.votes)
    has_label = truth >= 0
    assert result["faces"] == has_label.sum()
    accuracy = (probabilities[has_label].argmax(1) == truth[has_label]).mean()
    assert values(result)["accuracy"] == pytest.approx(accuracy)
    assert tuple(result["per_class"]) == EMOTIONS_AND_CONTEMPT


def test_perfect_model_has_perfect_scores():
    samples = random_samples()
    result = score(np.eye(7)[samples.labels], samples, resamples=2)["fer2013"]
    assert values(result) == {"accuracy": 1, "macro_f1": 1, "log_loss": 0, "brier": 0,
                             "calibration_error": 0}  # fmt: skip


def test_seven_probabilities_never_predict_contempt():
    samples = random_samples()
    result = score(random_probabilities(300, 7), samples, resamples=2)["ferplus_majority"]
    assert not np.array(result["confusion"])[:, 7].any()


def test_intervals_contain_their_value_and_shrink_with_more_faces():
    def width(count: int) -> float:
        samples, predictions = random_samples(count), random_probabilities(count, 8)
        result = score(predictions, samples, resamples=200)
        for section in result.values():
            for number in section.values():
                if isinstance(number, dict) and "value" in number:
                    assert number["low"] <= number["value"] <= number["high"]
        accuracy = result["fer2013"]["accuracy"]
        return accuracy["high"] - accuracy["low"]

    assert width(1200) < 0.7 * width(300)


def test_interval_has_about_the_theoretical_width():
    samples = random_samples(1000)
    predictions = np.eye(7)[
        np.where(np.arange(1000) < 700, samples.labels, (samples.labels + 1) % 7)
    ]
    result = score(predictions, samples, resamples=400)["fer2013"]["accuracy"]
    half_width = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert result["value"] == 0.7
    assert result["high"] - result["low"] == pytest.approx(2 * half_width, rel=0.2)


# Sections of a result


def test_duplicates_of_training_faces_are_excluded_from_their_section():
    samples, predictions = random_samples(60), random_probabilities(60, 7)
    train_samples = random_samples(20, seed=5)
    train_samples.faces[:7] = samples.faces[[0, 3, 9, 10, 11, 40, 59]]
    train_samples.rows[:] += 100
    train_samples.rows[19] = 50  # an augmented copy: the same row, other pixels
    result = score(predictions, samples, train_samples, resamples=2)
    unique = np.setdiff1d(np.arange(60), [0, 3, 9, 10, 11, 40, 50, 59])
    section = result["fer2013_without_duplicates"]
    assert (result["fer2013"]["faces"], section["faces"]) == (60, 52)
    expected = (predictions.argmax(1) == samples.labels)[unique].mean()
    assert values(section)["accuracy"] == pytest.approx(expected)


def test_sections_without_faces_are_missing():
    samples, predictions = random_samples(60), random_probabilities(60, 7)
    without_duplicates = {"fer2013_without_duplicates", "fer2013_without_near_duplicates"}
    sections = {"fer2013", *without_duplicates, "ferplus_majority", "ferplus_plurality",
             "proportions", "sampling_floor"}  # fmt: skip
    assert set(score(predictions, samples, samples.select(np.arange(9)), 2)) == sections
    assert set(score(predictions, samples, None, 2)) == sections - without_duplicates
    without_votes = replace(samples, votes=np.zeros_like(samples.votes))
    assert set(score(predictions, without_votes, None, 2)) == {"fer2013"}


def test_faces_without_a_label_are_excluded():
    samples, predictions = random_samples(60), random_probabilities(60, 7)
    samples.labels[:10] = -1
    assert score(predictions, samples, None, 2)["fer2013"]["faces"] == 50


# Test-time augmentation


def test_flip_adds_the_mirror_image():
    faces = tiny.samples(3).faces
    (unchanged,) = augment(faces, "none")
    assert np.array_equal(unchanged, faces)
    original, mirrored = augment(faces, "flip")
    assert np.array_equal(original, faces)
    assert np.array_equal(mirrored, faces[:, :, ::-1])


def test_ten_crop_with_an_input_of_44_pixels_takes_corners_center_and_mirror_images():
    faces = tiny.samples(3).faces
    inputs = [batches.center_crop(torch.as_tensor(v.copy())[:, None], 44)[:, 0].numpy()
              for v in augment(faces, "ten_crop")]  # fmt: skip
    corners = [(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)]
    crops = [faces[:, y : y + 44, x : x + 44] for y, x in corners]
    crops += [crop[:, :, ::-1] for crop in crops]
    assert len(inputs) == 10
    assert all(any(np.array_equal(a, b) for b in crops) for a in inputs)
    assert all(any(np.array_equal(a, b) for a in inputs) for b in crops)


def test_unknown_augmentation_gets_a_suggestion():
    with pytest.raises(UserError, match=r"Did you mean 'flip'\?"):
        augment(tiny.samples(1).faces, "flipp")


# Predictions


def test_predict_gives_each_face_a_distribution_per_head(run):
    faces = tiny.samples(21).faces
    predictions = predict(run, faces)
    assert {head: array.shape for head, array in predictions.items()} == {
        "labels": (21, 7), "votes": (21, 8),
    }  # fmt: skip
    assert all(np.allclose(array.sum(1), 1, atol=1e-6) for array in predictions.values())
    reversed_order = predict(run, faces[::-1])
    assert np.allclose(predictions["votes"][::-1], reversed_order["votes"], atol=1e-5)


def test_weights_that_are_not_finite_are_an_error(run, tmp_path):
    damaged = runs.open_run(shutil.copytree(run.folder, tmp_path / "damaged"))
    weights = runs.load_tensors(damaged.weights_file)
    name = next(name for name, value in weights.items() if value.is_floating_point())
    weights[name] = torch.full_like(weights[name], math.nan)
    torch.save(weights, damaged.weights_file)
    with pytest.raises(UserError, match=r"weights\.pt is damaged"):
        predict(damaged, np.zeros((2, 48, 48), np.uint8))


@pytest.mark.parametrize("batch", [1, 4, 21, 100])
def test_logits_do_not_depend_on_the_batch_size(run, batch):
    faces, model = tiny.samples(21).faces, inference.load_network(run)
    expected = inference.compute_logits(model, faces, input_size=40)
    assert expected.shape == (21, 15)
    assert torch.allclose(
        inference.compute_logits(model, faces, input_size=40, batch=batch), expected, atol=1e-4
    )


def test_a_prediction_with_tta_is_the_mean_over_the_augmented_faces(run):
    faces = tiny.samples(5).faces
    for tta in ("flip", "ten_crop"):
        mean = np.mean([predict(run, v.copy())["votes"] for v in augment(faces, tta)], axis=0)
        assert np.allclose(predict(run, faces, tta)["votes"], mean, atol=1e-6)


def test_a_prediction_with_flip_is_that_of_the_mirror_image(run):
    faces = tiny.samples(5).faces
    original, mirrored = (predict(run, f.copy(), "flip") for f in (faces, faces[:, :, ::-1]))
    assert np.allclose(original["votes"], mirrored["votes"], atol=1e-5)


def test_run_and_model_file_agree(run, model_file):
    faces = tiny.samples(21).faces
    for tta in ("none", "flip"):
        predictions = predict(model_file, faces, tta)
        expected = predict(run, faces, tta)
        assert set(predictions) == set(expected) == {"votes", "labels"}
        for head in predictions:
            assert np.allclose(predictions[head], expected[head], atol=1e-5)


def test_model_file_accepts_faces_of_another_size(model_file):
    faces = tiny.samples(4).faces
    larger = np.stack([cv2.resize(f, (96, 96), interpolation=cv2.INTER_NEAREST) for f in faces])
    assert predict(model_file, larger)["votes"].shape == (4, 8)


# Results


def test_evaluate_returns_json_and_saves_the_predictions(run, root):
    result = evaluate.evaluate(run.folder, root, split="val", resamples=3)
    assert json.loads(json.dumps(result, allow_nan=False)).keys() == result.keys()
    assert result["data"]["name"] == "other faces with FER+ votes"
    assert result["data"]["split"] == "val"
    assert result["data"]["faces"]["val"] == 21
    assert result["protocol"] == "as the data is split"
    assert result["tta"] == "none"
    assert result["provenance"]["seed"] == TINY.seed
    assert set(result["heads"]) == {"labels", "votes"}
    assert "fer2013_without_duplicates" in result["heads"]["labels"]
    val = data.load(root)["val"]
    predictions = predict(run, val.faces)
    with np.load(run.predictions_file) as saved:
        assert set(saved) == {"rows", "truth", "raters", "labels", "votes"}
        assert np.array_equal(saved["raters"], val.votes)
        assert np.array_equal(saved["rows"], val.rows)
        assert np.array_equal(saved["truth"], val.labels)
        assert all(np.allclose(saved[head], predictions[head]) for head in predictions)


def test_model_file_has_the_scores_of_its_run(run, root, model_file):
    of_run = evaluate.evaluate(run.folder, root, split="test", resamples=2)
    result = evaluate.evaluate(model_file, root, split="test", resamples=2)
    expected, actual = (values(r["heads"]["votes"]["proportions"]) for r in (of_run, result))
    assert actual == pytest.approx(expected, abs=1e-4)
    assert result["name"] == "model.onnx"
    assert result["provenance"]["head"] == "votes"


def test_training_split_has_no_section_without_duplicates(run, root):
    result = evaluate.evaluate(run.folder, root, split="train", resamples=2)
    assert "fer2013_without_duplicates" not in result["heads"]["labels"]


def test_evaluate_rejects_missing_splits_and_unusable_models(run, root, tmp_path):
    with pytest.raises(UserError, match="train, val, test"):
        evaluate.evaluate(run.folder, root, split="dev")
    with pytest.raises(UserError, match="not a run folder"):
        evaluate.evaluate(tmp_path, root)
    runs.create(tmp_path / "unfinished", TINY)
    with pytest.raises(UserError, match="not finished"):
        evaluate.evaluate(tmp_path / "unfinished", root)
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"broken\.onnx"):
        evaluate.evaluate(tmp_path / "broken.onnx", root)


@pytest.mark.parametrize("size", [-3, 60])
def test_evaluate_rejects_an_input_size_out_of_range(run, root, size):
    with pytest.raises(UserError, match="1 to 48 pixels"):
        evaluate.evaluate(run.folder, root, input_size=size)


def test_evaluate_rejects_an_input_size_that_the_network_does_not_accept(root, tmp_path):
    # The fourth pooling layer of VGG19 needs an input of at least 16 pixels.
    run = runs.create(tmp_path, replace(TINY, model="vgg19-bn"))
    with pytest.raises(UserError, match=r"vgg19-bn .* 8 pixels: .*\. Use another --input-size\."):
        evaluate.evaluate(run.folder, root, input_size=8)


def test_input_size_is_rejected_for_a_model_file(model_file, root):
    with pytest.raises(UserError, match="--input-size"):
        evaluate.evaluate(model_file, root, input_size=40)


# Biased evaluations are marked or rejected


@pytest.fixture(scope="module")
def leaky(root, tmp_path_factory) -> Run:
    """A run whose training set contains faces of PublicTest."""
    config = replace(TINY, epochs=1, protocol="leaky-oversample")
    return train.fit(config, root, tmp_path_factory.mktemp("leaky"), device="cpu")


def test_result_of_a_model_file_names_its_training_protocol_and_warns(leaky, root, tmp_path):
    export.export(leaky, tmp_path / "leaky.onnx")
    result = evaluate.evaluate(tmp_path / "leaky.onnx", root, resamples=2)
    assert result["protocol"].endswith("leaky-oversample")
    assert protocols.warning(result["protocol"])


def test_calibration_rejects_training_faces(leaky, root, tmp_path):
    val = data.load(root)["val"]
    with pytest.raises(UserError, match="leaky-oversample"):
        export.export(leaky, tmp_path / "leaky.onnx", calibration_samples=val)


def test_evaluate_rejects_other_data_for_a_leaky_run(leaky, tmp_path):
    other = tiny.write_packed(tmp_path, tiny.table(28, 14))
    with pytest.raises(UserError, match="other data"):
        evaluate.evaluate(leaky.folder, other)


# Saved results and excluded faces


def test_run_is_evaluated_again_unless_the_saved_result_matches(root, tmp_path, monkeypatch):
    run = train.fit(replace(TINY, epochs=1), root, tmp_path / "run", device="cpu")
    first = evaluate.evaluate(run.folder, root, resamples=2)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate", None)
        assert evaluate.load_or_evaluate(run, root) == json.loads(json.dumps(first))
    for other in ({"split": "train"}, {"tta": "flip"}, {"input_size": 36}):
        evaluate.evaluate(run.folder, root, resamples=2, **other)
        again = evaluate.load_or_evaluate(run, root)
        assert (again["data"]["split"], again["tta"]) == ("val", "none")
        assert again["input_size"] == run.config.input_size


def test_listed_faces_are_excluded(run, root, tmp_path):
    val = data.load(root)["val"]
    exclusions = tmp_path / "clean.csv"
    rows = ["row,split,reason\n", *(f"{row},val,exact-duplicate\n" for row in val.rows[:5])]
    exclusions.write_text("".join(rows), encoding="utf-8-sig")  # as Excel saves it
    result = evaluate.evaluate(run.folder, root, exclude=exclusions, resamples=2)
    assert result["data"]["excluded"] == {"list": "clean.csv", "faces": 5}
    assert result["heads"]["labels"]["fer2013"]["faces"] == len(val) - 5
    assert not np.isin(val.rows[:5], runs.load_predictions(run)["rows"]).any()
    assert "excluded" not in evaluate.load_or_evaluate(run, root)["data"]


def test_invalid_exclusion_lists_are_rejected(run, root, tmp_path):
    exclusions = tmp_path / "clean.csv"
    for content in ("a,b\n1,2\n", "row\nx\n"):
        exclusions.write_text(content)
        with pytest.raises(UserError, match="column 'row'"):
            evaluate.evaluate(run.folder, root, exclude=exclusions)
    with pytest.raises(UserError, match=r"none\.csv"):
        evaluate.evaluate(run.folder, root, exclude=tmp_path / "none.csv")
    exclusions.write_text("row\n99999999\n")
    with pytest.raises(UserError, match="no face of val"):
        evaluate.evaluate(run.folder, root, exclude=exclusions)
