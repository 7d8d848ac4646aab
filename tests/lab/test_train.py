"""Training: results, options, losses, resuming, several processes."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import UserError
from mien.lab import (
    batches,
    checks,
    data,
    inference,
    lr_schedule,
    models,
    runs,
    train,
    training_state,
)
from mien.lab.config import RECIPES, Config
from mien.lab.heads import HEADS, LOGIT_COUNT
from mien.lab.losses import compute_losses, use_bfloat16
from mien.lab.runs import Run
from mien.lab.training_step import Step
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=2)
FAST = replace(
    TINY,
    epochs=8,
    batch_size=28,
    lr=0.1,
    ema_decay=0.5,
    brightness_contrast=0,
    random_erasing=0,
    rotation=0,
    flip=False,
    dropout=0,
)
"""A config with which a network learns something in seconds."""

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(44, 21))


@pytest.fixture(scope="module")
def trained(root, tmp_path_factory) -> Run:
    return train.fit(TINY, root, tmp_path_factory.mktemp("run"), device="cpu")


def weights(run: Run) -> dict[str, Tensor]:
    return torch.load(run.weights_file, weights_only=True)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def write_script(folder: Path, text: str) -> Path:
    path = folder / "driver.py"
    path.write_text(text)
    return path


def single_threaded() -> dict[str, str]:
    """The environment of a subprocess with one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


# Complete runs


def test_a_run_folder_has_the_expected_files_and_log(trained):
    assert sorted(p.name for p in trained.folder.iterdir()) == [
        ".lock", "about.json", "checkpoint.pt", "config.json", "log.jsonl", "weights.pt",
    ]  # fmt: skip
    assert trained.finished
    assert trained.config == TINY
    log = trained.log()
    assert [entry["epoch"] for entry in log] == [1, 2]
    expected = {
        "epoch", "lr", "loss", "label_loss", "vote_loss", "accuracy", "seconds",
        "val_loss", "val_accuracy", "val_vote_loss", "val_majority_accuracy",
    }  # fmt: skip
    assert all(set(entry) == expected for entry in log)
    assert all(math.isfinite(value) for entry in log for value in entry.values())


def test_the_log_matches_the_restored_network(trained, root):
    val = data.load(root)["val"]
    logits = inference.compute_logits(
        inference.load_network(trained), val.faces, input_size=TINY.input_size
    )
    labels = torch.as_tensor(val.labels)
    expected = F.cross_entropy(logits[:, HEADS["labels"]], labels).item()
    assert trained.log()[-1]["val_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_same_seed_gives_the_same_weights(trained, root, tmp_path):
    again = train.fit(TINY, root, tmp_path / "again", device="cpu")
    assert equal(weights(trained), weights(again))
    other = train.fit(replace(TINY, seed=1), root, tmp_path / "other", device="cpu")
    assert not equal(weights(trained), weights(other))


def test_a_finished_run_is_returned_unchanged(trained, root):
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in trained.folder.iterdir()}
    assert train.fit(TINY, root, trained.folder) == trained
    after = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in trained.folder.iterdir()}
    assert before == after


def test_another_config_in_the_same_folder_is_an_error(trained, root):
    with pytest.raises(UserError, match="another config"):
        train.fit(replace(TINY, epochs=3), root, trained.folder)


def test_data_without_a_training_split_is_an_error(tmp_path):
    folder = tiny.write_packed(tmp_path / "data", tiny.table(0, 14))
    with pytest.raises(UserError, match="'train'"):
        train.fit(TINY, folder, tmp_path / "run", device="cpu")


def test_data_without_val_and_votes_can_be_trained_on(tmp_path):
    folder = tiny.write_csv(tmp_path / "data", tiny.table(28, 0), with_votes=False)
    run = train.fit(replace(TINY, epochs=1), folder, tmp_path / "run", device="cpu")
    assert run.finished
    (entry,) = run.log()
    assert entry["vote_loss"] == 0
    assert "val_loss" not in entry


def test_votes_without_emotions_in_val_give_a_finite_log(tmp_path):
    table = tiny.table(28, 7)
    table.votes[28:] = [0] * 8 + [9, 1]
    folder = tiny.write_csv(tmp_path / "data", table)
    run = train.fit(replace(TINY, epochs=1), folder, tmp_path / "run", device="cpu")
    assert all(math.isfinite(value) for value in run.log()[0].values())


