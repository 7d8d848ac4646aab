"""Crops -> probabilities, by mien's own models and other people's."""

import csv

import numpy as np
import pytest
from PIL import Image

from mien.classification import weights
from mien.classification.classifier import Classifier, prepare
from mien.errors import UserError
from mien.labels import EMOTIONS
from tests.classification import saturation
from tests.paths import SHARED
from tests.synthetic import tiny

SIDECAR = """
labels = ["neutral", "happiness", "surprise"]
side = 8
input = "image"
output = "scores"
dtype = "float32"
layout = "NHWC"
mean = [10.0]
spread = [255.0]
softmax = true
"""


def crops(count, channels=1, side=8, seed=0):
    dice = np.random.default_rng(seed)
    return dice.integers(0, 256, (count, channels, side, side), np.uint8)


def faces(count):
    """So many faces that no model was trained on: FER2013's PublicTest, or else synthetic ones."""
    packed = SHARED / "fer2013"
    if not packed.is_dir():
        return tiny.faces(np.arange(count) % 7)[:, None]
    with open(packed / "labels.csv", newline="") as file:
        evaluated = [row["usage"] == "PublicTest" for row in csv.DictReader(file)]
    strips = []  # the last first
    for path in sorted(packed.glob("faces_*.webp"), reverse=True)[:2]:
        with Image.open(path) as image:
            strip = np.asarray(image.convert("L"))
        strips.insert(0, strip.reshape(-1, 48, 4, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48))
    assert all(evaluated[-sum(map(len, strips)) :])
    return np.concatenate(strips)[:count, None]


def agreement(some, others):
    """How often two arrays of probabilities have the same top emotion: 0 to 1."""
    return (some.argmax(1) == others.argmax(1)).mean()


def refusal(path):
    with pytest.raises(UserError) as caught:
        Classifier(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def foreign(make_model, sidecar=SIDECAR, **wanted):
    path = make_model("theirs.onnx", labels=("a", "b", "c"), foreign=True, **wanted)
    path.with_suffix(".toml").write_text(sidecar)
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_every_row_is_a_distribution_over_the_models_labels(make_model, channels):
    classify = Classifier(make_model(labels=EMOTIONS, channels=channels))
    said = classify(crops(5, channels))
    assert classify.spec.labels == EMOTIONS
    assert classify.spec.channels == channels
    assert said.shape == (5, 7)
    assert said.dtype == np.float64
    assert np.allclose(said.sum(1), 1, atol=1e-12)
    assert (said >= 0).all()


def test_a_face_gets_the_same_answer_alone_and_in_company(tiny_model):
    classify, faces = Classifier(tiny_model), crops(33)
    alone = np.concatenate([classify(face[None]) for face in faces])
    assert np.abs(classify(faces) - alone).max() < 1e-6


def test_the_default_model_answers_the_same_alone_and_in_company():
    classify = Classifier(weights.model("default"))
    expects = classify.spec
    faces = crops(9, expects.channels, expects.side)
    alone = np.concatenate([classify(face[None]) for face in faces])
    assert np.abs(classify(faces) - alone).max() < 1e-6


def test_a_foreign_model_joins_with_a_sidecar(make_model):
    import onnx
    from onnx import numpy_helper

    path = foreign(make_model)
    classify, faces = Classifier(path), crops(4)
    assert classify.spec.labels == ("neutral", "happy", "surprise")
    (weights,) = onnx.load(path).graph.initializer
    pixels = (faces.transpose(0, 2, 3, 1).reshape(4, -1) - 10.0) / 255
    scores = np.exp(pixels @ numpy_helper.to_array(weights))
    assert np.allclose(classify(faces), scores / scores.sum(1, keepdims=True), atol=1e-5)


def test_a_foreign_model_for_one_face_at_a_time_takes_many(make_model):
    free, faces = Classifier(foreign(make_model)), crops(5)
    wanted = free(faces)
    fixed = Classifier(foreign(make_model, batch=1))
    assert np.allclose(fixed(faces), wanted, atol=1e-6)


def test_a_model_without_any_contract_is_told_what_would_help(make_model):
    path = make_model("theirs.onnx", foreign=True)
    assert "theirs.toml beside it may do so" in refusal(path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"image"', '"faces"', r"no input 'faces'; it has ['image']"),
        ('"scores"', '"dense"', r"no output 'dense'; it has ['scores']"),
        ('"NHWC"', '"NCHW"', "does not keep its contract"),
        ("side = 8", "side = 48", "does not keep its contract"),
        ('"float32"', '"uint8"', "does not keep its contract"),
        (', "surprise"', "", "names 2 labels"),
    ],
)
def test_a_sidecar_that_does_not_fit_its_graph_is_said_so_at_once(make_model, old, new, said):
    assert old in SIDECAR
    assert said in refusal(foreign(make_model, SIDECAR.replace(old, new)))


def test_a_model_with_more_answers_than_labels_is_refused(make_model):
    assert "names 8 labels but gives" in refusal(make_model(answers=7))


@pytest.mark.parametrize("card", ["{", "[1, "])
def test_a_model_with_a_damaged_card_is_refused(make_model, card):
    said = refusal(make_model(metadata={"mien.labels": ",".join(EMOTIONS), "mien.card": card}))
    assert "damaged" in said


@pytest.mark.parametrize("kind", ["empty", "text", "half", "zeros inside"])
def test_a_damaged_model_file_is_said_so(make_model, kind):
    path = make_model()
    body = path.read_bytes()
    bodies = {
        "empty": b"",
        "text": b"this is no model",
        "half": body[: len(body) // 2],
        "zeros inside": body[:40] + b"\0" * 200 + body[240:],
    }
    path.write_bytes(bodies[kind])
    assert str(path) in refusal(path)


def test_a_missing_model_file_is_said_so(tmp_path):
    assert "nowhere.onnx" in refusal(tmp_path / "nowhere.onnx")


def test_a_model_prepared_by_a_thread_is_the_same_model(tiny_model):
    prepared, made = prepare(tiny_model).result(), Classifier(tiny_model)
    assert prepared.spec == made.spec
    np.testing.assert_array_equal(prepared(crops(3)), made(crops(3)))


def test_what_is_wrong_with_a_model_is_told_when_it_is_asked_for(tmp_path):
    waiting = prepare(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match=r"missing\.onnx"):
        waiting.result()


def test_fewer_threads_than_none_are_refused(tiny_model):
    with pytest.raises(UserError, match="not -1"):
        Classifier(tiny_model, threads=-1)


def test_what_gives_no_probabilities_is_refused(make_model):
    path = foreign(make_model)
    sidecar = path.with_suffix(".toml")
    sidecar.write_text(sidecar.read_text().replace("softmax = true", "softmax = false"))
    with pytest.raises(UserError, match=r"gives no probabilities.*softmax = true"):
        Classifier(path)(crops(4))


def test_default_int8_agrees_with_default():
    some = faces(400)
    said = [Classifier(weights.model(name))(some) for name in ("default", "default-int8")]
    assert agreement(*said) >= 0.97


@pytest.mark.slow
def test_default_int8_is_right_where_sums_saturate():
    """x86 CPUs without VNNI add products in pairs of 16 bits; 7-bit numbers fit in there."""
    some = faces(50)
    path = weights.model("default-int8").path
    here = Classifier(path)(some)
    exact, saturated = (saturation.probabilities(path, some, saturate=s) for s in (False, True))
    assert np.abs(exact - here).max() < 0.02
    assert np.array_equal(exact, saturated)
