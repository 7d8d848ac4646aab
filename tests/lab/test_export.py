import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import mien
from mien.classification.classifier import Classifier
from mien.classification.model_spec import ModelSpec
from mien.classification.weights import ModelFile
from mien.errors import UserError
from mien.lab import calibration, data, evaluate, export, runs, train
from mien.lab.calibration import VectorScaling
from mien.lab.config import RECIPES
from mien.lab.runs import Run
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT
from mien.onnx_runtime import onnxruntime
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=2, ema_decay=0.5)
SHARE = 0.2


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(28, 256))


@pytest.fixture(scope="module")
def run(root, tmp_path_factory) -> Run:
    return train.fit(TINY, root, tmp_path_factory.mktemp("run"), device="cpu")


@pytest.fixture(scope="module")
def exported(root, run, tmp_path_factory) -> dict[str, Path]:
    """One calibrated file per way of storing weights, and a plain one of 44 pixels."""
    folder, val = tmp_path_factory.mktemp("models"), data.load(root)["val"]
    files = {storage: folder / f"{storage}.onnx" for storage in export.AGREES}
    for storage, path in files.items():
        export.export(run, path, calibrate=val, storage=storage, label_share=SHARE)
    files["plain"] = folder / "plain.onnx"
    export.export(run, files["plain"], side=44)
    return files


def crops(count: int) -> np.ndarray:
    return tiny.samples(count, seed=7).faces[:, None]


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def scaling_of(path: Path, head: str = "") -> VectorScaling:
    saved = Classifier(ModelFile(path, head)).spec.card["calibration"]
    return VectorScaling(tuple(saved["factors"]), tuple(saved["shifts"]))


def by_torch(
    run: Run, faces: np.ndarray, side: int, share: float, scaling: VectorScaling
) -> np.ndarray:
    """The shares of votes, from the run's logits."""
    answers = evaluate.logits(evaluate.restore(run), faces, side=side)
    return scaling(calibration.mixed(answers, share)).softmax(1).numpy()


@pytest.mark.parametrize("name", ["float32", "float16", "int8-weights", "int8", "plain"])
def test_a_file_keeps_the_contract_and_takes_any_number_of_faces(exported, name):
    opened = session(exported[name])
    (fed,) = opened.get_inputs()
    assert (fed.name, fed.type, fed.shape[1:]) == ("faces", "tensor(uint8)", [1, 48, 48])
    assert isinstance(fed.shape[0], str)
    given = [(one.name, one.type, one.shape[1]) for one in opened.get_outputs()]
    assert given == [("probabilities", "tensor(float)", 8), ("labels", "tensor(float)", 7)]
    for count in (1, 7):
        for said, classes in zip(opened.run(None, {"faces": crops(count)}), (8, 7), strict=True):
            assert said.shape == (count, classes)
            assert (said >= 0).all()
            assert np.allclose(said.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["float32", "float16", "int8-weights", "int8", "plain"])
def test_a_file_says_what_it_is(exported, run, name):
    metadata = session(exported[name]).get_modelmeta().custom_metadata_map
    assert metadata["mien.labels"] == ",".join(EMOTIONS_AND_CONTEMPT)
    assert float(metadata["mien.margin"]) == 0
    assert metadata["mien.version"] == mien.__version__
    card = json.loads(metadata["mien.card"])
    assert list(card["heads"]) == ["votes", "labels"]
    assert card["config"]["model"] == "resnet-8"
    assert card["seed"] == TINY.seed
    assert card["window"] == (44 if name == "plain" else 40)
    assert card["label_share"] == (0 if name == "plain" else SHARE)
    assert card["commit"] == runs.read_json(run.about_file)["commit"]
    assert (scaling_of(exported[name]) == calibration.plain(8)) == (name == "plain")
    assert (scaling_of(exported[name], "labels") == calibration.plain(7)) == (name == "plain")
    onnx.checker.check_model(onnx.load(exported[name]))


@pytest.mark.parametrize(
    ("storage", "most"),
    [("float32", 1e-5), ("float16", 5e-3), ("int8-weights", 2e-2), ("int8", 0.2)],
)
def test_a_file_agrees_with_torch(exported, run, storage, most):
    classify = Classifier(exported[storage])
    expected = by_torch(run, crops(28)[:, 0], 40, SHARE, scaling_of(exported[storage]))
    assert np.abs(classify(crops(28)) - expected).max() < most


