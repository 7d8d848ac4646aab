"""Cross-validation and ablation: folders, numbers, resuming, sharing."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import UserError
from mien.lab import data, evaluate, protocols, runs, scores, train, trials
from mien.lab.config import RECIPES
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

BASE = replace(RECIPES["tiny"], batch_size=14, epochs=1, protocol="kfold", folds=3)


def quiet(*_):
    return lambda *_: None


@pytest.fixture(scope="module", autouse=True)
def hasty():
    """Bootstrap intervals from a few resamples: nobody reads these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "evaluate", partial(evaluate.evaluate, resamples=5))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(42, 21))


@pytest.fixture(scope="module")
def crossed(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("crossval")
    return out, trials.crossval(BASE, root, out, quiet)


def test_a_crossval_trains_every_fold_and_judges_every_face_once(root, crossed):
    out, result = crossed
    assert json.loads((out / "crossval.json").read_text()) == json.loads(json.dumps(result))
    rows = [runs.load_predictions(runs.open_run(out / f"fold-{k}"))["rows"] for k in range(3)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(63))
    assert result["pooled"]["faces"] == 63
    accuracies = [numbers["accuracy"] for numbers in result["folds"].values()]
    assert result["fold_statistics"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert result["fold_statistics"]["accuracy"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert {"ferplus", "kl_nats", "macro_f1", "log_loss"} <= result["fold_statistics"].keys()


def test_the_fold_file_says_which_face_was_held_out_where(root, crossed):
    out, _ = crossed
    with open(out / "folds.csv", newline="") as file:
        written = {int(line["row"]): int(line["fold"]) for line in csv.DictReader(file)}
    assert len(written) == 63
    for k in range(3):
        held = runs.load_predictions(runs.open_run(out / f"fold-{k}"))["rows"]
        assert {written[row] for row in held.tolist()} == {k}


def test_asked_again_a_crossval_trains_nothing(root, crossed, monkeypatch):
    out, result = crossed
    monkeypatch.setattr(train, "train_epoch", None)
    again = trials.crossval(BASE, root, out, quiet)
    assert again["folds"] == result["folds"]


def test_a_fold_that_another_process_trains_is_left_to_it(root, tmp_path):
    folder = tmp_path / "fold-1"
    held = runs.start(folder, replace(BASE, fold=1), {"data": data.describe(data.load(root))})
    with runs.locked(folder), pytest.raises(runs.Busy, match="training fold-1"):
        trials.crossval(BASE, root, tmp_path, quiet)
    assert runs.open_run(tmp_path / "fold-2").finished
    assert not held.finished
    assert trials.crossval(BASE, root, tmp_path, quiet)["pooled"]["faces"] == 63


def test_one_model_for_all_folds_starts_where_the_last_ended(root, tmp_path):
    trials.crossval(replace(BASE, protocol="leaky-kfold"), root, tmp_path, quiet)
    assert runs.open_run(tmp_path / "fold-0").config.init_from == ""
    later = runs.open_run(tmp_path / "fold-2").config
    assert later.init_from == str(tmp_path / "fold-1")


def test_a_protocol_without_folds_gets_one_sentence(root, tmp_path):
    with pytest.raises(UserError, match="has no folds; choose one of kfold, "):
        trials.crossval(replace(BASE, protocol="official"), root, tmp_path, quiet)


def test_an_ablation_compares_every_case_with_the_config_as_it_is(root, tmp_path):
    base = replace(RECIPES["tiny"], batch_size=14, epochs=1)
    changes = {"no flip": ["flip=no"], "no dropout": ["dropout=0"]}
    result = trials.ablate(base, root, tmp_path, changes, [0, 1], quiet)
    assert json.loads((tmp_path / "ablation.json").read_text()) == json.loads(json.dumps(result))
    assert list(result["cases"]) == [trials.BASELINE, "no flip", "no dropout"]
    own = result["cases"][trials.BASELINE]
    assert own["difference_to_baseline"] == {"value": 0, "low": 0, "high": 0}
    assert runs.open_run(tmp_path / "no-flip-seed1").config == replace(base, flip=False, seed=1)
    case = result["cases"]["no dropout"]
    gain = case["seed_statistics"]["accuracy"]["mean"] - own["seed_statistics"]["accuracy"]["mean"]
    assert case["difference_to_baseline"]["value"] == pytest.approx(gain)
    assert case["difference_to_baseline"]["low"] <= gain <= case["difference_to_baseline"]["high"]
    assert case["parameters"] > 0


def test_the_usual_cases_leave_out_only_what_there_is():
    base = replace(RECIPES["tiny"], dropout=0.0, label_smoothing=0.0)
    assert set(trials.parts(base)) == {"no augmentation", "no moving average"}
    hybrid = trials.parts(replace(base, model="hybrid-slim"))
    assert hybrid["no CBAM"] == ("model=hybrid-slim-no-cbam",)
    assert hybrid["no batch norm"] == ("model=hybrid-slim-no-norm",)


@given(st.lists(st.booleans(), min_size=2, max_size=50), st.integers(0, 99))
def test_a_paired_gain_is_the_difference_and_its_interval_holds_it(hits, seed):
    one = np.array(hits, float)
    other = np.random.default_rng(seed).random(len(one)).round()
    found = scores.paired_difference(one, other)
    assert found["value"] == pytest.approx(one.mean() - other.mean())
    assert -1 <= found["low"] <= found["high"] <= 1


@pytest.mark.parametrize("change", ["seed=5", "protocol=random10", "folds=7"])
def test_a_case_judged_by_other_faces_or_seeds_is_refused(root, tmp_path, change):
    with pytest.raises(UserError, match=f"changes {change.partition('=')[0]}, which is for all"):
        trials.ablate(BASE, root, tmp_path / "out", {"other": [change]}, [0], quiet)
    assert not (tmp_path / "out").exists()


def test_what_says_nothing_of_labels_is_refused_before_it_is_trained(root, tmp_path):
    silent = replace(BASE, label_weight=0.0, vote_weight=1.0)
    with pytest.raises(UserError, match="one of them is taught none"):
        trials.crossval(silent, root, tmp_path / "out", quiet)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "folder"),
    [("no CBAM", "no-cbam"), ("label smoothing 0.1", "label-smoothing-0-1"), ("a/b: c", "a-b-c")],
)
def test_a_name_becomes_a_folder(name, folder):
    assert trials.slug(name) == folder


def test_a_run_can_start_from_the_weights_of_another(root, crossed, tmp_path):
    out, _ = crossed
    begun = replace(BASE, init_from=str(out / "fold-0"), lr=1e-12, ema_decay=0.0, weight_decay=0.0)
    run = train.fit(begun, root, tmp_path / "next", device="cpu")
    import torch

    one, other = (torch.load(p.weights_file) for p in (runs.open_run(out / "fold-0"), run))
    kernels = [name for name, value in one.items() if value.ndim > 1]
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in kernels)
    with pytest.raises(UserError, match="do not fit"):
        train.fit(replace(begun, model="resnet-16"), root, tmp_path / "other", device="cpu")


