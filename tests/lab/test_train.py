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
from mien.lab import batches, data, evaluate, lr_schedule, models, runs, train, training_state
from mien.lab.config import RECIPES, Config
from mien.lab.heads import CLASSES, HEADS
from mien.lab.losses import losses
from mien.lab.runs import Run
from mien.lab.training_step import Step
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=2)
EAGER = replace(
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


def script(folder: Path, text: str) -> Path:
    path = folder / "driver.py"
    path.write_text(text)
    return path


def calm() -> dict[str, str]:
    """The environment for a child: one thread, and no news of other people's deprecations."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


# A run, end to end


def test_a_run_ends_with_weights_a_log_and_nothing_else(trained):
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


def test_the_log_is_what_the_restored_network_says(trained, root):
    val = data.load(root)["val"]
    answers = evaluate.compute_logits(
        evaluate.load_network(trained), val.faces, input_size=TINY.input_size
    )
    labels = torch.as_tensor(val.labels)
    found = F.cross_entropy(answers[:, HEADS["labels"]], labels).item()
    assert trained.log()[-1]["val_loss"] == pytest.approx(found, rel=1e-5)


def test_training_again_from_the_same_seed_gives_the_same_weights(trained, root, tmp_path):
    again = train.fit(TINY, root, tmp_path / "again", device="cpu")
    assert equal(weights(trained), weights(again))
    other = train.fit(replace(TINY, seed=1), root, tmp_path / "other", device="cpu")
    assert not equal(weights(trained), weights(other))


def test_a_finished_run_is_returned_untouched(trained, root):
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in trained.folder.iterdir()}
    assert train.fit(TINY, root, trained.folder) == trained
    after = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in trained.folder.iterdir()}
    assert before == after


def test_another_config_in_the_same_folder_is_refused(trained, root):
    with pytest.raises(UserError, match="holds a run of another config"):
        train.fit(replace(TINY, epochs=3), root, trained.folder)


def test_data_without_a_training_split_is_refused(tmp_path):
    folder = tiny.write_packed(tmp_path / "data", tiny.table(0, 14))
    with pytest.raises(UserError, match="has no split 'train'; it has val"):
        train.fit(TINY, folder, tmp_path / "run", device="cpu")


def test_data_without_val_and_without_votes_train_all_the_same(tmp_path):
    folder = tiny.write_csv(tmp_path / "data", tiny.table(28, 0), with_votes=False)
    run = train.fit(replace(TINY, epochs=1), folder, tmp_path / "run", device="cpu")
    assert run.finished
    (entry,) = run.log()
    assert entry["vote_loss"] == 0
    assert "val_loss" not in entry


def test_votes_that_name_no_emotion_in_val_leave_the_log_without_them(tmp_path):
    made = tiny.table(28, 7)
    made.votes[28:] = [0] * 8 + [9, 1]
    folder = tiny.write_csv(tmp_path / "data", made)
    run = train.fit(replace(TINY, epochs=1), folder, tmp_path / "run", device="cpu")
    assert all(math.isfinite(value) for value in run.log()[0].values())


def test_the_watcher_hears_of_every_epoch_and_step(root, tmp_path):
    heard = []
    train.fit(TINY, root, tmp_path, device="cpu", watch=lambda *said: heard.append(said))
    epoch = [("step", k, 3) for k in (1, 2, 3)]
    assert heard == [("epoch", 0, 2), *epoch, ("epoch", 1, 2), *epoch]


@pytest.fixture(scope="module")
def knowing(tmp_path_factory) -> tuple[Path, Run]:
    """Data, and a run that has learnt something of them."""
    folder = tiny.write_packed(tmp_path_factory.mktemp("more"), tiny.table(112, 28))
    return folder, train.fit(EAGER, folder, tmp_path_factory.mktemp("knowing"), device="cpu")


def test_a_network_learns_what_can_be_learnt(knowing):
    log = knowing[1].log()
    assert log[-1]["loss"] < 0.85 * log[0]["loss"]
    assert log[-1]["val_accuracy"] > 0.5


def test_an_exploding_rate_gets_one_sentence(root, tmp_path):
    with pytest.raises(UserError, match=r"no longer finite in epoch 1; lower the rate\.$"):
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
def test_every_option_trains_to_finite_numbers_of_its_own(root, trained, tmp_path, changes):
    config = replace(TINY, epochs=1, **changes)
    run = train.fit(config, root, tmp_path / "run", device="cpu")
    plain = train.fit(replace(TINY, epochs=1), root, tmp_path / "plain", device="cpu")
    assert all(math.isfinite(value) for value in run.log()[0].values())
    assert all(value.isfinite().all() for value in weights(run).values())
    assert all(value.dtype != torch.bfloat16 for value in weights(run).values())
    assert not equal(weights(run), weights(plain))


# The best epoch, and patience


def logged(values: list[float], **changes) -> tuple[training_state.State, Config]:
    config = replace(TINY, **changes)
    state = training_state.prepare(config, CPU)
    for number, value in enumerate(values):
        with torch.no_grad():
            for parameter in state.average.parameters():
                parameter.fill_(number)
        # Everything but val says that each epoch is better than the last.
        state.log.append({"epoch": number + 1, "loss": -number, "val_loss": value})
        train.keep_best(state, config)
    return state, config


def test_the_best_epoch_is_the_one_of_the_lowest_publictest_loss():
    state, _ = logged([3.0, 1.0, 2.0, 1.0], select_epoch="best")
    assert state.best["loss"] == 1.0
    assert all((w == 1).all() for w in state.best["weights"].values() if w.is_floating_point()
               and w.ndim > 1)  # fmt: skip
    assert logged([3.0, 1.0, 2.0], select_epoch="last")[0].best is None


@pytest.mark.parametrize(
    ("values", "patience", "over"),
    [
        ([3, 2, 1], 2, False),
        ([1, 2, 3], 2, True),
        ([1, 2], 2, False),
        ([3, 1, 2, 1], 2, True),
        ([1, 2, 3, 4, 5], 0, False),
        ([], 1, False),
    ],
)
def test_patience_counts_epochs_without_a_lower_publictest_loss(values, patience, over):
    state, config = logged(list(map(float, values)), patience=patience)
    assert train.exhausted(state, config) is over


def test_patience_and_best_never_look_at_privatetest(tmp_path):
    config = replace(TINY, select_epoch="best", patience=1, epochs=3, lr=0.3)
    kept = []
    for seed in (1, 2):
        made, other = tiny.table(28, 14, 14), tiny.table(28, 14, 14, seed=seed)
        made.faces[42:], made.votes[42:] = other.faces[42:], other.votes[42:]
        folder = tiny.write_packed(tmp_path / f"data{seed}", made)
        kept.append(train.fit(config, folder, tmp_path / f"run{seed}", device="cpu"))
    assert equal(*map(weights, kept))
    assert kept[0].log()[-1]["val_loss"] == kept[1].log()[-1]["val_loss"]


def test_keeping_the_best_writes_the_weights_of_that_epoch(root, tmp_path):
    config = replace(TINY, select_epoch="best", epochs=4, lr=1.0, ema_decay=0.0)
    run = train.fit(config, root, tmp_path / "run", device="cpu")
    losses = [entry["val_loss"] for entry in run.log()]
    val = data.load(root)["val"]
    answers = evaluate.compute_logits(
        evaluate.load_network(run), val.faces, input_size=config.input_size
    )
    found = F.cross_entropy(answers[:, :7], torch.as_tensor(val.labels)).item()
    assert found == pytest.approx(min(losses), rel=1e-4)


# Its parts


def test_faces_without_a_label_count_neither_as_right_nor_as_wrong(root):
    splits, config = data.load(root), replace(TINY, epochs=1)
    val = splits["val"]
    known = np.arange(len(val)) % 3 > 0
    model = models.build(config.model, channels=1, classes=CLASSES)
    half = replace(val, labels=np.where(known, val.labels, -1))
    found = train.validate(model, {"val": half}, config)
    alone = train.validate(model, {"val": val.take(known)}, config)
    assert found["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-5)
    assert found["val_accuracy"] == pytest.approx(alone["val_accuracy"])
    none = train.validate(model, {"val": replace(val, labels=val.labels * 0 - 1)}, config)
    assert not {"val_loss", "val_accuracy"} & set(none)


def test_the_rate_rises_in_a_line_and_falls_in_half_a_cosine():
    config = Config(epochs=10, warmup_epochs=2.0)
    assert lr_schedule.rate_factor(0, config) == pytest.approx(0.0005)
    assert lr_schedule.rate_factor(1, config) == pytest.approx(0.5, abs=1e-3)
    assert lr_schedule.rate_factor(2, config) == 1
    assert lr_schedule.rate_factor(6, config) == pytest.approx(0.5)
    assert lr_schedule.rate_factor(4, config) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert lr_schedule.rate_factor(10, config) == pytest.approx(0, abs=1e-12)
    assert lr_schedule.rate_factor(0, replace(config, warmup_epochs=0.0)) == 1
    assert lr_schedule.rate_factor(1.5, Config(epochs=1, warmup_epochs=2.0)) == pytest.approx(
        0.75, abs=1e-3
    )


def test_a_constant_rate_falls_by_a_square_root_at_the_end():
    config = Config(epochs=12, warmup_epochs=2.0, lr_schedule="constant", cooldown_fraction=0.2)
    assert lr_schedule.rate_factor(1, config) == pytest.approx(0.5, abs=1e-3)
    assert lr_schedule.rate_factor(2, config) == lr_schedule.rate_factor(10, config) == 1
    assert lr_schedule.rate_factor(10.5, config) == pytest.approx(0.5)
    assert lr_schedule.rate_factor(12, config) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_time_that_runs_out_lowers_the_rate_as_epochs_do(kind):
    config = Config(epochs=10, warmup_epochs=0.0, lr_schedule=kind)
    for share in (0.0, 0.3, 0.8, 0.95, 1.0):
        by_epochs = lr_schedule.rate_factor(10 * share, config)
        assert lr_schedule.rate_factor(0, config, share) == pytest.approx(by_epochs, abs=1e-6)
        assert lr_schedule.rate_factor(10 * share, config, share / 2) == pytest.approx(by_epochs)
    assert lr_schedule.rate_factor(0, replace(config, warmup_epochs=2.0), 1.0) == pytest.approx(
        0, abs=1e-7
    )


def test_a_clock_counts_what_was_spent_before_it():
    now = time.monotonic()
    clock = lr_schedule.Clock(spent=30, start=now - 20, end=now + 50)
    assert clock.progress() == pytest.approx(0.5, abs=0.01)
    assert clock.progress(25) == pytest.approx(0.75, abs=0.01)
    assert clock.progress(1000) == 1
    assert not clock.is_last(40)
    assert clock.is_last(60)
    assert lr_schedule.NO_LIMIT.progress(1000) == 0
    assert not lr_schedule.NO_LIMIT.is_last(1e9)


class FakeTime:
    """A clock on which a tenth of a second passes with each look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 0.1
        return self.now

    perf_counter = monotonic


@pytest.mark.parametrize("kind", ["cosine", "constant"])
def test_a_training_ends_in_its_time_with_a_rate_that_has_fallen(root, tmp_path, monkeypatch, kind):
    clock = FakeTime()
    for module in (train, lr_schedule):
        monkeypatch.setattr(module, "time", clock)
    config = replace(TINY, epochs=99_999, warmup_epochs=0.0, lr_schedule=kind)
    run = train.fit(config, root, tmp_path / "run", device="cpu", seconds=12)
    assert clock.now < 13
    rates = [entry["lr"] for entry in run.log()]
    assert run.finished
    assert 10 < len(rates) < config.epochs
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.25 * config.lr
    assert "val_accuracy" in run.log()[-1]


def test_a_training_with_time_to_spare_is_as_without_a_limit_at_its_end(root, tmp_path):
    run = train.fit(TINY, root, tmp_path / "run", device="cpu", seconds=3600)
    assert [entry["epoch"] for entry in run.log()] == [1, 2]


def test_the_average_is_the_one_of_a_loop_by_hand():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    average = copy.deepcopy(model)
    expected = {k: v.clone() for k, v in model.state_dict().items()}
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(5, 3))
        keep = training_state.kept(replace(TINY, ema_decay=0.7), step)
        assert keep == min(0.7, step / (step + 10))
        training_state.update_average(training_state.pairs(average, model), torch.tensor(keep))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = keep * expected[name] + (1 - keep) * value
            else:
                expected[name] = value.clone()
    for name, value in average.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name