def test_each_head_can_be_asked_alone_or_both_at_once(exported):
    path = exported["float32"]
    votes, labels = Classifier(path), Classifier(ModelFile(path, "labels"))
    assert (votes.name, labels.name) == ("float32", "float32-labels")
    assert (votes.spec.labels, labels.spec.labels) == (EMOTIONS_AND_CONTEMPT, EMOTIONS)
    assert votes.spec.card["means"] == export.MEANS["votes"]
    assert labels.spec.card["means"] == export.MEANS["labels"]
    both = labels.predict_all_heads(crops(5))
    assert list(both) == ["votes", "labels"]
    assert np.array_equal(both["votes"], votes(crops(5)))
    assert np.array_equal(both["labels"], labels(crops(5)))


def test_a_head_that_is_not_there_is_told(exported):
    with pytest.raises(UserError, match="has no head vote; it has votes, labels"):
        Classifier(ModelFile(exported["float32"], "vote"))


def test_several_runs_answer_as_one(root, run, tmp_path):
    other = train.fit(replace(TINY, seed=5), root, tmp_path / "other", device="cpu")
    path = tmp_path / "both.onnx"
    export.export([run, other], path, views="flip")
    faces = crops(9)
    logits = [
        evaluate.logits(evaluate.restore(one), view, side=40)[:, 7:15]
        for one in (run, other)
        for view in (faces[:, 0], faces[:, 0, :, ::-1].copy())
    ]
    expected = torch.stack(logits).mean(0).softmax(1).numpy()
    classify = Classifier(path)
    assert np.allclose(classify(faces), expected, atol=1e-5)
    assert np.allclose(classify(faces[..., ::-1].copy()), expected, atol=1e-5)
    members = classify.spec.card["members"]
    assert [member["seed"] for member in members] == [TINY.seed, 5]


def test_runs_that_want_other_faces_cannot_be_one(root, run, tmp_path):
    other = train.fit(
        replace(TINY, input_size=44, epochs=1), root, tmp_path / "other", device="cpu"
    )
    with pytest.raises(UserError, match="windows of 40 and 44 pixels"):
        export.export([run, other], tmp_path / "x.onnx")
    export.export([run, other], tmp_path / "x.onnx", side=44)
    coloured = replace(TINY, channels=3, epochs=1)
    other = train.fit(coloured, root, tmp_path / "coloured", device="cpu")
    with pytest.raises(UserError, match="grey"):
        export.export([run, other], tmp_path / "y.onnx")
    assert not (tmp_path / "y.onnx").exists()


def test_a_file_looks_through_the_window_it_was_exported_with(exported, run):
    said = Classifier(ModelFile(exported["plain"], "labels"))(crops(9))
    answers = evaluate.logits(evaluate.restore(run), crops(9)[:, 0], side=44)[:, :7]
    assert np.allclose(said, answers.softmax(1).numpy(), atol=1e-5)


def test_a_faces_answer_does_not_depend_on_its_neighbours(exported):
    for name in ("float32", "float16"):
        classify = Classifier(exported[name])
        together = classify(crops(7))
        alone = np.concatenate([classify(face[None]) for face in crops(7)])
        assert np.allclose(together, alone, atol=1e-5)


def test_smaller_storage_is_smaller(exported):
    size = {name: path.stat().st_size for name, path in exported.items()}
    assert size["float16"] < 0.7 * size["float32"]
    assert size["int8-weights"] < 0.6 * size["float32"]
    assert size["int8"] < 0.6 * size["float32"]


def test_a_file_holds_no_traces_of_the_source_tree(exported):
    for path in exported.values():
        assert b"site-packages" not in path.read_bytes()
        assert str(Path(mien.__file__).parent).encode() not in path.read_bytes()


def test_three_channels_are_exported_as_three(tmp_path, root):
    config = replace(TINY, channels=3, epochs=1)
    run = train.fit(config, root, tmp_path / "run", device="cpu")
    contract = export.export(run, tmp_path / "model.onnx")
    assert contract.channels == 3
    classify = Classifier(tmp_path / "model.onnx")
    assert classify(crops(3).repeat(3, 1)).shape == (3, 8)
    answers = evaluate.answer(run, crops(3)[:, 0])["votes"]
    assert np.allclose(classify(crops(3).repeat(3, 1)), answers, atol=1e-5)


