"""A recipe -> a run folder. The loop stands here in full, for one process or many.

    mien train default --data DIR --out runs/default
    torchrun --nproc-per-node=4 -m mien train default --data DIR --out runs/default

Epochs end with a checkpoint (on a GPU, not each of them), and everything random is a function of
the seed and the epoch's number: a run that is killed and started again ends with the same weights,
bit for bit on the CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import (
    augmentation,
    batches,
    checks,
    data,
    evaluate,
    lr_schedule,
    processes,
    protocols,
    runs,
    training_state,
)
from mien.lab.config import Config
from mien.lab.data import Samples
from mien.lab.heads import HEADS
from mien.lab.lr_schedule import Clock
from mien.lab.runs import Run
from mien.lab.teacher_logits import StoredAnswers
from mien.lab.training_state import State
from mien.lab.training_step import Plan, Step

Watcher = Callable[[str, int, int], None]
"""Told "step" or "epoch", how many are done, and how many there are."""


ASKED = 50
"""Steps after which a training is asked whether its loss is still finite."""

SAVE_EVERY = 60.0
"""Seconds between two checkpoints on a GPU; on the CPU there is one after each epoch."""

VALIDATE_EVERY = 5
"""Epochs from one measurement to the next on a GPU."""


def fit(
    config: Config,
    root: Path | str,
    out: Path | str,
    *,
    device: str | None = None,
    watch: Watcher | None = None,
    tensorboard: bool = False,
    seconds: float = math.inf,
) -> Run:
    """Train as the recipe says on the data at `root`.

    Args:
        config: of the training. Its protocol must give a split `train`; `val` is measured as the
            training goes on.
        root: the data.
        out: the run folder. An unfinished run of the same recipe there is resumed; a
            finished one is returned as it is.
        device: cpu, cuda or mps; by default the GPU if there is one.
        watch: told of steps and epochs.
        tensorboard: whether to write the log for TensorBoard, too.
        seconds: the training is finished in this time, with fewer epochs if it must be: the
            learning rate falls as the time or the epochs run out, whichever comes first.

    Returns:
        The run folder, finished.

    Raises:
        UserError: the data, the recipe and the folder do not fit together.
        runs.Busy: another process is at work on the same folder.
    """
    end = time.monotonic() + seconds
    whole = data.load(root)
    about, splits = data.describe(whole), protocols.divide(whole, config)
    known = {"data": about, "heads": checks.heads(config, splits)}
    if not Run(Path(out)).finished:
        checks.sources(config, about)
        checks.network(config)
    watch = watch or (lambda *_: None)
    with processes.joined(device) as (place, rank, world), ExitStack() as stack:
        if rank == 0:
            stack.enter_context(runs.locked(out))
            runs.start(Path(out), config, known)
        processes.wait(world)
        run = runs.open_run(out)
        if run.finished:
            return run
        _train(run, splits, place, rank, world, watch, tensorboard, end)
        processes.wait(world)
    return run


def _train(
    run: Run,
    splits: dict[str, Samples],
    device: torch.device,
    rank: int,
    world: int,
    watch: Watcher,
    tensorboard: bool,
    end: float,
) -> None:
    config = run.config
    train = batches.on_device(data.split(splits, "train"), config, device)
    torch.backends.cudnn.benchmark = True  # on a GPU: the fastest convolutions for these shapes
    state = training_state.prepare(config, device)
    training_state.load_checkpoint(run, state)
    saved = time.perf_counter()
    network = processes.parallel(state.model, config, device, world)
    stored = StoredAnswers(config, splits["train"]) if config.teacher_logits else None
    asked = () if stored else config.teachers
    teachers = [evaluate.load_network(runs.open_run(path), device) for path in asked]
    share = batches.faces_per_step(len(train.faces), config, world) // world
    part = slice(rank * share, (rank + 1) * share)
    step = Step(network, state, train, config, teachers, part)
    shown = torch.as_tensor(splits["val"].faces).to(device) if "val" in splits else None
    write = _tensorboard(run) if tensorboard and rank == 0 else None
    clock = Clock(sum(entry["seconds"] for entry in state.log), time.monotonic(), end)
    is_over = state.epoch == config.epochs or exhausted(state, config)
    while not is_over:
        began = time.perf_counter()
        watch("epoch", state.epoch, config.epochs)
        plan = planned(state, config, clock, step, stored, world)
        entry = train_epoch(step, plan, rank, watch)
        state.epoch += 1
        is_over = state.epoch == config.epochs or clock.is_last(time.perf_counter() - began)
        if rank == 0:
            if is_over or validates(config, state.epoch, device):
                entry |= validate(state.average, splits, config, shown)
            entry["seconds"] = round(time.perf_counter() - began, 3)
            state.log.append(entry)
            keep_best(state, config)
            is_over = is_over or exhausted(state, config)
            # A large network's epoch on a GPU takes no longer than writing it all down.
            if device.type == "cpu" or is_over or time.perf_counter() - saved > SAVE_EVERY:
                training_state.save_checkpoint(run, state)
                saved = time.perf_counter()
            if write:
                write(entry)
        # All must stop in the same epoch.
        state.log, is_over = processes.firsts((state.log, is_over), world)
    if rank == 0:
        runs.write_log(run, state.log)  # a kill after the last checkpoint left it an epoch short
        weights = state.average.state_dict() if state.best is None else state.best["weights"]
        with atomic_file.atomic_write(run.weights_file) as temporary:
            torch.save(weights, temporary)


def planned(
    state: State,
    config: Config,
    clock: Clock,
    step: Step,
    stored: StoredAnswers | None,
    world: int = 1,
) -> Plan:
    """What the steps of the next epoch need, on the device."""
    device, count = step.train.faces.device, len(step.train.faces)
    steps = batches.steps_per_epoch(count, config)
    shares = [k / steps for k in range(steps)]
    last = state.log[-1]["seconds"] if state.log else 0.0
    before, after = clock.progress(), clock.progress(last)
    rates = [
        config.lr * lr_schedule.rate_factor(state.epoch + s, config, before + s * (after - before))
        for s in shares
    ]
    keeps = [training_state.kept(config, state.step + k + 1) for k in range(steps)]
    shown = (stored.seed, stored.epoch(state.epoch)) if stored else None
    draws = augmentation.draw(config, count, state.epoch, device, world=world, shown=shown)
    targets = stored.targets(state.epoch) if stored else {}
    in_steps = {
        name: rows.view(steps, -1, rows.shape[1])[:, step.part].to(device)
        for name, rows in targets.items()
    }
    on_device = (torch.tensor(rates, device=device), torch.tensor(keeps, device=device))
    return Plan(draws, *on_device, in_steps)


def train_epoch(step: Step, plan: Plan, rank: int, watch: Watcher) -> dict:
    """One epoch of steps; its log entry, with means over the faces this process saw."""
    state, config, steps = step.state, step.config, len(plan.rates)
    step.begin(plan)
    state.model.train()
    # Dropout draws from torch's global generator; tie that, too, to the epoch.
    torch.manual_seed((config.seed * 100_003 + state.epoch) * 64 + rank)
    for k in range(steps):
        step()
        state.step += 1
        on_cpu = step.totals.device.type == "cpu"  # on a GPU each look is a wait
        is_asked = k + 1 == steps or (on_cpu and (k + 1) % ASKED == 0)
        if is_asked and not math.isfinite(step.totals[0].item()):
            raise UserError(
                f"The loss is no longer finite in epoch {state.epoch + 1}; lower the rate."
            )
        watch("step", k + 1, steps)
    loss, label_loss, vote_loss, accuracy = (step.totals / steps).tolist()
    return {
        "epoch": state.epoch + 1,
        "lr": plan.rates[-1].item(),
        "loss": loss,
        "label_loss": label_loss,
        "vote_loss": vote_loss,
        "accuracy": accuracy,
    }


def validates(config: Config, epoch: int, device: torch.device) -> bool:
    """Whether the network is measured after this many epochs.

    Always, but on a GPU, whose epochs are as short as a measurement, only now and then, unless
    the training goes by it.
    """
    if device.type == "cpu" or config.select_epoch == "best" or config.patience:
        return True
    return epoch % VALIDATE_EVERY == 0


def validate(
    model: nn.Module, splits: dict[str, Samples], config: Config, faces: Tensor | None = None
) -> dict:
    """The averaged network on PublicTest: losses in nats and accuracies, for the log.

    faces: those of the split `val`, where they lie on the device already.
    """
    if "val" not in splits:
        return {}
    samples = splits["val"]
    model.eval()
    shown = samples.faces if faces is None else faces
    answers = evaluate.compute_logits(
        model, shown, input_size=config.input_size, channels=config.channels
    )
    known = torch.as_tensor(samples.labels) >= 0
    said, labels = answers[known, HEADS["labels"]], torch.as_tensor(samples.labels)[known]
    found = {}
    if len(labels):
        found["val_loss"] = F.cross_entropy(said, labels).item()
        found["val_accuracy"] = (said.argmax(1) == labels).float().mean().item()
    targets, truth = torch.as_tensor(data.shares(samples.votes)), data.majority(samples.votes)
    votes = answers[:, HEADS["votes"]]
    if (asked := targets.sum(1) > 0).any():
        found["val_vote_loss"] = F.cross_entropy(votes[asked], targets[asked]).item()
    if (clear := truth >= 0).any():
        hit = votes.argmax(1).numpy()[clear] == truth[clear]
        found["val_majority_accuracy"] = float(np.mean(hit))
    return found


def val_loss(entry: dict, config: Config) -> float:
    """The PublicTest loss of a log entry, weighted as in training; infinite if there is none."""
    parts = ((config.label_weight, "val_loss"), (config.vote_weight, "val_vote_loss"))
    found = [weight * entry[name] for weight, name in parts if weight > 0 and name in entry]
    return sum(found) if found else math.inf


def exhausted(state: State, config: Config) -> bool:
    """Whether the recipe's patience has run out: so many epochs without a lower PublicTest loss."""
    if not config.patience or not state.log:
        return False
    seen = [val_loss(entry, config) for entry in state.log]
    return len(seen) - 1 - int(np.argmin(seen)) >= config.patience


def keep_best(state: State, config: Config) -> None:
    """Remember the averaged weights if the recipe keeps the best epoch and this is it."""
    if config.select_epoch != "best":
        return
    loss = val_loss(state.log[-1], config)
    if state.best is None or loss < state.best["loss"]:
        weights = {name: value.clone() for name, value in state.average.state_dict().items()}
        state.best = {"loss": loss, "weights": weights}


def _tensorboard(run: Run) -> Callable[[dict], None]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard needs tensorboard: in mien's folder, pip install '.[tensorboard]'."
        ) from None
    writer = SummaryWriter(run.folder)

    def write(entry: dict) -> None:
        for name, value in entry.items():
            if name != "epoch":
                writer.add_scalar(name, value, entry["epoch"])
        writer.flush()

    return write