def test_without_an_average_the_weights_are_the_models():
    model, average = nn.Linear(2, 2), nn.Linear(2, 2)
    keep = training_state.kept(replace(TINY, ema_decay=0.0), 100)
    training_state.update_average(training_state.pairs(average, model), torch.tensor(keep))
    assert equal(model.state_dict(), average.state_dict())


def some_batch(count: int = 9) -> batches.Batch:
    samples = tiny.samples(count)
    samples.labels[0], samples.votes[1] = -1, 0
    return batches.on_device(samples, TINY, CPU)


def test_the_losses_are_torchs_own():
    torch.manual_seed(0)
    batch, answers = some_batch(), torch.randn(9, 15)
    config = replace(TINY, label_smoothing=0.1, label_weight=0.7, vote_weight=1.3)
    loss, (label_loss, vote_loss, accuracy) = losses(answers, batch, config, [])
    hard = batch.labels.argmax(1)
    each = F.cross_entropy(answers[:, :7], hard, label_smoothing=0.1, reduction="none")
    assert label_loss.item() == pytest.approx((each * batch.label_weights).sum().item() / 9)
    soft = F.cross_entropy(answers[:, 7:], batch.votes, reduction="none")
    assert vote_loss.item() == pytest.approx((soft * batch.vote_weights).sum().item() / 9)
    assert loss.item() == pytest.approx((0.7 * label_loss + 1.3 * vote_loss).item())
    assert 0 <= accuracy <= 1