# Refusals


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"storage": "float61"}, "Did you mean 'float16'?"),
        ({"storage": "int8"}, "int8 needs faces to see what values occur; give --data."),
        ({"label_share": 1.5}, "A label share is from 0 to 1, not 1.5."),
    ],
)
def test_a_wrong_choice_gets_one_sentence_and_no_file(run, tmp_path, options, said):
    with pytest.raises(UserError) as error:
        export.export(run, tmp_path / "model.onnx", **options)
    assert said in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_unfinished_run_is_not_exported(tmp_path):
    run = runs.start(tmp_path / "run", TINY)
    with pytest.raises(UserError, match="is not finished"):
        export.export(run, tmp_path / "model.onnx")


class Bright(nn.Module):
    """Calls a face happy as far as it is bright, and `off` by so much."""

    heads = ("votes",)

    def __init__(self, off: float) -> None:
        super().__init__()
        self.off = off

    def forward(self, faces: Tensor) -> tuple[Tensor]:
        bright = faces.float().mean((1, 2, 3)) / 255 + self.off
        return (torch.stack([bright, 1 - bright], 1),)


def test_a_graph_that_disagrees_with_torch_is_refused():
    proto = export.to_onnx(Bright(0.0), ModelSpec(("happy", "sad"), 48))
    assert export.check(proto, Bright(0.0), 1, 1e-5) < 1e-5
    assert export.check(proto, Bright(0.01), 1, 0.02) == pytest.approx(0.01, rel=1e-2)
    with pytest.raises(UserError, match=r"differs from torch by 0\.01 in a probability"):
        export.check(proto, Bright(0.01), 1, 0.005)
    with pytest.raises(UserError, match="differs from torch by nan"):
        export.check(proto, Bright(float("nan")), 1, 1.0)


def test_a_refused_export_leaves_no_file(run, tmp_path, monkeypatch):
    monkeypatch.setitem(export.AGREES, "float32", -1.0)
    with pytest.raises(UserError, match="not exported"):
        export.export(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


# Calibration


def test_calibration_lowers_the_cross_entropy_on_its_samples(exported, run, root):
    val = data.load(root)["val"]
    targets = data.shares(val.votes)

    def loss(scaling: VectorScaling) -> float:
        said = by_torch(run, val.faces, 40, SHARE, scaling)
        return float(-(targets * np.log(said)).sum(1).mean())

    assert loss(scaling_of(exported["float32"])) < loss(calibration.plain(8))


def test_what_was_not_fitted_on_the_faces_that_judge_it_is_told_as_well(exported):
    card = Classifier(exported["float32"]).spec.card
    assert card["crossvalidated"].keys() == card["val"].keys()
    assert card["crossvalidated"]["kl_nats"] > card["val"]["kl_nats"]


def test_faces_that_cannot_calibrate_a_head_are_refused(root, run, tmp_path):
    val = data.load(root)["val"]
    silent = replace(val, votes=np.zeros_like(val.votes))
    with pytest.raises(UserError, match="has no votes to calibrate by"):
        export.export(run, tmp_path / "x.onnx", calibrate=silent)
    assert not (tmp_path / "x.onnx").exists()


def test_without_a_wish_the_label_share_is_chosen_on_the_faces_that_calibrate(root, run, tmp_path):
    val = data.load(root)["val"]
    path = tmp_path / "chosen.onnx"
    card = export.export(run, path, calibrate=val).card
    answers = evaluate.logits(evaluate.restore(run), val.faces, side=40)
    assert card["label_share"] == calibration.label_share(answers, val.votes)


def test_runs_taught_different_things_answer_what_both_were_taught(root, run, tmp_path):
    both = {"data": runs.read_json(run.about_file)["data"]}
    other = train.fit(replace(TINY, vote_weight=0.0, epochs=1), root, tmp_path / "l", device="cpu")
    card = export.export([run, other], tmp_path / "x.onnx").card
    assert list(card["heads"]) == ["labels"]
    assert Classifier(tmp_path / "x.onnx").spec.labels == EMOTIONS
    votes = runs.start(tmp_path / "v", run.config, both | {"heads": ["votes"]})
    with pytest.raises(UserError, match="cannot be one"):
        export.export([votes, other], tmp_path / "y.onnx")
    with pytest.raises(UserError, match="needs both heads; there is only labels"):
        export.export(other, tmp_path / "y.onnx", label_share=0.1)


def test_a_model_file_has_its_suffix(tmp_path, run):
    with pytest.raises(UserError, match=r"ends in \.onnx"):
        export.export(run, tmp_path / "x.bin")
