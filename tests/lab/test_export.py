"""Export of runs to model files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import mien
from mien.classification import self_test
from mien.classification.classifier import Classifier
from mien.classification.model_spec import ModelSpec
from mien.classification.weights import ModelFile
from mien.errors import UserError
from mien.lab import calibration, data, export, inference, runs, train
from mien.lab.calibration import VectorScaling
from mien.lab.config import RECIPES
from mien.lab.heads import HEADS
from mien.lab.runs import Run
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT
from mien.onnx_runtime import onnxruntime
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

# The average of the weights must follow them within the few steps of this training.
TINY = replace(RECIPES["tiny"], batch_size=14, epochs=2, ema_decay=0.5)
LABEL_HEAD_WEIGHT = 0.2


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A dataset with enough faces in val to calibrate on."""
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(28, 256))


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Run:
    return train.fit(TINY, root, tmp_path_factory.mktemp("run"), device="cpu")


@pytest.fixture(scope="module")
def exported(root, run, tmp_path_factory) -> dict[str, Path]:
    """A calibrated file per precision, and an uncalibrated one with an input size of 44 pixels."""
    folder, val = tmp_path_factory.mktemp("models"), data.load(root)["val"]
    files = {precision: folder / f"{precision}.onnx" for precision in export.TOLERANCES}
    for precision, path in files.items():
        export.export(
            run,
            path,
            calibration_samples=val,
            precision=precision,
            label_head_weight=LABEL_HEAD_WEIGHT,
        )
    files["uncalibrated"] = folder / "plain.onnx"
    export.export(run, files["uncalibrated"], input_size=44)
    return files


def crops(count: int) -> np.ndarray:
    return tiny.samples(count, seed=7).faces[:, None]


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def scaling_of(path: Path, head: str = "") -> VectorScaling:
    saved = Classifier(ModelFile(path, head)).spec.card["calibration"]
    return VectorScaling(tuple(saved["factors"]), tuple(saved["shifts"]))


def shares_in_torch(run: Run, faces: np.ndarray, scaling: VectorScaling) -> np.ndarray:
    """Compute the vote shares of the exported network of a run with torch."""
    logits = inference.compute_logits(inference.load_network(run), faces, input_size=40)
    return scaling(calibration.mix_heads(logits, LABEL_HEAD_WEIGHT)).softmax(1).numpy()


@pytest.mark.parametrize("name", ["float32", "float16", "int8-weights", "int8", "uncalibrated"])
def test_file_has_the_documented_inputs_and_outputs_for_any_batch_size(exported, name):
    opened = session(exported[name])
    (faces,) = opened.get_inputs()
    assert (faces.name, faces.type, faces.shape[1:]) == ("faces", "tensor(uint8)", [1, 48, 48])
    assert isinstance(faces.shape[0], str)
    outputs = [(output.name, output.type, output.shape[1]) for output in opened.get_outputs()]
    assert outputs == [("probabilities", "tensor(float)", 8), ("labels", "tensor(float)", 7)]
    for count in (1, 7):
        for probabilities, classes in zip(
            opened.run(None, {"faces": crops(count)}), (8, 7), strict=True
        ):
            assert probabilities.shape == (count, classes)
            assert (probabilities >= 0).all()
            assert np.allclose(probabilities.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["float32", "float16", "int8-weights", "int8", "uncalibrated"])
def test_file_has_a_card(exported, run, name):
    metadata = session(exported[name]).get_modelmeta().custom_metadata_map
    assert metadata["mien.labels"] == ",".join(EMOTIONS_AND_CONTEMPT)
    assert float(metadata["mien.margin"]) == 0
    assert metadata["mien.version"] == mien.__version__
    card = json.loads(metadata["mien.card"])
    assert set(card["use"]) == {"predicts", "not_for", "limits", "rights"}
    assert list(card["heads"]) == ["votes", "labels"]
    assert card["config"]["model"] == "resnet-8"
    assert card["seed"] == TINY.seed
    assert card["input_size"] == (44 if name == "uncalibrated" else 40)
    assert card["label_head_weight"] == (0 if name == "uncalibrated" else LABEL_HEAD_WEIGHT)
    assert card["commit"] == runs.read_json(run.about_file)["commit"]
    assert (scaling_of(exported[name]) == calibration.identity(8)) == (name == "uncalibrated")
    assert (scaling_of(exported[name], "labels") == calibration.identity(7)) == (
        name == "uncalibrated"
    )
    onnx.checker.check_model(onnx.load(exported[name]))
    # Kernels for 8-bit integers may be wrong on some CPUs, which the self-test detects.
    assert (self_test.METADATA in metadata) == (name == "int8")


@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [("float32", 1e-5), ("float16", 5e-3), ("int8-weights", 2e-2), ("int8", 0.2)],
)
def test_file_matches_torch(exported, run, precision, tolerance):
    classify = Classifier(exported[precision])
    expected = shares_in_torch(run, crops(28)[:, 0], scaling_of(exported[precision]))
    assert np.abs(classify(crops(28)) - expected).max() < tolerance


