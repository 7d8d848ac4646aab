"""`Classifier`: packaged models, models that mien did not export, invalid files."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

from mien.classification import classifier, weights
from mien.classification.classifier import Classifier, load_in_background
from mien.errors import UserError
from mien.labels import EMOTIONS
from tests.classification import saturation
from tests.conftest import FOREIGN_SIDECAR
from tests.paths import SHARED
from tests.synthetic import tiny


def crops(count, channels=1, side=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, channels, side, side), np.uint8)


def held_out_faces(count):
    """Return (count, 1, 48, 48) uint8 faces of FER2013's PublicTest; synthetic ones without it.

    No packaged model was trained on PublicTest.
    """
    folder = SHARED / "fer2013"
    if not folder.is_dir():
        return tiny.faces(np.arange(count) % 7)[:, None]
    with open(folder / "labels.csv", newline="") as file:
        is_held_out = [row["usage"] == "PublicTest" for row in csv.DictReader(file)]
    faces_of_files = []
    # Each file is a grid of four columns of faces. The last two have only faces of PublicTest.
    for path in sorted(folder.glob("faces_*.webp"))[-2:]:
        with Image.open(path) as image:
            grid = np.asarray(image.convert("L"))
        tiles = grid.reshape(-1, 48, 4, 48).transpose(0, 2, 1, 3)
        faces_of_files.append(tiles.reshape(-1, 48, 48))
    assert all(is_held_out[-sum(map(len, faces_of_files)) :])
    return np.concatenate(faces_of_files)[:count, None]


def top_label_agreement(shares, others):
    """Return the fraction of faces with the same dominant emotion in both arrays."""
    return (shares.argmax(1) == others.argmax(1)).mean()


def load_error(path):
    """Return the one-line message of the error that loading a model raises."""
    with pytest.raises(UserError) as caught:
        Classifier(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def model_with_sidecar(make_model, sidecar=FOREIGN_SIDECAR, **options):
    """A model that mien did not export, with its TOML file."""
    path = make_model("theirs.onnx", labels=("a", "b", "c"), foreign=True, **options)
    path.with_suffix(".toml").write_text(sidecar)
    return path


@pytest.mark.parametrize("channels", [1, 3])
def test_each_row_is_a_distribution_over_the_models_labels(make_model, channels):
    classify = Classifier(make_model(labels=EMOTIONS, channels=channels))
    shares = classify(crops(5, channels))
    assert classify.spec.labels == EMOTIONS
    assert classify.spec.channels == channels
    assert shares.shape == (5, 7)
    assert shares.dtype == np.float64
    assert np.allclose(shares.sum(1), 1, atol=1e-12)
    assert (shares >= 0).all()


def test_shares_do_not_depend_on_the_batch_size(tiny_model):
    classify, faces = Classifier(tiny_model), crops(33)
    one_by_one = np.concatenate([classify(face[None]) for face in faces])
    assert np.abs(classify(faces) - one_by_one).max() < 1e-6


def test_shares_of_the_default_model_do_not_depend_on_the_batch_size():
    classify = Classifier(weights.model("default"))
    faces = crops(9, classify.spec.channels, classify.spec.side)
    one_by_one = np.concatenate([classify(face[None]) for face in faces])
    assert np.abs(classify(faces) - one_by_one).max() < 1e-6


def test_a_head_of_a_model_with_a_sidecar_is_an_error(make_model):
    message = load_error(weights.ModelFile(model_with_sidecar(make_model), "labels"))
    assert "no head 'labels'" in message


def test_a_sidecar_determines_the_preprocessing_and_the_softmax(make_model):
    import onnx
    from onnx import numpy_helper

    path = model_with_sidecar(make_model)
    classify, faces = Classifier(path), crops(4)
    assert classify.spec.labels == ("neutral", "happy", "surprise")
    (weights,) = onnx.load(path).graph.initializer
    pixels = (faces.transpose(0, 2, 3, 1).reshape(4, -1) - 10.0) / 255
    exponentials = np.exp(pixels @ numpy_helper.to_array(weights))
    expected = exponentials / exponentials.sum(1, keepdims=True)
    assert np.allclose(classify(faces), expected, atol=1e-5)


def test_a_model_with_batch_size_one_classifies_many_faces(make_model):
    faces = crops(5)
    expected = Classifier(model_with_sidecar(make_model))(faces)
    classify = Classifier(model_with_sidecar(make_model, batch=1))
    assert np.allclose(classify(faces), expected, atol=1e-6)


def test_a_fixed_batch_size_above_one_is_an_error(make_model):
    assert "2 faces at a time" in load_error(model_with_sidecar(make_model, batch=2))


@pytest.mark.parametrize("batch", ["N", 1])
def test_no_crops_give_no_shares(make_model, batch):
    classify = Classifier(model_with_sidecar(make_model, batch=batch))
    assert classify(crops(0)).shape == (0, 3)


def test_a_model_without_specification_is_an_error_that_names_the_sidecar(make_model):
    path = make_model("theirs.onnx", foreign=True)
    assert "theirs.toml" in load_error(path)


@pytest.mark.parametrize(
    ("old", "new", "expected_text"),
    [
        ('"image"', '"faces"', "['image']"),
        ('"scores"', '"dense"', "['scores']"),
        ('"NHWC"', '"NCHW"', "theirs.onnx"),
        ("side = 8", "side = 48", "theirs.onnx"),
        ('"float32"', '"uint8"', "theirs.onnx"),
        (', "surprise"', "", "2 labels"),
    ],
)
def test_a_sidecar_that_does_not_match_the_graph_is_an_error(make_model, old, new, expected_text):
    assert old in FOREIGN_SIDECAR
    assert expected_text in load_error(
        model_with_sidecar(make_model, FOREIGN_SIDECAR.replace(old, new))
    )


def test_a_model_with_fewer_outputs_than_labels_is_an_error(make_model):
    assert "8 labels" in load_error(make_model(outputs=7))


@pytest.mark.parametrize("card", ["{", "[1, "])
def test_a_damaged_card_is_an_error(make_model, card):
    path = make_model(metadata={"mien.labels": ",".join(EMOTIONS), "mien.card": card})
    assert "damaged" in load_error(path)


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "overwritten"])
def test_a_damaged_model_file_is_an_error(make_model, kind):
    path = make_model()
    body = path.read_bytes()
    bodies = {
        "empty": b"",
        "text": b"this is no model",
        "truncated": body[: len(body) // 2],
        "overwritten": body[:40] + b"\0" * 200 + body[240:],
    }
    path.write_bytes(bodies[kind])
    assert str(path) in load_error(path)


def test_a_missing_model_file_is_an_error(tmp_path):
    assert "nowhere.onnx" in load_error(tmp_path / "nowhere.onnx")


def test_a_model_loaded_in_the_background_is_the_same(tiny_model):
    background, direct = load_in_background(tiny_model).result(), Classifier(tiny_model)
    assert background.spec == direct.spec
    np.testing.assert_array_equal(background(crops(3)), direct(crops(3)))


def test_loading_in_the_background_raises_in_result(tmp_path):
    future = load_in_background(tmp_path / "missing.onnx")
    with pytest.raises(UserError, match=r"missing\.onnx"):
        future.result()


def test_a_negative_number_of_threads_is_an_error(tiny_model):
    with pytest.raises(UserError, match="-1"):
        Classifier(tiny_model, threads=-1)


def test_outputs_that_are_not_probabilities_are_an_error(make_model):
    path = model_with_sidecar(make_model)
    sidecar = path.with_suffix(".toml")
    sidecar.write_text(sidecar.read_text().replace("softmax = true", "softmax = false"))
    with pytest.raises(UserError, match="softmax = true"):
        Classifier(path)(crops(4))


def test_default_int8_agrees_with_default():
    inputs = held_out_faces(400)
    shares = [Classifier(weights.model(name))(inputs) for name in ("default", "default-int8")]
    # Synthetic faces are unlike those of the training, so fewer predictions are confident.
    min_agreement = 0.97 if (SHARED / "fer2013").is_dir() else 0.9
    assert top_label_agreement(*shares) >= min_agreement


@pytest.mark.slow
def test_default_int8_is_exact_on_cpus_that_saturate():
    """x86 CPUs without VNNI add pairs of products in 16 bits; 7-bit weights fit."""
    inputs = held_out_faces(50)
    path = weights.model("default-int8").path
    onnx_runtime = Classifier(path)(inputs)
    exact, saturated = (saturation.probabilities(path, inputs, saturate=s) for s in (False, True))
    assert np.abs(exact - onnx_runtime).max() < 0.02
    assert np.array_equal(exact, saturated)


def test_a_named_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    assert "pipe.onnx" in load_error(tmp_path / "pipe.onnx")


def onnx_file(path, nodes, initializers, shape=("N", 1, 8, 8)):
    """Write a model of two emotions, whose `nodes` compute "probabilities" from "logits"."""
    from onnx import TensorProto, helper, save

    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["faces"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            *nodes,
        ],
        "odd",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"mien.labels": "happy,sad"})
    save(model, path)
    return path


def test_an_endless_graph_is_an_error_after_a_time_limit(tmp_path, monkeypatch):
    from onnx import TensorProto, helper, numpy_helper

    def value(name, kind, shape=()):
        return helper.make_tensor_value_info(name, kind, shape)

    number = TensorProto.FLOAT
    body = helper.make_graph(
        [helper.make_node("Identity", [name], [f"next_{name}"]) for name in ("go", "x")],
        "body",
        [value("k", TensorProto.INT64), value("go", TensorProto.BOOL), value("x", number, None)],
        [value("next_go", TensorProto.BOOL), value("next_x", number, None)],
    )
    nodes = [
        helper.make_node("Loop", ["", "true", "logits"], ["last"], body=body),
        helper.make_node("Softmax", ["last"], ["probabilities"], axis=1),
    ]
    weights = numpy_helper.from_array(np.zeros((64, 2), np.float32), "weights")
    true = numpy_helper.from_array(np.array(True), "true")
    monkeypatch.setattr(classifier, "MAX_FIRST_RUN_SECONDS", 0.3)
    error = load_error(onnx_file(tmp_path / "loop.onnx", nodes, [weights, true]))
    assert "0.3 seconds" in error


@pytest.mark.parametrize("location", ["/dev/zero", "../../outside.bin", "missing.bin", "pipe.bin"])
def test_weights_in_an_external_file_are_an_error(tmp_path, location):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    os.mkfifo(tmp_path / "pipe.bin")
    weights = numpy_helper.from_array(np.zeros((64, 2), np.float32), "weights")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    nodes = [helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)]
    path = onnx_file(tmp_path / "external.onnx", nodes, [])
    # Added here, because `onnx.save` would open the external file.
    model = onnx.load(path)
    model.graph.initializer.append(weights)
    path.write_bytes(model.SerializeToString())
    assert "external.onnx" in load_error(path)


@pytest.mark.parametrize("shape", [(), ("N",), ("N", 1, 2**40, 2**40), ("N", 1, -8, -8)])
def test_an_absurd_input_shape_is_an_error(tmp_path, shape):
    from onnx import helper, numpy_helper

    weights = numpy_helper.from_array(np.zeros((64, 2), np.float32), "weights")
    nodes = [helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1)]
    assert "\n" not in load_error(onnx_file(tmp_path / "odd.onnx", nodes, [weights], shape))
