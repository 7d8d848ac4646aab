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
from torch import nn
from torch.nn import functional as F

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import batches, checks, data, evaluate, processes, protocols, runs, states
from mien.lab.batches import Batch
from mien.lab.data import Samples
from mien.lab.heads import HEADS
from mien.lab.losses import bfloat16, losses
from mien.lab.recipe import Recipe
from mien.lab.runs import Run
from mien.lab.states import State
from mien.lab.teacher_answers import StoredAnswers

Watcher = Callable[[str, int, int], None]
"""Told "step" or "epoch", how many are done, and how many there are."""


ASKED = 50
"""Steps after which a training is asked whether its loss is still finite."""

SAVE_EVERY = 30.0
"""Seconds between two checkpoints on a GPU; on the CPU there is one after each epoch."""


def fit(
    recipe: Recipe,
    root: Path | str,
    out: Path | str,
    *,
    device: str | None = None,
    watch: Watcher | None = None,
    tensorboard: bool = False,
) -> Run:
    """Train as the recipe says on the data at `root`; the run folder `out`, finished.

    A folder with an unfinished run of the same recipe is gone on with; a finished one is
    returned as it is. The recipe's protocol must give a `train` split; `val` is measured after
    each epoch. Raises `runs.Busy` if another process is at work on the same folder.
    """
    whole = data.load(root)
    about = data.describe(whole)
    if not Run(Path(out)).finished:
        checks.sources(recipe, about)
        checks.network(recipe)
    splits = protocols.divide(whole, recipe)
    watch = watch or (lambda *_: None)
    with processes.joined(device) as (place, rank, world), ExitStack() as stack:
        if rank == 0:
            known = {"data": about, "heads": checks.heads(recipe, splits)}
            stack.enter_context(runs.locked(out))
            runs.start(Path(out), recipe, known)
        processes.wait(world)
        run = runs.open_run(out)
        if run.finished:
            return run
        _train(run, splits, place, rank, world, watch, tensorboard)
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
) -> None:
    recipe = run.recipe
    train = batches.on_device(data.split(splits, "train"), recipe, device)
    torch.backends.cudnn.benchmark = True  # on a GPU: the fastest convolutions for these shapes
    state = states.prepare(recipe, device)
    states.load_checkpoint(run, state)
    saved = time.perf_counter()
    network = processes.parallel(state.model, recipe, device, world)
    stored = StoredAnswers(recipe, splits["train"]) if recipe.stored_answers else None
    asked = () if stored else recipe.teachers
    teachers = [evaluate.restore(runs.open_run(path), device) for path in asked]
    write = _tensorboard(run) if tensorboard and rank == 0 else None
    while state.epoch < recipe.epochs and not exhausted(state, recipe):
        began = time.perf_counter()
        watch("epoch", state.epoch, recipe.epochs)
        state.model.train()
        # Dropout draws from torch's global generator; tie that, too, to the epoch.
        torch.manual_seed((recipe.seed * 100_003 + state.epoch) * 64 + rank)
        entry = train_epoch(network, state, train, recipe, teachers, rank, world, watch, stored)
        state.epoch += 1
        if rank == 0:
            entry |= validate(state.average, splits, recipe)
            entry["seconds"] = round(time.perf_counter() - began, 3)
            state.log.append(entry)
            keep_best(state, recipe)
            # A large network's epoch on a GPU takes no longer than writing it all down.
            is_last = state.epoch == recipe.epochs or exhausted(state, recipe)
            if device.type == "cpu" or is_last or time.perf_counter() - saved > SAVE_EVERY:
                states.save_checkpoint(run, state)
                saved = time.perf_counter()
            if write:
                write(entry)
        # All must stop in the same epoch.
        state.log = processes.firsts(state.log, world)
    if rank == 0:
        runs.write_log(run, state.log)  # a kill after the last checkpoint left it an epoch short
        weights = state.average.state_dict() if state.best is None else state.best["weights"]
        with atomic_file.writing(run.weights_file) as temporary:
            torch.save(weights, temporary)