def test_a_head_alone_predicts_the_same_as_all_heads(exported):
    path = exported["float32"]
    votes, labels = Classifier(path), Classifier(ModelFile(path, "labels"))
    assert (votes.name, labels.name) == ("float32", "float32-labels")
    assert (votes.spec.labels, labels.spec.labels) == (EMOTIONS_AND_CONTEMPT, EMOTIONS)
    assert votes.spec.card["target"] == export.TARGETS["votes"]
    assert labels.spec.card["target"] == export.TARGETS["labels"]
    both = labels.predict_all_heads(crops(5))
    assert list(both) == ["votes", "labels"]
    assert np.array_equal(both["votes"], votes(crops(5)))
    assert np.array_equal(both["labels"], labels(crops(5)))


def test_unknown_head_is_rejected(exported):
    with pytest.raises(UserError, match="votes, labels"):
        Classifier(ModelFile(exported["float32"], "vote"))


def test_ensemble_averages_logits(root, run, tmp_path):
    other = train.fit(replace(TINY, seed=5), root, tmp_path / "other", device="cpu")
    path = tmp_path / "both.onnx"
    export.export([run, other], path, tta="flip")
    faces = crops(9)
    logits = [
        inference.compute_logits(inference.load_network(member), versions, input_size=40)
        for member in (run, other)
        for versions in (faces[:, 0], faces[:, 0, :, ::-1].copy())
    ]
    expected = torch.stack(logits).mean(0)[:, HEADS["votes"]].softmax(1).numpy()
    classify = Classifier(path)
    assert np.allclose(classify(faces), expected, atol=1e-5)
    assert np.allclose(classify(faces[..., ::-1].copy()), expected, atol=1e-5)
    members = classify.spec.card["members"]
    assert [member["seed"] for member in members] == [TINY.seed, 5]


def test_runs_with_different_inputs_cannot_be_combined(root, run, tmp_path):
    other = train.fit(
        replace(TINY, input_size=44, epochs=1), root, tmp_path / "other", device="cpu"
    )
    with pytest.raises(UserError, match="40 and 44 pixels"):
        export.export([run, other], tmp_path / "x.onnx")
    export.export([run, other], tmp_path / "x.onnx", input_size=44)
    three_channels = replace(TINY, channels=3, epochs=1)
    other = train.fit(three_channels, root, tmp_path / "three_channels", device="cpu")
    with pytest.raises(UserError, match="channels"):
        export.export([run, other], tmp_path / "y.onnx")
    assert not (tmp_path / "y.onnx").exists()


def test_file_uses_the_input_size_of_its_export(exported, run):
    probabilities = Classifier(ModelFile(exported["uncalibrated"], "labels"))(crops(9))
    network = inference.load_network(run)
    logits = inference.compute_logits(network, crops(9)[:, 0], input_size=44)
    expected = logits[:, HEADS["labels"]].softmax(1).numpy()
    assert np.allclose(probabilities, expected, atol=1e-5)


def test_prediction_does_not_depend_on_the_batch_size(exported):
    for name in ("float32", "float16"):
        classify = Classifier(exported[name])
        batched = classify(crops(7))
        single = np.concatenate([classify(face[None]) for face in crops(7)])
        assert np.allclose(batched, single, atol=1e-5)


def test_reduced_precision_makes_smaller_files(exported):
    size = {name: path.stat().st_size for name, path in exported.items()}
    assert size["float16"] < 0.7 * size["float32"]
    assert size["int8-weights"] < 0.6 * size["float32"]
    assert size["int8"] < 0.6 * size["float32"]


def test_file_has_no_paths_of_the_source_tree(exported):
    for path in exported.values():
        assert b"site-packages" not in path.read_bytes()
        assert str(Path(mien.__file__).parent).encode() not in path.read_bytes()


def test_a_network_of_three_channels_has_a_file_of_three_channels(tmp_path, root):
    config = replace(TINY, channels=3, epochs=1)
    run = train.fit(config, root, tmp_path / "run", device="cpu")
    spec = export.export(run, tmp_path / "model.onnx")
    assert spec.channels == 3
    classify = Classifier(tmp_path / "model.onnx")
    assert classify(crops(3).repeat(3, 1)).shape == (3, 8)
    expected = inference.predict(run, crops(3)[:, 0])["votes"]
    assert np.allclose(classify(crops(3).repeat(3, 1)), expected, atol=1e-5)


# Rejected exports


def test_an_input_size_that_a_network_does_not_accept_is_rejected(run, tmp_path):
    # The fourth pooling layer of VGG19 needs an input of at least 16 pixels.
    vgg = runs.create(tmp_path / "vgg", replace(TINY, model="vgg19-bn"))
    with pytest.raises(UserError, match="vgg19-bn does not accept faces of 8 pixels"):
        export.export([run, vgg], tmp_path / "model.onnx", input_size=8)


