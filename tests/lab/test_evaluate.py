import json
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
from mien.lab import batches, data, evaluate, export, protocols, runs, train
from mien.lab.config import RECIPES
from mien.lab.data import Samples
from mien.lab.evaluate import answer, seen
from mien.lab.runs import Run
from mien.lab.scores import measure
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

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


def random_answers(count: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), count)


def random_samples(count: int = 300, seed: int = 1) -> Samples:
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, 7, count)
    chances = dice.dirichlet(np.full(10, 0.4), count)
    votes = np.array([dice.multinomial(10, row) for row in chances]).astype(np.uint8)
    faces = dice.integers(0, 256, (count, 48, 48), np.uint8)
    return Samples(faces, labels, votes, np.arange(count))


def values(section: dict) -> dict[str, float]:
    return {k: v["value"] for k, v in section.items() if isinstance(v, dict) and "value" in v}


# The numbers


def test_numbers_against_labels_are_scikit_learns():
    probabilities, samples = random_answers(300, 7), random_samples()
    found = measure(probabilities, samples, resamples=2)["fer2013"]
    truth, guess = samples.labels, probabilities.argmax(1)
    numbers = values(found)
    assert found["faces"] == 300
    assert numbers["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, guess))
    f1 = sklearn.metrics.f1_score(truth, guess, average="macro")
    assert numbers["macro_f1"] == pytest.approx(f1)
    assert numbers["log_loss"] == pytest.approx(sklearn.metrics.log_loss(truth, probabilities))
    brier = np.mean(((probabilities - np.eye(7)[truth]) ** 2).sum(1))
    assert numbers["brier"] == pytest.approx(brier)
    assert found["confusion"] == sklearn.metrics.confusion_matrix(truth, guess).tolist()
    scores = sklearn.metrics.precision_recall_fscore_support(truth, guess)
    for name, column in zip(("precision", "recall", "f1", "support"), scores, strict=True):
        ours = [found["per_class"][label][name] for label in EMOTIONS]
        assert ours == pytest.approx(column.tolist())


def test_calibration_error_is_the_one_of_a_loop_by_hand():
    probabilities, samples = random_answers(300, 7), random_samples()
    found = values(measure(probabilities, samples, resamples=2)["fer2013"])
    sure, right = probabilities.max(1), probabilities.argmax(1) == samples.labels
    expected = 0.0
    for k in range(15):
        inside = (sure >= k / 15) & ((sure < (k + 1) / 15) | (k == 14))
        if inside.any():
            expected += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    assert found["calibration_error"] == pytest.approx(expected)


def test_proportions_are_compared_as_scipy_does_where_five_raters_saw_one_of_seven():
    probabilities, samples = random_answers(300, 8), random_samples()
    found = measure(probabilities, samples, resamples=2)["proportions"]
    counts = samples.votes[:, :7].astype(float)
    asked = counts.sum(1) >= 5
    truth = counts[asked] / counts[asked].sum(1, keepdims=True)
    said = probabilities[asked, :7] / probabilities[asked, :7].sum(1, keepdims=True)
    numbers = values(found)
    assert 0 < asked.sum() < 300
    assert found["faces"] == asked.sum()
    kl = [scipy.stats.entropy(t, s) for t, s in zip(truth, said, strict=True)]
    assert numbers["kl_nats"] == pytest.approx(np.mean(kl))
    distance = scipy.spatial.distance.jensenshannon
    js = [distance(t, s, base=2) ** 2 for t, s in zip(truth, said, strict=True)]
    assert numbers["js_bits"] == pytest.approx(np.mean(js))
    voted = truth[np.arange(len(said)), said.argmax(1)]
    assert numbers["top_label_gap"] == pytest.approx((said.max(1) - voted).mean())
    assert numbers["brier"] == pytest.approx(((said - truth) ** 2).sum(1).mean())
    expected = 0.0
    for k in range(15):
        inside = (said >= k / 15) & ((said < (k + 1) / 15) | (k == 14))
        if inside.any():
            expected += inside.mean() * abs(said[inside].mean() - truth[inside].mean())
    assert numbers["share_calibration_error"] == pytest.approx(expected)


def test_what_chance_does_to_perfect_shares_is_told_beside():
    samples = random_samples()
    even = np.full((300, 7), 1 / 7)
    chance = measure(even, samples, resamples=50)["proportions_by_chance"]
    assert chance["top_label_gap"]["value"] == pytest.approx(0, abs=0.02)
    assert chance["kl_nats"]["low"] > 0.1
    assert chance["js_bits"]["low"] > 0.05
    assert chance["share_calibration_error"]["value"] == pytest.approx(0, abs=0.02)
    sure = np.eye(7)[np.arange(300) % 7]
    chance = measure(sure, samples, resamples=50)["proportions_by_chance"]
    assert chance["top_label_gap"] == {"value": 0, "low": 0, "high": 0}
    assert chance["js_bits"]["high"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("protocol", ["majority", "plurality"])
def test_ferplus_is_measured_over_eight_classes_where_its_protocol_has_a_label(protocol):
    probabilities, samples = random_answers(300, 8), random_samples()
    found = measure(probabilities, samples, resamples=2)[f"ferplus_{protocol}"]
    truth = getattr(data, protocol)(samples.votes)
    kept = truth >= 0
    assert found["faces"] == kept.sum()
    accuracy = (probabilities[kept].argmax(1) == truth[kept]).mean()
    assert values(found)["accuracy"] == pytest.approx(accuracy)
    assert tuple(found["per_class"]) == EMOTIONS_AND_CONTEMPT


def test_a_perfect_model_has_perfect_numbers():
    samples = random_samples()
    found = measure(np.eye(7)[samples.labels], samples, resamples=2)["fer2013"]
    assert values(found) == {"accuracy": 1, "macro_f1": 1, "log_loss": 0, "brier": 0,
                             "calibration_error": 0}  # fmt: skip


def test_seven_probabilities_never_say_contempt():
    samples = random_samples()
    found = measure(random_answers(300, 7), samples, resamples=2)["ferplus_majority"]
    assert not np.array(found["confusion"])[:, 7].any()


def test_every_interval_contains_its_value_and_shrinks_with_more_faces():
    def width(count: int) -> float:
        samples, said = random_samples(count), random_answers(count, 8)
        found = measure(said, samples, resamples=200)
        for section in found.values():
            for number in section.values():
                if isinstance(number, dict) and "value" in number:
                    assert number["low"] <= number["value"] <= number["high"]
        accuracy = found["fer2013"]["accuracy"]
        return accuracy["high"] - accuracy["low"]

    assert width(1200) < 0.7 * width(300)


def test_an_interval_is_about_as_wide_as_theory_says():
    samples = random_samples(1000)
    said = np.eye(7)[np.where(np.arange(1000) < 700, samples.labels, (samples.labels + 1) % 7)]
    found = measure(said, samples, resamples=400)["fer2013"]["accuracy"]
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert found["value"] == 0.7
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.2)


# Which sections there are


def test_twins_of_training_faces_are_left_out_of_their_section():
    samples, said = random_samples(60), random_answers(60, 7)
    train_samples = random_samples(20, seed=5)
    train_samples.faces[:7] = samples.faces[[0, 3, 9, 10, 11, 40, 59]]
    train_samples.rows[:] += 100
    train_samples.rows[19] = 50  # a changed copy: other pixels, the same face
    found = measure(said, samples, train_samples, resamples=2)
    alone = np.setdiff1d(np.arange(60), [0, 3, 9, 10, 11, 40, 50, 59])
    section = found["fer2013_without_twins"]
    assert (found["fer2013"]["faces"], section["faces"]) == (60, 52)
    expected = (said.argmax(1) == samples.labels)[alone].mean()
    assert values(section)["accuracy"] == pytest.approx(expected)


def test_sections_are_there_when_there_is_something_to_measure():
    samples, said = random_samples(60), random_answers(60, 7)
    alone = {"fer2013_without_twins", "fer2013_without_near_twins"}
    every = {"fer2013", *alone, "ferplus_majority", "ferplus_plurality",
             "proportions", "proportions_by_chance"}  # fmt: skip
    assert set(measure(said, samples, samples.take(np.arange(9)), 2)) == every
    assert set(measure(said, samples, None, 2)) == every - alone
    unvoted = replace(samples, votes=np.zeros_like(samples.votes))
    assert set(measure(said, unvoted, None, 2)) == {"fer2013"}


def test_faces_without_a_label_are_left_out():
    samples, said = random_samples(60), random_answers(60, 7)
    samples.labels[:10] = -1
    assert measure(said, samples, None, 2)["fer2013"]["faces"] == 50


# Views


def test_one_view_is_the_face_and_flip_adds_its_mirror_image():
    faces = tiny.samples(3).faces
    (one,) = seen(faces, "one")
    assert np.array_equal(one, faces)
    both = seen(faces, "flip")
    assert np.array_equal(both[0], faces)
    assert np.array_equal(both[1], faces[:, :, ::-1])


def test_ten_views_seen_through_44_pixels_are_the_usual_ten_crops():
    faces = tiny.samples(3).faces
    found = [batches.window(torch.as_tensor(v.copy())[:, None], 44)[:, 0].numpy()
            for v in seen(faces, "ten")]  # fmt: skip
    corners = [(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)]
    crops = [faces[:, y : y + 44, x : x + 44] for y, x in corners]
    crops += [crop[:, :, ::-1] for crop in crops]
    assert len(found) == 10
    assert all(any(np.array_equal(a, b) for b in crops) for a in found)
    assert all(any(np.array_equal(a, b) for a in found) for b in crops)


def test_an_unknown_kind_of_views_gets_a_guess():
    with pytest.raises(UserError, match=r"Did you mean 'flip'\?"):
        seen(tiny.samples(1).faces, "flipp")


# Answers


def test_a_run_answers_each_face_once_with_both_heads(run):
    faces = tiny.samples(21).faces
    said = answer(run, faces)
    assert {name: part.shape for name, part in said.items()} == {
        "labels": (21, 7), "votes": (21, 8),
    }  # fmt: skip
    assert all(np.allclose(part.sum(1), 1, atol=1e-6) for part in said.values())
    turned = answer(run, faces[::-1])
    assert np.allclose(said["votes"][::-1], turned["votes"], atol=1e-5)


@pytest.mark.parametrize("batch", [1, 4, 21, 100])
def test_logits_do_not_depend_on_how_the_faces_are_cut_into_batches(run, batch):
    faces, model = tiny.samples(21).faces, evaluate.restore(run)
    whole = evaluate.logits(model, faces, side=40)
    assert whole.shape == (21, 15)
    assert torch.allclose(evaluate.logits(model, faces, side=40, batch=batch), whole, atol=1e-4)


def test_averaged_views_are_the_mean_of_the_views(run):
    faces = tiny.samples(5).faces
    for kind in ("flip", "ten"):
        mean = np.mean([answer(run, v.copy())["votes"] for v in seen(faces, kind)], axis=0)
        assert np.allclose(answer(run, faces, kind)["votes"], mean, atol=1e-6)


def test_a_flipped_face_has_the_same_flipped_answer(run):
    faces = tiny.samples(5).faces
    straight, mirrored = answer(run, faces, "flip"), answer(run, faces[:, :, ::-1].copy(), "flip")
    assert np.allclose(straight["votes"], mirrored["votes"], atol=1e-5)


def test_a_run_and_its_model_file_agree(run, model_file):
    faces = tiny.samples(21).faces
    for kind in ("one", "flip"):
        said = answer(model_file, faces, kind)
        expected = answer(run, faces, kind)
        assert set(said) == set(expected) == {"votes", "labels"}
        for head in said:
            assert np.allclose(said[head], expected[head], atol=1e-5)


def test_a_model_file_gets_faces_of_its_own_side(model_file):
    faces = tiny.samples(4).faces
    larger = np.stack([cv2.resize(f, (96, 96), interpolation=cv2.INTER_NEAREST) for f in faces])
    assert answer(model_file, larger)["votes"].shape == (4, 8)


# Results


def test_evaluate_gives_a_result_that_json_can_hold_and_keeps_the_answers(run, root):
    result = evaluate.evaluate(run.folder, root, split="val", resamples=3)
    assert json.loads(json.dumps(result, allow_nan=False)).keys() == result.keys()
    assert result["data"]["name"] == "other faces with FER+ votes"
    assert result["data"]["split"] == "val"
    assert result["data"]["faces"]["val"] == 21
    assert result["protocol"] == "as the data is split"
    assert result["views"] == "one"
    assert result["trained"]["seed"] == TINY.seed
    assert set(result["heads"]) == {"labels", "votes"}
    assert "fer2013_without_twins" in result["heads"]["labels"]
    val = data.load(root)["val"]
    said = answer(run, val.faces)
    with np.load(run.predictions_file) as saved:
        assert set(saved) == {"rows", "truth", "raters", "labels", "votes"}
        assert np.array_equal(saved["raters"], val.votes)
        assert np.array_equal(saved["rows"], val.rows)
        assert np.array_equal(saved["truth"], val.labels)
        assert all(np.allclose(saved[head], said[head]) for head in said)


def test_a_model_file_is_evaluated_with_the_runs_numbers(run, root, model_file):
    ours = evaluate.evaluate(run.folder, root, split="test", resamples=2)["heads"]["votes"]
    result = evaluate.evaluate(model_file, root, split="test", resamples=2)
    theirs = result["heads"]["votes"]
    assert values(theirs["proportions"]) == pytest.approx(values(ours["proportions"]), abs=1e-4)
    assert result["what"] == "model.onnx"
    assert result["trained"]["head"] == "votes"


def test_training_faces_are_no_twins_of_themselves(run, root):
    result = evaluate.evaluate(run.folder, root, split="train", resamples=2)
    assert "fer2013_without_twins" not in result["heads"]["labels"]


def test_what_cannot_be_evaluated_gets_one_sentence(run, root, tmp_path):
    with pytest.raises(UserError, match="no split 'dev'; it has train, val, test"):
        evaluate.evaluate(run.folder, root, split="dev")
    with pytest.raises(UserError, match="is not a run folder"):
        evaluate.evaluate(tmp_path, root)
    runs.start(tmp_path / "unfinished", TINY)
    with pytest.raises(UserError, match="is not finished"):
        evaluate.evaluate(tmp_path / "unfinished", root)
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="damaged or not an ONNX model"):
        evaluate.evaluate(tmp_path / "broken.onnx", root)