def test_the_mean_over_two_halves_is_the_loss_of_the_whole():
    batch, answers = some_batch(8), torch.randn(8, 15)
    whole, _ = losses(answers, batch, TINY, [])
    halves = [losses(answers[k], batch.take(k), TINY, [])[0]
              for k in (slice(0, 4), slice(4, 8))]  # fmt: skip
    assert whole.item() == pytest.approx(torch.stack(halves).mean().item())


@pytest.mark.parametrize("views", ["none", "flip"])
def test_a_lesson_is_the_cross_entropy_with_the_teachers_mean(views):
    torch.manual_seed(0)
    batch = replace(some_batch(4), faces=torch.randn(4, 1, 40, 40))
    teachers = [models.build("resnet-8", channels=1, classes=15).eval() for _ in range(2)]
    config = replace(
        TINY, teachers=("a", "b"), teacher_weight=0.25, teacher_temperature=2.0, vote_weight=0.5,
        teacher_tta=views,
    )  # fmt: skip
    answers = torch.randn(4, 15)
    plain, _ = losses(answers, batch, config, [])
    taught, _ = losses(answers, batch, config, teachers)
    lesson = torch.zeros(())
    with torch.no_grad():
        for part, weight in ((slice(0, 7), 1.0), (slice(7, 15), 0.5)):
            seen = [batch.faces, batch.faces.flip(-1)][: 2 if views == "flip" else 1]
            each = [(t(faces)[:, part] / 2).softmax(1) for t in teachers for faces in seen]
            said = torch.stack(each).mean(0)
            lesson = lesson + weight * F.cross_entropy(answers[:, part] / 2, said) * 4
    assert taught.item() == pytest.approx((0.75 * plain + 0.25 * lesson).item(), rel=1e-5)