@pytest.mark.parametrize(
    ("options", "expected_text"),
    [
        ({"precision": "float61"}, "'float16'"),
        ({"precision": "int8"}, "--data"),
        ({"label_head_weight": 1.5}, "--label-head-weight 1.5"),
    ],
)
def test_wrong_option_is_rejected_without_a_file(run, tmp_path, options, expected_text):
    with pytest.raises(UserError) as error:
        export.export(run, tmp_path / "model.onnx", **options)
    assert expected_text in str(error.value)
    assert not list(tmp_path.iterdir())


def test_unfinished_run_is_rejected(tmp_path):
    run = runs.create(tmp_path / "run", TINY)
    with pytest.raises(UserError, match="not finished"):
        export.export(run, tmp_path / "model.onnx")


class Brightness(nn.Module):
    """The probability of happy is the brightness plus `offset`."""

    heads = ("votes",)

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, faces: Tensor) -> tuple[Tensor]:
        brightness = faces.float().mean((1, 2, 3)) / 255 + self.offset
        return (torch.stack([brightness, 1 - brightness], 1),)


def test_graph_that_differs_from_torch_is_rejected():
    proto = export.to_onnx(Brightness(0.0), ModelSpec(("happy", "sad"), 48))
    assert export.check_against_torch(proto, Brightness(0.0), 1, 1e-5) < 1e-5
    assert export.check_against_torch(proto, Brightness(0.01), 1, 0.02) == pytest.approx(
        0.01, rel=1e-2
    )
    with pytest.raises(UserError, match=r"0\.01"):
        export.check_against_torch(proto, Brightness(0.01), 1, 0.005)
    with pytest.raises(UserError, match="nan"):
        export.check_against_torch(proto, Brightness(float("nan")), 1, 1.0)


def test_rejected_export_writes_no_file(run, tmp_path, monkeypatch):
    monkeypatch.setitem(export.TOLERANCES, "float32", -1.0)
    with pytest.raises(UserError, match="Not exported"):
        export.export(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


# Calibration


def test_calibration_lowers_the_cross_entropy_on_its_samples(exported, run, root):
    val = data.load(root)["val"]
    targets = data.shares(val.votes)

    def loss(scaling: VectorScaling) -> float:
        probabilities = shares_in_torch(run, val.faces, scaling)
        return float(-(targets * np.log(probabilities)).sum(1).mean())

    assert loss(scaling_of(exported["float32"])) < loss(calibration.identity(8))


def test_card_has_cross_validated_scores(exported):
    card = Classifier(exported["float32"]).spec.card
    assert card["cross_validated"].keys() == card["val"].keys()
    assert card["cross_validated"]["kl_nats"] > card["val"]["kl_nats"]


def test_calibration_without_votes_is_rejected(root, run, tmp_path):
    val = data.load(root)["val"]
    without_votes = replace(val, votes=np.zeros_like(val.votes))
    with pytest.raises(UserError, match="no votes"):
        export.export(run, tmp_path / "x.onnx", calibration_samples=without_votes)
    assert not (tmp_path / "x.onnx").exists()


def test_label_head_weight_is_chosen_on_the_calibration_set(root, run, tmp_path):
    val = data.load(root)["val"]
    path = tmp_path / "chosen.onnx"
    card = export.export(run, path, calibration_samples=val).card
    network = inference.load_network(run)
    logits = inference.compute_logits(network, val.faces, input_size=40)
    assert card["label_head_weight"] == calibration.choose_label_head_weight(logits, val.votes)


@pytest.fixture(scope="module")
def labels_run(root, tmp_path_factory) -> Run:
    """A run that was trained without votes."""
    config = replace(TINY, vote_weight=0.0, epochs=1)
    return train.fit(config, root, tmp_path_factory.mktemp("labels"), device="cpu")


def test_ensemble_has_the_heads_common_to_its_runs(run, labels_run, tmp_path):
    card = export.export([run, labels_run], tmp_path / "x.onnx").card
    assert list(card["heads"]) == ["labels"]
    assert Classifier(tmp_path / "x.onnx").spec.labels == EMOTIONS


def test_runs_without_a_common_head_are_rejected(run, labels_run, tmp_path):
    about = {"data": run.about["data"], "heads": ["votes"]}
    votes_run = runs.create(tmp_path / "votes", run.config, about)
    with pytest.raises(UserError, match="ensemble"):
        export.export([votes_run, labels_run], tmp_path / "y.onnx")


def test_a_label_head_weight_is_rejected_for_a_run_without_votes(labels_run, tmp_path):
    with pytest.raises(UserError, match="--label-head-weight"):
        export.export(labels_run, tmp_path / "y.onnx", label_head_weight=0.1)


def test_another_suffix_than_onnx_is_rejected(tmp_path, run):
    with pytest.raises(UserError, match=r"\.onnx"):
        export.export(run, tmp_path / "x.bin")