@pytest.mark.parametrize("side", [-3, 60])
def test_a_window_larger_than_the_faces_is_refused(run, root, side):
    with pytest.raises(UserError, match="at most 48 pixels"):
        evaluate.evaluate(run.folder, root, side=side)


# What must not be passed off as sound


@pytest.fixture(scope="module")
def mixed(root, tmp_path_factory) -> Run:
    """A run that was taught some of PublicTest."""
    config = replace(TINY, epochs=1, protocol="leaky-oversample")
    return train.fit(config, root, tmp_path_factory.mktemp("mixed"), device="cpu")


def test_a_model_file_says_by_which_protocol_it_was_taught(mixed, root, tmp_path):
    export.export(mixed, tmp_path / "mixed.onnx")
    found = evaluate.evaluate(tmp_path / "mixed.onnx", root, resamples=2)
    assert found["protocol"].endswith(", after training by leaky-oversample")
    assert "may have been taught the faces" in protocols.caution(found["protocol"])
    assert "broken on purpose" in protocols.caution(mixed.config.protocol)
    assert protocols.caution("official") == protocols.caution("random10") == ""


def test_faces_that_taught_do_not_calibrate(mixed, root, tmp_path):
    val = data.split(data.load(root), "val")
    with pytest.raises(UserError, match="trained by leaky-oversample"):
        export.export(mixed, tmp_path / "mixed.onnx", calibrate=val)