def test_weights_decay_but_norms_and_biases_do_not():
    for optimizer in ("sgd", "adamw"):
        state = training_state.prepare(replace(TINY, optimizer=optimizer, weight_decay=0.01), CPU)
        decayed, free = state.optimizer.param_groups
        assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0)
        assert all(p.ndim > 1 for p in decayed["params"])
        assert all(p.ndim == 1 for p in free["params"])
        both = len(decayed["params"]) + len(free["params"])
        assert both == len(list(state.model.parameters()))


def test_clipping_bounds_the_step(root, tmp_path):
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
        state = training_state.prepare(config, CPU)
        before = [p.detach().clone() for p in state.model.parameters()]
        placed = batches.on_device(data.load(root)["train"], config, CPU)
        step = Step(state.model, state, placed, config, [])
        plan = train.planned(state, config, lr_schedule.NO_LIMIT, step, None)
        train.train_epoch(step, plan, 0, lambda *_: None)
        pairs = zip(before, state.model.parameters(), strict=True)
        return math.sqrt(sum((a - b).square().sum().item() for a, b in pairs))

    # One Nesterov step at rate 1 moves by (1 + momentum) times the clipped gradient.
    assert moved(1e-3) == pytest.approx(1.9e-3, rel=1e-2)
    assert moved(0.0) > 0.1