def test_progress_is_reported_for_every_epoch_and_step(root, tmp_path):
    calls = []
    train.fit(TINY, root, tmp_path, device="cpu", on_progress=lambda *counts: calls.append(counts))
    steps = [("step", k, 3) for k in (1, 2, 3)]  # 44 faces in batches of 14
    assert calls[:4] == [("epoch", 0, 2, None), *steps]
    assert calls[4][:3] == ("epoch", 1, 2)
    assert calls[4][3]["epoch"] == 1
    assert math.isfinite(calls[4][3]["loss"])
    assert calls[5:] == steps


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> tuple[Path, Run]:
    """Data, and a run that has learned from it."""
    folder = tiny.write_packed(tmp_path_factory.mktemp("more"), tiny.table(112, 28))
    return folder, train.fit(FAST, folder, tmp_path_factory.mktemp("learned"), device="cpu")


def test_training_lowers_the_loss(learned):
    log = learned[1].log()
    assert log[-1]["loss"] < 0.85 * log[0]["loss"]
    assert log[-1]["val_accuracy"] > 0.5


def test_a_diverging_training_is_an_error(root, tmp_path):
    with pytest.raises(UserError, match=r"epoch 1\. Set a lower lr"):
        train.fit(replace(TINY, lr=1e30), root, tmp_path / "run", device="cpu")
    assert not Run(tmp_path / "run").finished


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "lr": 1e-3},
        {"precision": "bfloat16"},
        {"clip_grad": 0.5},
        {"class_weights": True},
        {"drop_single_votes": True},
        {"channels": 3},
        {"mixup": 0.5, "cutmix": 0.5},
        {"label_weight": 0.0},
        {"vote_weight": 0.0},
        {"ema_decay": 0.0},
        {"warmup_epochs": 0.0},
        {"batch_size": 500},
    ],
    ids=lambda changes: "-".join(f"{k}={v}" for k, v in changes.items()),
)
def test_an_option_changes_the_weights_and_keeps_them_finite(root, trained, tmp_path, changes):
    config = replace(TINY, epochs=1, **changes)
    run = train.fit(config, root, tmp_path / "run", device="cpu")
    plain = train.fit(replace(TINY, epochs=1), root, tmp_path / "plain", device="cpu")
    assert all(math.isfinite(value) for value in run.log()[0].values())
    assert all(value.isfinite().all() for value in weights(run).values())
    assert all(value.dtype != torch.bfloat16 for value in weights(run).values())
    assert not equal(weights(run), weights(plain))


# Best epoch and early stopping


def state_after(val_losses: list[float], **changes) -> tuple[training_state.State, Config]:
    """A state after epochs with these losses on val, and its config.

    In epoch k, from 0, all averaged weights are k.
    """
    config = replace(TINY, **changes)
    state = training_state.create(config, CPU)
    for number, val_loss in enumerate(val_losses):
        with torch.no_grad():
            for parameter in state.ema_model.parameters():
                parameter.fill_(number)
        # The training loss falls in every epoch.
        state.log.append({"epoch": number + 1, "loss": -number, "val_loss": val_loss})
        train.update_best(state, config)
    return state, config


def test_the_best_epoch_has_the_lowest_val_loss():
    state, _ = state_after([3.0, 1.0, 2.0, 1.0], select_epoch="best")
    assert state.best["loss"] == 1.0
    kernels = [value for value in state.best["weights"].values() if value.ndim > 1]
    assert all((kernel == 1).all() for kernel in kernels)  # of epoch 1, the first with that loss
    assert state_after([3.0, 1.0, 2.0], select_epoch="last")[0].best is None


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([3, 2, 1], 2, False),
        ([1, 2, 3], 2, True),
        ([1, 2], 2, False),
        ([3, 1, 2, 1], 2, True),
        ([1, 2, 3, 4, 5], 0, False),
        ([], 1, False),
    ],
)
def test_early_stopping_counts_epochs_without_a_lower_val_loss(values, patience, stops):
    state, config = state_after(list(map(float, values)), patience=patience)
    assert train.should_stop_early(state, config) is stops