def test_other_data_are_not_divided_anew_for_a_run(mixed, tmp_path):
    other = tiny.write_packed(tmp_path, tiny.table(28, 14))
    with pytest.raises(UserError, match="on other data"):
        evaluate.evaluate(mixed.folder, other)


def test_a_model_file_has_a_window_of_its_own(model_file, root):
    with pytest.raises(UserError, match="--side is for runs"):
        evaluate.evaluate(model_file, root, side=40)


def test_a_run_is_measured_again_unless_it_was_measured_so(root, tmp_path, monkeypatch):
    done = train.fit(replace(TINY, epochs=1), root, tmp_path / "run", device="cpu")
    first = evaluate.evaluate(done.folder, root, resamples=2)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate", None)
        assert evaluate.measured(done, root) == json.loads(json.dumps(first))
    for other in ({"split": "train"}, {"views": "flip"}, {"side": 36}):
        evaluate.evaluate(done.folder, root, resamples=2, **other)
        again = evaluate.measured(done, root)
        assert (again["data"]["split"], again["views"]) == ("val", "one")
        assert again["window"] == done.config.input_size


def test_teachers_teach_what_they_were_taught(root, tmp_path):
    labels = replace(TINY, epochs=1, vote_weight=0.0)
    teacher = train.fit(labels, root, tmp_path / "teacher", device="cpu")
    both = replace(TINY, epochs=1, teachers=(str(teacher.folder),), teacher_weight=0.5)
    with pytest.raises(UserError, match=r"not taught votes .* set vote_weight=0\.$"):
        train.fit(both, root, tmp_path / "student", device="cpu")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    ("device", "said"), [("gpu", "no device 'gpu'"), ("cuda", "no device cuda here")]
)
def test_a_device_that_is_not_there_gets_one_sentence(root, tmp_path, device, said):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match=said):
        train.fit(TINY, root, tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()


def test_faces_of_a_list_do_not_judge(run, root, tmp_path):
    val = data.split(data.load(root), "val")
    listed = tmp_path / "clean.csv"
    listed.write_text("row,split,reason\n" + "".join(f"{row},val,twin\n" for row in val.rows[:5]))
    found = evaluate.evaluate(run.folder, root, leave_out=listed, resamples=2)
    assert found["data"]["left_out"] == {"list": "clean.csv", "faces": 5}
    assert found["heads"]["labels"]["fer2013"]["faces"] == len(val) - 5
    assert not np.isin(val.rows[:5], runs.load_predictions(run)["rows"]).any()
    assert "left_out" not in evaluate.measured(run, root)["data"]
    for content, said in (("a,b\n1,2\n", "column row"), ("row\nx\n", "column row")):
        listed.write_text(content)
        with pytest.raises(UserError, match=said):
            evaluate.evaluate(run.folder, root, leave_out=listed)
    with pytest.raises(UserError, match="cannot be read"):
        evaluate.evaluate(run.folder, root, leave_out=tmp_path / "none.csv")
    listed.write_text("row\n99999999\n")
    with pytest.raises(UserError, match="names no face of val"):
        evaluate.evaluate(run.folder, root, leave_out=listed)