def train_epoch(
    network: nn.Module,
    state: State,
    train: Batch,
    recipe: Recipe,
    teachers: list[nn.Module],
    rank: int,
    world: int,
    watch: Watcher,
    stored: StoredAnswers | None = None,
) -> dict:
    """One epoch of steps on `state`; its log entry, with means over the faces this rank saw."""
    device = train.faces.device
    half = bfloat16(recipe, device)
    steps = batches.steps_per_epoch(len(train.faces), recipe)
    totals = torch.zeros(4, device=device)
    both = states.pairs(state.average, state.model)
    shown = (stored.seed, stored.epoch(state.epoch)) if stored else None
    targets = stored.targets(state.epoch) if stored else {}
    count = min(recipe.batch, len(train.faces)) // world * world
    dealt = batches.epoch(train, recipe, state.epoch, rank=rank, world=world, stored=shown)
    for step, batch in enumerate(dealt):
        mine = slice(
            step * count + rank * count // world, step * count + (rank + 1) * count // world
        )
        answered = {name: rows[mine].to(device) for name, rows in targets.items()}
        rate = recipe.rate * rate_factor((state.epoch + step / steps), recipe)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            # A mirrored crop has a strange stride order, and convolutions run faster in this one.
            answers = network(batch.faces.contiguous(memory_format=torch.channels_last)).float()
        loss, parts = losses(answers, batch, recipe, teachers, answered)
        loss = loss + getattr(state.model, "auxiliary", 0.0)  # what only some networks ask for
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if recipe.clip:
            nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip)
        state.optimizer.step()
        state.step += 1
        states.update_average(both, recipe.ema, state.step)
        totals += torch.stack([loss.detach(), *parts])
        # Asked now and then: on a GPU each time is a wait.
        if ((step + 1) % ASKED == 0 or step + 1 == steps) and not math.isfinite(totals[0].item()):
            raise UserError(
                f"The loss is no longer finite in epoch {state.epoch + 1}; lower the rate."
            )
        watch("step", step + 1, steps)
    loss, label_loss, vote_loss, accuracy = (totals / steps).tolist()
    return {
        "epoch": state.epoch + 1,
        "rate": rate,
        "loss": loss,
        "label_loss": label_loss,
        "vote_loss": vote_loss,
        "accuracy": accuracy,
    }


def validate(model: nn.Module, splits: dict[str, Samples], recipe: Recipe) -> dict:
    """The averaged network on PublicTest: losses in nats and accuracies, for the log."""
    if "val" not in splits:
        return {}
    samples = splits["val"]
    model.eval()
    answers = evaluate.logits(model, samples.faces, side=recipe.side, channels=recipe.channels)
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


def rate_factor(epoch: float, recipe: Recipe) -> float:
    """The learning rate as a share of its peak: a linear rise, then half a cosine to zero."""
    if epoch < recipe.warmup:
        return (epoch + 1e-3) / recipe.warmup
    done = (epoch - recipe.warmup) / max(recipe.epochs - recipe.warmup, 1e-9)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def val_loss(entry: dict, recipe: Recipe) -> float:
    """The PublicTest loss of a log entry, weighted as in training; infinite if there is none."""
    parts = ((recipe.label_weight, "val_loss"), (recipe.vote_weight, "val_vote_loss"))
    found = [weight * entry[name] for weight, name in parts if weight > 0 and name in entry]
    return sum(found) if found else math.inf


def exhausted(state: State, recipe: Recipe) -> bool:
    """Whether the recipe's patience has run out: so many epochs without a lower PublicTest loss."""
    if not recipe.patience or not state.log:
        return False
    seen = [val_loss(entry, recipe) for entry in state.log]
    return len(seen) - 1 - int(np.argmin(seen)) >= recipe.patience


def keep_best(state: State, recipe: Recipe) -> None:
    """Remember the averaged weights if the recipe keeps the best epoch and this is it."""
    if recipe.keep != "best":
        return
    loss = val_loss(state.log[-1], recipe)
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