def test_a_student_comes_nearer_to_its_teacher(knowing, tmp_path):
    root, master = knowing
    config = replace(EAGER, seed=3, teachers=(str(master.folder),), teacher_weight=1.0)
    run = train.fit(config, root, tmp_path / "student", device="cpu")
    faces = data.load(root)["val"].faces
    teacher = evaluate.compute_logits(evaluate.load_network(master), faces, input_size=40)

    def divergence(model: nn.Module) -> float:
        said = evaluate.compute_logits(model.eval(), faces, input_size=40)
        return sum(
            F.kl_div(said[:, part].log_softmax(1), teacher[:, part].log_softmax(1),
                     log_target=True, reduction="batchmean").item()
            for part in HEADS.values()
        )  # fmt: skip

    fresh = training_state.prepare(config, CPU).model
    assert divergence(evaluate.load_network(run)) < 0.7 * divergence(fresh)


def test_an_untrained_teacher_gets_one_sentence(root, tmp_path):
    runs.start(tmp_path / "teacher", TINY)
    config = replace(TINY, teachers=(str(tmp_path / "teacher"),), teacher_weight=0.5)
    with pytest.raises(UserError, match="is not finished"):
        train.fit(config, root, tmp_path / "run", device="cpu")


# Kills


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
recipe = replace(RECIPES["tiny"], **changes)
dice = random.Random(1)
straight, killed = out / "straight", out / "killed"
data.load(root)


def deadly(name, when):
    # Replaces `atomic_file.atomic_write`: the process dies with a file half written, or just after.
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


def start(folder, death=None):
    # A process of its own; the parent never computes, so that a fork is clean.
    pid = os.fork()
    if pid:
        return pid
    try:
        if death:
            atomic_file.atomic_write = deadly(*death)
        train.fit(recipe, root, folder, device="cpu")
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
for death in [
    ("about.json", "half"), ("config.json", "half"), ("checkpoint.pt", "half"),
    ("checkpoint.pt", "done"), ("log.jsonl", "half"),
]:
    ends.append(ended(start(killed, death)))
for _ in range(int(sys.argv[4])):
    pid = start(killed)
    time.sleep(dice.uniform(0, 0.7 * needed))
    os.kill(pid, signal.SIGKILL)
    ends.append(ended(pid))