def test_privatetest_does_not_affect_training(tmp_path):
    config = replace(TINY, select_epoch="best", patience=1, epochs=3, lr=0.3)
    results = []
    for seed in (1, 2):
        table, other = tiny.table(28, 14, 14), tiny.table(28, 14, 14, seed=seed)
        table.faces[42:], table.votes[42:] = other.faces[42:], other.votes[42:]
        folder = tiny.write_packed(tmp_path / f"data{seed}", table)
        results.append(train.fit(config, folder, tmp_path / f"run{seed}", device="cpu"))
    assert equal(*map(weights, results))
    assert results[0].log()[-1]["val_loss"] == results[1].log()[-1]["val_loss"]


def test_selecting_the_best_epoch_writes_its_weights(root, tmp_path, monkeypatch):
    # The first of two epochs is the best.
    monkeypatch.setattr(train, "val_loss", lambda entry, config: float(entry["epoch"]))
    config = replace(TINY, select_epoch="best")
    run = train.fit(config, root, tmp_path / "run", device="cpu")
    first, last = run.log()
    val = data.load(root)["val"]
    logits = inference.compute_logits(
        inference.load_network(run), val.faces, input_size=config.input_size
    )
    loss = F.cross_entropy(logits[:, :7], torch.as_tensor(val.labels)).item()
    assert loss == pytest.approx(first["val_loss"], rel=1e-4)
    assert loss != pytest.approx(last["val_loss"], rel=1e-4)


# Parts of the training


