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

from mien import atomic
from mien.errors import UserError
from mien.lab import batches, data, evaluate, models, processes, protocols, runs, states
from mien.lab.batches import Batch
from mien.lab.data import Samples
from mien.lab.losses import losses
from mien.lab.models import HEADS
from mien.lab.recipe import Recipe
from mien.lab.runs import Run
from mien.lab.states import State

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
        check_sources(recipe, about)
        check_network(recipe)
    splits = protocols.divide(whole, recipe)
    watch = watch or (lambda *_: None)
    with processes.joined(device) as (place, rank, world), ExitStack() as stack:
        if rank == 0:
            known = {"data": about, "heads": heads(recipe, splits)}
            stack.enter_context(runs.claimed(out))
            runs.start(Path(out), recipe, known)
        processes.wait(world)
        run = runs.open_run(out)
        if run.finished:
            return run
        _train(run, splits, place, rank, world, watch, tensorboard)
        processes.wait(world)
    return run


def check_network(recipe: Recipe) -> None:
    """Refuse a recipe whose network there is not, or which cannot look at what it would be shown.

    So nothing is begun in a folder that could not go on.
    """
    with torch.random.fork_rng(devices=[]):
        network = models.build(
            recipe.model, channels=recipe.channels, classes=models.CLASSES, dropout=recipe.dropout,
            pretrained=recipe.pretrained,
        ).eval()  # fmt: skip
    for side in {recipe.side, recipe.first_side or recipe.side}:
        try:
            with torch.no_grad():
                network(torch.zeros(2, recipe.channels, side, side))
        except RuntimeError as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise UserError(f"{recipe.model} cannot look at {side} pixels: {why}.") from None


def check_sources(recipe: Recipe, about: dict) -> None:
    """Refuse teachers and a start that may have been taught the faces which judge this run.

    about: the data, as `data.describe` gives it; where a protocol divides the faces anew, it must
    be the same. Only `leaky-kfold` goes on with a network across its parts; that is its mistake.
    Teachers must know every head that they are to teach.
    """
    if recipe.protocol == "leaky-kfold":
        return
    for path in (*recipe.teachers, *([recipe.start] if recipe.start else [])):
        if not runs.open_run(path).finished:
            raise UserError(f"{path} is not finished; `mien train` on the same --out goes on.")
        other = runs.open_run(path).recipe
        if _division(other) != _division(recipe):
            raise UserError(
                f"{path} was trained by {other.protocol}, part {other.fold}: it may know the faces "
                f"that judge here, by {recipe.protocol}, part {recipe.fold}."
            )
        if recipe.protocol != "official" and runs.open_run(path).about.get("data", about) != about:
            raise UserError(f"{path} was trained on other data, which {recipe.protocol} divided "
                            "otherwise: it may know the faces that judge here.")  # fmt: skip
    weights = {"labels": recipe.label_weight, "votes": recipe.vote_weight}
    for path in recipe.teachers:
        known = runs.open_run(path).about.get("heads", list(HEADS))
        if unknown := [name for name in HEADS if weights[name] > 0 and name not in known]:
            field = f"{unknown[0].removesuffix('s')}_weight"
            raise UserError(f"{path} was not taught {unknown[0]} and cannot teach them; set "
                            f"{field}=0.")  # fmt: skip


def _division(recipe: Recipe) -> tuple:
    """What says which faces teach and which judge."""
    parts = (recipe.fold, recipe.folds) if "kfold" in recipe.protocol else ()
    return (recipe.protocol, *parts)


def heads(recipe: Recipe, splits: dict[str, Samples]) -> list[str]:
    """The heads that have something to learn from the data; a `UserError` if there is none."""
    train = data.split(splits, "train")
    taught = recipe.teacher_weight > 0
    targets = {"labels": bool((train.labels >= 0).any()), "votes": train.voted}
    weights = {"labels": recipe.label_weight, "votes": recipe.vote_weight}
    found = [name for name in HEADS if weights[name] > 0 and (taught or targets[name])]
    if not found:
        raise UserError("The recipe gives weight only to labels or votes that the data lacks.")
    if (recipe.patience or recipe.keep == "best") and "val" not in splits:
        raise UserError("To pick an epoch needs a val split, which the data lacks.")
    return found


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
    teachers = [evaluate.restore(runs.open_run(path), device) for path in recipe.teachers]
    write = _tensorboard(run) if tensorboard and rank == 0 else None
    while state.epoch < recipe.epochs and not exhausted(state, recipe):
        began = time.perf_counter()
        watch("epoch", state.epoch, recipe.epochs)
        state.model.train()
        # Dropout draws from torch's global generator; tie that, too, to the epoch.
        torch.manual_seed((recipe.seed * 100_003 + state.epoch) * 64 + rank)
        entry = train_epoch(network, state, train, recipe, teachers, rank, world, watch)
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
        with atomic.writing(run.weights_file) as temporary:
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
) -> dict:
    """One epoch of steps on `state`; its log entry, with means over the faces this rank saw."""
    device = train.faces.device
    bfloat16 = recipe.precision == "bfloat16"
    steps = batches.steps_per_epoch(len(train.faces), recipe)
    totals = torch.zeros(4, device=device)
    both = states.pairs(state.average, state.model)
    for step, batch in enumerate(batches.epoch(train, recipe, state.epoch, rank=rank, world=world)):
        rate = recipe.rate * rate_factor((state.epoch + step / steps), recipe)
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            # A mirrored crop has a strange stride order, and convolutions run faster in this one.
            answers = network(batch.faces.contiguous(memory_format=torch.channels_last)).float()
        loss, parts = losses(answers, batch, recipe, teachers)
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
