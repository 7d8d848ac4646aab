"""Cross-validation and ablation."""

import csv
import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mien.errors import UserError
from mien.lab import ablation, crossval, data, evaluate, protocols, runs, scores, train
from mien.lab.config import RECIPES, apply_changes
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

BASE = replace(RECIPES["tiny"], batch_size=14, epochs=1, protocol="kfold", folds=3)


def ignore_progress(*_):
    """Return the progress callback of a training, which does nothing."""
    return lambda *_: None


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    """Bootstrap intervals from few resamples, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "evaluate", partial(evaluate.evaluate, resamples=5))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(42, 21))


@pytest.fixture(scope="module")
def crossvalidated(root, tmp_path_factory):
    """The folder and the result of a cross-validation."""
    out = tmp_path_factory.mktemp("crossval")
    return out, crossval.crossval(BASE, root, out, ignore_progress)


def test_crossval_evaluates_every_face_once(root, crossvalidated):
    out, result = crossvalidated
    assert json.loads((out / "crossval.json").read_text()) == json.loads(json.dumps(result))
    rows = [runs.load_predictions(runs.open_run(out / f"fold-{k}"))["rows"] for k in range(3)]
    assert sorted(np.concatenate(rows).tolist()) == list(range(63))  # 42 of train, 21 of val
    assert result["pooled"]["faces"] == 63
    accuracies = [numbers["accuracy"] for numbers in result["folds"].values()]
    assert result["fold_statistics"]["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert result["fold_statistics"]["accuracy"]["sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert {"ferplus", "kl_nats", "macro_f1", "log_loss"} <= result["fold_statistics"].keys()


def test_folds_csv_has_the_held_out_fold_of_each_face(root, crossvalidated):
    out, _ = crossvalidated
    with open(out / "folds.csv", newline="") as file:
        written = {int(line["row"]): int(line["fold"]) for line in csv.DictReader(file)}
    assert len(written) == 63
    for k in range(3):
        held_out = runs.load_predictions(runs.open_run(out / f"fold-{k}"))["rows"]
        assert {written[row] for row in held_out.tolist()} == {k}


def test_a_repeated_crossval_trains_nothing(root, crossvalidated, monkeypatch):
    out, result = crossvalidated
    monkeypatch.setattr(train, "train_epoch", None)  # an error if called
    again = crossval.crossval(BASE, root, out, ignore_progress)
    assert again["folds"] == result["folds"]


def test_a_fold_that_another_process_trains_is_skipped(root, tmp_path):
    folder = tmp_path / "fold-1"
    locked = runs.create(folder, replace(BASE, fold=1), {"data": data.describe(data.load(root))})
    with runs.locked(folder), pytest.raises(runs.RunLocked, match="training fold-1"):
        crossval.crossval(BASE, root, tmp_path, ignore_progress)
    assert runs.open_run(tmp_path / "fold-2").finished
    assert not locked.finished
    assert crossval.crossval(BASE, root, tmp_path, ignore_progress)["pooled"]["faces"] == 63


def test_leaky_kfold_initializes_each_fold_from_the_previous_one(root, tmp_path):
    crossval.crossval(replace(BASE, protocol="leaky-kfold"), root, tmp_path, ignore_progress)
    assert runs.open_run(tmp_path / "fold-0").config.init_from == ""
    later = runs.open_run(tmp_path / "fold-2").config
    assert later.init_from == str(tmp_path / "fold-1")


def test_a_protocol_without_folds_is_an_error(root, tmp_path):
    with pytest.raises(UserError, match="official has no folds"):
        crossval.crossval(replace(BASE, protocol="official"), root, tmp_path, ignore_progress)


def test_an_ablation_compares_every_case_with_the_baseline(root, tmp_path):
    base = replace(RECIPES["tiny"], batch_size=14, epochs=1)
    changes = {"no flip": ["flip=no"], "no dropout": ["dropout=0"]}
    result = ablation.ablate(base, root, tmp_path, changes, [0, 1], ignore_progress)
    assert json.loads((tmp_path / "ablation.json").read_text()) == json.loads(json.dumps(result))
    assert list(result["cases"]) == [ablation.BASELINE, "no flip", "no dropout"]
    baseline = result["cases"][ablation.BASELINE]
    assert baseline["difference_to_baseline"] == {"value": 0, "low": 0, "high": 0}
    assert runs.open_run(tmp_path / "no-flip-seed1").config == replace(base, flip=False, seed=1)
    case = result["cases"]["no dropout"]
    difference = (
        case["seed_statistics"]["accuracy"]["mean"]
        - baseline["seed_statistics"]["accuracy"]["mean"]
    )
    assert case["difference_to_baseline"]["value"] == pytest.approx(difference)
    assert (
        case["difference_to_baseline"]["low"]
        <= difference
        <= case["difference_to_baseline"]["high"]
    )
    assert case["parameters"] > 0


def test_default_changes_depend_on_the_config():
    base = replace(RECIPES["tiny"], dropout=0.0, label_smoothing=0.0)
    assert set(ablation.default_changes(base)) == {"no augmentation", "no EMA of the weights"}
    augmented = replace(base, mixup=0.2, cutmix=0.2, domain_randomization=0.5)
    plain = apply_changes(augmented, ablation.default_changes(augmented)["no augmentation"])
    assert plain.mixup == plain.cutmix == plain.domain_randomization == 0
    hybrid = ablation.default_changes(replace(base, model="hybrid-slim"))
    assert hybrid["no CBAM"] == ("model=hybrid-slim-no-cbam",)
    assert hybrid["no batch norm"] == ("model=hybrid-slim-no-norm",)


@given(st.lists(st.booleans(), min_size=2, max_size=50), st.integers(0, 99))
def test_a_paired_difference_is_that_of_the_means_and_has_a_valid_interval(correct, seed):
    ours = np.array(correct, float)
    baseline = np.random.default_rng(seed).random(len(ours)).round()
    difference = scores.paired_difference(ours, baseline)
    assert difference["value"] == pytest.approx(ours.mean() - baseline.mean())
    assert -1 <= difference["low"] <= difference["high"] <= 1


@pytest.mark.parametrize("change", ["seed=5", "protocol=random10", "folds=7"])
def test_a_case_may_not_change_the_evaluation_set_or_seed(root, tmp_path, change):
    with pytest.raises(UserError, match=f"changes {change.partition('=')[0]}"):
        ablation.ablate(BASE, root, tmp_path / "out", {"other": [change]}, [0], ignore_progress)
    assert not (tmp_path / "out").exists()


def test_an_experiment_without_label_loss_is_an_error_before_training(root, tmp_path):
    unlabeled = replace(BASE, label_weight=0.0, vote_weight=1.0)
    with pytest.raises(UserError, match="label_weight"):
        crossval.crossval(unlabeled, root, tmp_path / "out", ignore_progress)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "folder"), [("no CBAM", "no-cbam"), ("no  flip", "no-flip"), ("a/b: c", "a-b-c")]
)
def test_slug_joins_words_of_letters_and_digits_by_hyphens(name, folder):
    assert ablation.slug(name) == folder


def test_a_run_can_be_initialized_from_another(root, crossvalidated, tmp_path):
    out, _ = crossvalidated
    config = replace(BASE, init_from=str(out / "fold-0"), lr=1e-12, ema_decay=0.0, weight_decay=0.0)
    run = train.fit(config, root, tmp_path / "next", device="cpu")
    initial = torch.load(runs.open_run(out / "fold-0").weights_file)
    final = torch.load(run.weights_file)
    # Not the running statistics of batch norms, which change even with this lr.
    kernels = [name for name, value in initial.items() if value.ndim > 1]
    assert all(torch.allclose(initial[name], final[name], atol=1e-6) for name in kernels)
    with pytest.raises(UserError, match="do not fit"):
        train.fit(replace(config, model="resnet-16"), root, tmp_path / "other", device="cpu")


def test_evaluation_uses_the_protocol_of_the_run(root, tmp_path):
    run = train.fit(replace(BASE, fold=2), root, tmp_path, device="cpu")
    result = evaluate.evaluate(run.folder, root, resamples=2)
    val = protocols.split(data.load(root), replace(BASE, fold=2))["val"]
    assert result["protocol"] == "kfold"
    assert np.array_equal(runs.load_predictions(run)["rows"], val.rows)
    assert result["network"]["parameters"] > 1000


def test_a_failing_crossval_keeps_existing_files(root, crossvalidated):
    out, _ = crossvalidated
    before = (out / "folds.csv").read_bytes()
    with pytest.raises(UserError, match="another config"):
        crossval.crossval(replace(BASE, folds=4), root, out, ignore_progress)
    assert (out / "folds.csv").read_bytes() == before


def test_crossval_ignores_other_evaluations_of_a_fold(root, tmp_path):
    crossval.crossval(BASE, root, tmp_path, ignore_progress)
    evaluate.evaluate(tmp_path / "fold-0", root, split="train")
    again = crossval.crossval(BASE, root, tmp_path, ignore_progress)
    assert again["pooled"]["faces"] == 63


@pytest.mark.parametrize(
    "changes",
    [
        {"no flip": ["flip=no"], "no flip!": ["rotation=0"]},
        {"baseline": ["epochs=2"]},
        {"": ["flip=no"]},
    ],
)
def test_cases_need_unique_names(root, tmp_path, changes):
    with pytest.raises(UserError, match="not unique"):
        ablation.ablate(
            replace(BASE, protocol="official"), root, tmp_path, changes, [0], ignore_progress
        )


def test_data_without_an_evaluation_set_is_an_error_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train_epoch", None)
    root = tiny.write_packed(tmp_path / "data", tiny.table(42, 0, 21))
    base = replace(BASE, protocol="official")
    with pytest.raises(UserError, match="no split 'val'"):
        ablation.ablate(
            base, root, tmp_path / "out", {"no flip": ["flip=no"]}, [0], ignore_progress
        )
    assert not (tmp_path / "out").exists()