def test_faces_without_a_label_are_ignored_in_validation(root):
    splits, config = data.load(root), replace(TINY, epochs=1)
    val = splits["val"]
    labeled = np.arange(len(val)) % 3 > 0
    model = models.build(config.model, channels=1, classes=LOGIT_COUNT)
    partly_labeled = replace(val, labels=np.where(labeled, val.labels, -1))
    unlabeled = replace(val, labels=np.full(len(val), -1))
    scores = train.validate(model, {"val": partly_labeled}, config)
    expected = train.validate(model, {"val": val.select(labeled)}, config)
    assert scores["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    assert scores["val_accuracy"] == pytest.approx(expected["val_accuracy"])
    assert not {"val_loss", "val_accuracy"} & set(train.validate(model, {"val": unlabeled}, config))


def test_the_cosine_schedule_follows_a_linear_warmup_and_ends_at_zero():
    config = Config(epochs=10, warmup_epochs=2.0)
    assert 0 < lr_schedule.lr_factor(0, config) < 1e-3  # above 0 even in the first step
    assert lr_schedule.lr_factor(1, config) == pytest.approx(0.5, abs=1e-3)
    assert lr_schedule.lr_factor(2, config) == 1
    assert lr_schedule.lr_factor(6, config) == pytest.approx(0.5)
    assert lr_schedule.lr_factor(4, config) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert lr_schedule.lr_factor(10, config) == pytest.approx(0, abs=1e-12)
    assert lr_schedule.lr_factor(0, replace(config, warmup_epochs=0.0)) == 1
    # A warmup that is longer than the training.
    assert lr_schedule.lr_factor(1.5, Config(epochs=1, warmup_epochs=2.0)) == pytest.approx(
        0.75, abs=1e-3
    )


def test_the_constant_schedule_ends_with_a_square_root_cooldown():
    config = Config(epochs=12, warmup_epochs=2.0, lr_schedule="constant", cooldown_fraction=0.2)
    assert lr_schedule.lr_factor(1, config) == pytest.approx(0.5, abs=1e-3)
    assert lr_schedule.lr_factor(2, config) == lr_schedule.lr_factor(10, config) == 1
    assert lr_schedule.lr_factor(10.5, config) == pytest.approx(0.5)
    assert lr_schedule.lr_factor(12, config) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_the_schedule_follows_time_as_it_follows_epochs(kind):
    config = Config(epochs=10, warmup_epochs=0.0, lr_schedule=kind)
    for share in (0.0, 0.3, 0.8, 0.95, 1.0):
        by_epochs = lr_schedule.lr_factor(10 * share, config)
        assert lr_schedule.lr_factor(0, config, share) == pytest.approx(by_epochs, abs=1e-6)
        assert lr_schedule.lr_factor(10 * share, config, share / 2) == pytest.approx(by_epochs)
    # No time is left, even though the warmup has just begun.
    assert lr_schedule.lr_factor(0, replace(config, warmup_epochs=2.0), 1.0) == pytest.approx(
        0, abs=1e-7
    )


def test_a_time_budget_includes_time_before_resuming():
    now = time.monotonic()
    budget = lr_schedule.TimeBudget(spent=30, start=now - 20, end=now + 50)
    assert budget.progress() == pytest.approx(0.5, abs=0.01)
    assert budget.progress(25) == pytest.approx(0.75, abs=0.01)
    assert budget.progress(1000) == 1
    assert not budget.has_no_time_for(40)
    assert budget.has_no_time_for(60)
    assert lr_schedule.NO_LIMIT.progress(1000) == 0
    assert not lr_schedule.NO_LIMIT.has_no_time_for(1e9)


class FakeTime:
    """A clock that advances a tenth of a second per call."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.1
        return self.now

    perf_counter = monotonic


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_a_time_limit_ends_training_with_a_decayed_learning_rate(root, tmp_path, monkeypatch, kind):
    clock = FakeTime()
    for module in (train, lr_schedule):
        monkeypatch.setattr(module, "time", clock)
    config = replace(TINY, epochs=99_999, warmup_epochs=0.0, lr_schedule=kind)
    run = train.fit(config, root, tmp_path / "run", device="cpu", seconds=12)
    assert clock.now < 13
    lrs = [entry["lr"] for entry in run.log()]
    assert run.finished
    assert 10 < len(lrs) < config.epochs
    assert lrs == sorted(lrs, reverse=True)
    assert lrs[-1] < 0.25 * config.lr
    assert "val_accuracy" in run.log()[-1]


def test_a_long_time_limit_does_not_shorten_training(root, tmp_path):
    run = train.fit(TINY, root, tmp_path / "run", device="cpu", seconds=3600)
    assert [entry["epoch"] for entry in run.log()] == [1, 2]


def test_the_moving_average_matches_a_reference():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    ema_model = copy.deepcopy(model)
    expected = {k: v.clone() for k, v in model.state_dict().items()}
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(5, 3))
        decay = training_state.ema_decay(replace(TINY, ema_decay=0.7), step)
        assert decay == min(0.7, step / (step + 10))
        training_state.update_ema(training_state.ema_tensors(ema_model, model), torch.tensor(decay))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * value
            else:
                expected[name] = value.clone()
    for name, value in ema_model.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name


def test_an_ema_decay_of_zero_copies_the_weights():
    model, ema_model = nn.Linear(2, 2), nn.Linear(2, 2)
    decay = training_state.ema_decay(replace(TINY, ema_decay=0.0), 100)
    training_state.update_ema(training_state.ema_tensors(ema_model, model), torch.tensor(decay))
    assert equal(model.state_dict(), ema_model.state_dict())


def some_batch(count: int = 9) -> batches.Batch:
    """Faces, of which the first has no label and the second no votes."""
    samples = tiny.samples(count)
    samples.labels[0], samples.votes[1] = -1, 0
    return batches.to_device(samples, TINY, CPU)


def test_losses_match_torch():
    torch.manual_seed(0)
    batch, logits = some_batch(), torch.randn(9, LOGIT_COUNT)
    config = replace(TINY, label_smoothing=0.1, label_weight=0.7, vote_weight=1.3)
    loss, (label_loss, vote_loss, accuracy) = compute_losses(logits, batch, config, [])
    hard = batch.labels.argmax(1)
    each = F.cross_entropy(logits[:, :7], hard, label_smoothing=0.1, reduction="none")
    assert label_loss.item() == pytest.approx((each * batch.label_weights).sum().item() / 9)
    soft = F.cross_entropy(logits[:, 7:], batch.votes, reduction="none")
    assert vote_loss.item() == pytest.approx((soft * batch.vote_weights).sum().item() / 9)
    assert loss.item() == pytest.approx((0.7 * label_loss + 1.3 * vote_loss).item())
    assert 0 <= accuracy <= 1


def test_the_mean_loss_of_two_halves_is_the_loss_of_the_batch():
    batch, logits = some_batch(8), torch.randn(8, LOGIT_COUNT)
    whole, _ = compute_losses(logits, batch, TINY, [])
    halves = [compute_losses(logits[k], batch.select(k), TINY, [])[0]
              for k in (slice(0, 4), slice(4, 8))]  # fmt: skip
    assert whole.item() == pytest.approx(torch.stack(halves).mean().item())


def test_auto_precision_is_bfloat16_on_cuda_and_on_cpus_with_amx(monkeypatch):
    auto = replace(TINY, precision="auto")
    for has_amx in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda has=has_amx: has)
        assert use_bfloat16(auto, CPU) is has_amx
        assert use_bfloat16(auto, torch.device("cuda"))
    assert use_bfloat16(replace(TINY, precision="bfloat16"), CPU)
    assert not use_bfloat16(replace(TINY, precision="float32"), CPU)


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_distillation_is_the_cross_entropy_with_the_mean_of_the_teachers(tta):
    torch.manual_seed(0)
    batch = replace(some_batch(4), faces=torch.randn(4, 1, 40, 40))
    teachers = [models.build("resnet-8", channels=1, classes=15).eval() for _ in range(2)]
    config = replace(
        TINY, teachers=("a", "b"), teacher_weight=0.25, teacher_temperature=2.0, vote_weight=0.5,
        teacher_tta=tta,
    )  # fmt: skip
    logits = torch.randn(4, 15)
    plain, _ = compute_losses(logits, batch, config, [])
    distilled, _ = compute_losses(logits, batch, config, teachers)
    expected = torch.zeros(())
    with torch.no_grad():
        for part, weight in ((HEADS["labels"], 1.0), (HEADS["votes"], 0.5)):
            inputs = [batch.faces, batch.faces.flip(-1)][: 2 if tta == "flip" else 1]
            each = [(t(faces)[:, part] / 2).softmax(1) for t in teachers for faces in inputs]
            target = torch.stack(each).mean(0)
            loss = F.cross_entropy(logits[:, part] / 2, target)
            expected = expected + weight * 2**2 * loss  # times the temperature squared
    assert distilled.item() == pytest.approx((0.75 * plain + 0.25 * expected).item(), rel=1e-5)


def test_weight_decay_excludes_norms_and_biases():
    for optimizer in ("sgd", "adamw"):
        state = training_state.create(replace(TINY, optimizer=optimizer, weight_decay=0.01), CPU)
        decayed, free = state.optimizer.param_groups
        assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0)
        assert all(p.ndim > 1 for p in decayed["params"])
        assert all(p.ndim == 1 for p in free["params"])
        both = len(decayed["params"]) + len(free["params"])
        assert both == len(list(state.model.parameters()))


def test_gradient_clipping_bounds_the_step(root, tmp_path):
    def moved(clip: float) -> float:
        config = replace(
            TINY,
            clip_grad=clip,
            momentum=0.9,
            weight_decay=0.0,
            warmup_epochs=0.0,
            batch_size=42,
            lr=1.0,
        )
        state = training_state.create(config, CPU)
        before = [p.detach().clone() for p in state.model.parameters()]
        dataset = batches.to_device(data.load(root)["train"], config, CPU)
        step = Step(state.model, state, dataset, config, [])
        inputs = train.epoch_inputs(state, config, lr_schedule.NO_LIMIT, step, None)
        train.train_epoch(step, inputs, 0, lambda *_: None)
        pairs = zip(before, state.model.parameters(), strict=True)
        return math.sqrt(sum((a - b).square().sum().item() for a, b in pairs))

    # An epoch of 44 faces has one step of 42. With Nesterov momentum and lr 1, it moves the weights
    # by (1 + momentum) times the clipped gradient.
    assert moved(1e-3) == pytest.approx(1.9e-3, rel=1e-2)
    assert moved(0.0) > 0.1


def test_distillation_brings_a_student_closer_to_its_teacher(learned, tmp_path):
    root, teacher_run = learned
    config = replace(FAST, seed=3, teachers=(str(teacher_run.folder),), teacher_weight=1.0)
    run = train.fit(config, root, tmp_path / "student", device="cpu")
    faces = data.load(root)["val"].faces
    teacher = inference.compute_logits(inference.load_network(teacher_run), faces, input_size=40)

    def divergence(model: nn.Module) -> float:
        student = inference.compute_logits(model.eval(), faces, input_size=40)
        return sum(
            F.kl_div(student[:, part].log_softmax(1), teacher[:, part].log_softmax(1),
                     log_target=True, reduction="batchmean").item()
            for part in HEADS.values()
        )  # fmt: skip

    fresh = training_state.create(config, CPU).model
    assert divergence(inference.load_network(run)) < 0.7 * divergence(fresh)


# Killed processes


KILLS = """
import json, os, random, signal, sys, time, warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

warnings.simplefilter("ignore")
import torch
import torch._dynamo  # the first step of an optimizer imports it: once for all children
from mien.io import atomic_file
from mien.lab import data, train
from mien.lab.config import RECIPES

torch.set_num_threads(1)
root, out, changes = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
config = replace(RECIPES["tiny"], **changes)
rng = random.Random(1)
straight, killed = out / "straight", out / "killed"
data.load(root)


def killing(name, when):
    # Replaces `atomic_file.atomic_write`: kills the process during or after writing a file.
    whole = atomic_file.atomic_write

    @contextmanager
    def writing(path):
        with whole(path) as temporary:
            yield temporary
            if path.name == name and when == "half":
                os.truncate(temporary, temporary.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
        if path.name == name:
            os.kill(os.getpid(), signal.SIGKILL)

    return writing


def start(folder, kill=None):
    # The parent computes nothing, so that forking is safe.
    pid = os.fork()
    if pid:
        return pid
    try:
        if kill:
            atomic_file.atomic_write = killing(*kill)
        train.fit(config, root, folder, device="cpu")
    except BaseException as error:
        print(type(error).__name__, error, file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


began = time.monotonic()
assert ended(start(straight)) == 0
needed = time.monotonic() - began
ends = []
for kill in [
    ("about.json", "half"), ("config.json", "half"), ("checkpoint.pt", "half"),
    ("checkpoint.pt", "done"), ("log.jsonl", "half"),
]:
    ends.append(ended(start(killed, kill)))
for _ in range(int(sys.argv[4])):
    pid = start(killed)
    time.sleep(rng.uniform(0, 0.7 * needed))
    os.kill(pid, signal.SIGKILL)
    ends.append(ended(pid))
ends.append(ended(start(killed, ("weights.pt", "half"))))
ends.append(ended(start(killed)))
print(json.dumps(ends))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("changes", "kills"),
    [
        ({"batch_size": 14, "epochs": 6, "select_epoch": "best", "cutmix": 0.5}, 6),
        ({"batch_size": 14, "epochs": 4, "optimizer": "adamw", "precision": "bfloat16"}, 2),
    ],
    ids=["sgd", "adamw"],
)
def test_a_run_killed_repeatedly_ends_with_the_same_bits(root, tmp_path, changes, kills):
    driver = write_script(tmp_path, KILLS)
    done = subprocess.run(
        [sys.executable, driver, root, tmp_path, json.dumps(changes), str(kills)],
        env=single_threaded(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert set(ends) <= {-signal.SIGKILL, 0}, done.stderr
    # Five while writing a file, and at least the first at a random time: later ones may come after
    # the end of the training.
    assert ends[:6] == [-signal.SIGKILL] * 6
    assert ends[-1] == 0
    assert not list(tmp_path.glob("killed/.mien-*"))
    straight, killed = (runs.open_run(tmp_path / name) for name in ("straight", "killed"))
    assert equal(weights(straight), weights(killed))
    assert [entry["epoch"] for entry in killed.log()] == list(range(1, changes["epochs"] + 1))
    for one, other in zip(straight.log(), killed.log(), strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_kill_between_checkpoint_and_log_loses_nothing(trained, root, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in trained.folder.iterdir():
        if path.name != "weights.pt":
            (folder / path.name).write_bytes(path.read_bytes())
    run = Run(folder)
    runs.write_log(run, run.log()[:-1])
    train.fit(TINY, root, folder, device="cpu")
    assert equal(weights(run), weights(trained))
    assert run.log() == trained.log()


# Several processes


DISTRIBUTED = """
import json, sys, warnings
from dataclasses import replace

warnings.simplefilter("ignore")
import torch
from torch import nn
from mien.lab import models, train
from mien.lab.heads import LOGIT_COUNT
from mien.lab.config import RECIPES

torch.set_num_threads(1)


class NormFree(nn.Module):
    # Batch norm would make the result depend on the number of processes.
    def __init__(self, classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5, 2), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU()
        )
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.layers(x).mean((2, 3)))


models.build = lambda name, *, classes, **_: NormFree(classes)
config = replace(RECIPES["tiny"], **json.loads(sys.argv[3]))
train.fit(config, sys.argv[1], sys.argv[2], device="cpu")
"""


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_match_one(root, tmp_path):
    driver = write_script(tmp_path, DISTRIBUTED)
    changes = {
        "batch_size": 14,
        "epochs": 3,
        "clip_grad": 1.0,
        "mixup": 0.3,
        "cutmix": 0.3,
        "patience": 2,
    }
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, how in (("one", []), ("two", launch)):
        done = subprocess.run(
            [sys.executable, *how, driver, root, tmp_path / name, json.dumps(changes)],
            env=single_threaded(), capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = (runs.open_run(tmp_path / name) for name in ("one", "two"))
    assert len(one.log()) == len(two.log()) == 3
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(two)[name], atol=1e-5), name
    assert one.log()[-1]["val_loss"] == pytest.approx(two.log()[-1]["val_loss"], abs=1e-4)
    # Training has changed the network, so the equality means something.
    assert abs(one.log()[0]["val_loss"] - one.log()[-1]["val_loss"]) > 1e-4


# Errors before the training


def test_an_unfinished_teacher_is_an_error(root, tmp_path):
    runs.create(tmp_path / "teacher", TINY)
    config = replace(TINY, teachers=(str(tmp_path / "teacher"),), teacher_weight=0.5)
    with pytest.raises(UserError, match="is not finished"):
        train.fit(config, root, tmp_path / "run", device="cpu")


def test_teachers_need_the_heads_of_the_student(root, tmp_path):
    labels = replace(TINY, epochs=1, vote_weight=0.0)
    teacher = train.fit(labels, root, tmp_path / "teacher", device="cpu")
    both = replace(TINY, epochs=1, teachers=(str(teacher.folder),), teacher_weight=0.5)
    with pytest.raises(UserError, match="vote_weight=0"):
        train.fit(both, root, tmp_path / "student", device="cpu")
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("changes", [{"patience": 1}, {"select_epoch": "best"}])
def test_selecting_an_epoch_needs_a_val_split_with_targets_of_a_trained_head(root, changes):
    splits, config = data.load(root), replace(TINY, vote_weight=0.0, **changes)
    assert checks.trainable_heads(config, splits) == ["labels"]
    with pytest.raises(UserError, match=r"has no val split, .* Set patience=0"):
        checks.trainable_heads(config, {"train": splits["train"]})
    without_labels = replace(splits["val"], labels=np.full(len(splits["val"]), -1))
    with pytest.raises(UserError, match=r"has no labels in its val split, .* Set patience=0"):
        checks.trainable_heads(config, splits | {"val": without_labels})


@pytest.mark.parametrize(
    ("device", "expected_text"), [("gpu", "'gpu'"), ("cuda", "cuda is not available")]
)
def test_an_unknown_or_unavailable_device_is_an_error(root, tmp_path, device, expected_text):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("CUDA is available")
    with pytest.raises(UserError, match=expected_text):
        train.fit(TINY, root, tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()


def test_sources_that_may_have_seen_evaluation_faces_are_an_error(root, tmp_path):
    teacher_run = train.fit(replace(TINY, epochs=1), root, tmp_path / "teacher", device="cpu")
    distilled = {"teachers": (str(teacher_run.folder),), "teacher_weight": 1.0}
    for changes in (distilled, {"init_from": str(teacher_run.folder)}):
        for other in ({"protocol": "kfold", "folds": 2}, {"protocol": "random10"}):
            with pytest.raises(UserError, match="evaluation faces"):
                train.fit(replace(TINY, **changes, **other), root, tmp_path / "x", device="cpu")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("changes", "expected_text"),
    [
        ({"model": "rsnet-8"}, "Did you mean 'resnet-8'"),
        (
            {"model": "vgg19-slim", "input_size": 8, "initial_size": 0},
            "vgg19-slim.* 8 pixels",
        ),
        ({"pretrained": True}, "no pretrained weights"),
    ],
)
def test_an_invalid_config_leaves_no_folder_and_the_same_random_state(
    root, tmp_path, changes, expected_text
):
    state = torch.get_rng_state()
    with pytest.raises(UserError, match=expected_text):
        train.fit(replace(TINY, **changes), root, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert torch.equal(torch.get_rng_state(), state)


def test_initializing_from_an_unfinished_run_is_an_error(root, tmp_path):
    runs.create(tmp_path / "half", TINY)
    with pytest.raises(UserError, match="half is not finished"):
        train.fit(replace(TINY, init_from=str(tmp_path / "half")), root, tmp_path / "run")
    assert not (tmp_path / "run").exists()