ends.append(ended(start(killed, ("weights.pt", "half"))))
ends.append(ended(start(killed)))
print(json.dumps(ends))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the killer forks")
@pytest.mark.parametrize(
    ("changes", "kills"),
    [
        ({"batch_size": 14, "epochs": 6, "select_epoch": "best", "cutmix": 0.5}, 6),
        ({"batch_size": 14, "epochs": 4, "optimizer": "adamw", "precision": "bfloat16"}, 2),
    ],
    ids=["sgd", "adamw"],
)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(
    root, tmp_path, changes, kills
):
    driver = script(tmp_path, KILLS)
    done = subprocess.run(
        [sys.executable, driver, root, tmp_path, json.dumps(changes), str(kills)],
        env=calm(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert set(ends) <= {-signal.SIGKILL, 0}, done.stderr
    assert ends[:6] == [-signal.SIGKILL] * 6
    assert ends[-1] == 0
    straight, killed = (runs.open_run(tmp_path / name) for name in ("straight", "killed"))
    assert equal(weights(straight), weights(killed))
    assert [entry["epoch"] for entry in killed.log()] == list(range(1, changes["epochs"] + 1))
    for one, other in zip(straight.log(), killed.log(), strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_kill_between_the_last_checkpoint_and_the_log_loses_nothing(trained, root, tmp_path):
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


# Many processes


TOGETHER = """
import json, sys, warnings
from dataclasses import replace

warnings.simplefilter("ignore")
import torch
from torch import nn
from mien.lab import models, train
from mien.lab.heads import CLASSES
from mien.lab.config import RECIPES

torch.set_num_threads(1)


class NormFree(nn.Module):
    # Batch norm would make the result depend on how the batch is cut.
    def __init__(self, classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5, 2), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU()
        )
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.layers(x).mean((2, 3)))


models.build = lambda name, *, classes, **_: NormFree(classes)
recipe = replace(RECIPES["tiny"], **json.loads(sys.argv[3]))
train.fit(recipe, sys.argv[1], sys.argv[2], device="cpu")
"""


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_train_what_one_does(root, tmp_path):
    driver = script(tmp_path, TOGETHER)
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
            env=calm(), capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = (runs.open_run(tmp_path / name) for name in ("one", "two"))
    assert len(one.log()) == len(two.log()) == 3
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(two)[name], atol=1e-5), name
    assert one.log()[-1]["val_loss"] == pytest.approx(two.log()[-1]["val_loss"], abs=1e-4)
    assert abs(one.log()[0]["val_loss"] - one.log()[-1]["val_loss"]) > 1e-4


def test_what_may_know_the_judging_faces_is_refused(root, tmp_path):
    master = train.fit(replace(TINY, epochs=1), root, tmp_path / "master", device="cpu")
    taught = {"teachers": (str(master.folder),), "teacher_weight": 1.0}
    for wanted in (taught, {"init_from": str(master.folder)}):
        for other in ({"protocol": "kfold", "folds": 2}, {"protocol": "random10"}):
            with pytest.raises(UserError, match="may know the faces that judge here"):
                train.fit(replace(TINY, **wanted, **other), root, tmp_path / "x", device="cpu")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "rsnet-8"}, "Did you mean 'resnet-8'"),
        (
            {"model": "vgg19-slim", "input_size": 8, "initial_size": 0},
            "vgg19-slim cannot look at 8 pixels",
        ),
        ({"pretrained": True}, "no pretrained weights"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(root, tmp_path, changes, said):
    state = torch.get_rng_state()
    with pytest.raises(UserError, match=said):
        train.fit(replace(TINY, **changes), root, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert torch.equal(torch.get_rng_state(), state)


def test_nobody_starts_from_what_is_not_finished(root, tmp_path):
    runs.start(tmp_path / "half", TINY)
    with pytest.raises(UserError, match="half is not finished"):
        train.fit(replace(TINY, init_from=str(tmp_path / "half")), root, tmp_path / "run")
    assert not (tmp_path / "run").exists()