def test_protocols_reach_the_evaluation(root, tmp_path):
    run = train.fit(replace(BASE, fold=2), root, tmp_path, device="cpu")
    result = evaluate.evaluate(run.folder, root, resamples=2)
    held = protocols.divide(data.load(root), replace(BASE, fold=2))["val"]
    assert result["protocol"] == "kfold"
    assert np.array_equal(runs.load_predictions(run)["rows"], held.rows)
    assert result["network"]["parameters"] > 1000


def test_a_refused_crossval_leaves_what_is_there(root, crossed):
    out, _ = crossed
    before = (out / "folds.csv").read_bytes()
    with pytest.raises(UserError, match="another config"):
        trials.crossval(replace(BASE, folds=4), root, out, quiet)
    assert (out / "folds.csv").read_bytes() == before


def test_what_evaluate_left_in_a_fold_is_not_taken_for_its_result(root, tmp_path):
    trials.crossval(BASE, root, tmp_path, quiet)
    evaluate.evaluate(tmp_path / "fold-0", root, split="train")
    again = trials.crossval(BASE, root, tmp_path, quiet)
    assert again["pooled"]["faces"] == 63


@pytest.mark.parametrize(
    "changes",
    [
        {"no flip": ["flip=no"], "no flip!": ["rotation=0"]},
        {"baseline": ["epochs=2"]},
        {"": ["flip=no"]},
    ],
)
def test_cases_need_names_of_their_own(root, tmp_path, changes):
    with pytest.raises(UserError, match="a name of its own"):
        trials.ablate(replace(BASE, protocol="official"), root, tmp_path, changes, [0], quiet)


def test_nothing_is_trained_that_nothing_can_judge(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train_epoch", None)
    root = tiny.write_packed(tmp_path / "data", tiny.table(42, 0, 21))
    base = replace(BASE, protocol="official")
    with pytest.raises(UserError, match="no split 'val'"):
        trials.ablate(base, root, tmp_path / "out", {"no flip": ["flip=no"]}, [0], quiet)
    assert not (tmp_path / "out").exists()
