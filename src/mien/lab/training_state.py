"""All that changes in training: network, moving average, optimizer; and their checkpoints."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mien.io import atomic_file
from mien.lab import evaluate, models, runs
from mien.lab.config import Config
from mien.lab.heads import CLASSES
from mien.lab.runs import Run


@dataclass(slots=True)
class State:
    """All that changes in training, and so all that a checkpoint holds."""

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    log: list[dict] = field(default_factory=list)
    best: dict | None = None


def prepare(config: Config, device: torch.device) -> State:
    """A fresh network, its average and its optimizer; the weights depend on the seed alone."""
    torch.manual_seed(config.seed)
    model = models.build(
        config.model,
        channels=config.channels,
        classes=CLASSES,
        dropout=config.dropout,
        pretrained=config.pretrained,
    )
    if config.init_from:
        evaluate.load_weights(model, runs.open_run(config.init_from))
    model = model.to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    return State(model, average, _optimizer(model, config))


def _optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # Fused, they take the learning rate from a tensor without a look at its value.
    if config.optimizer == "adamw":
        on_gpu = weights[0].is_cuda
        return torch.optim.AdamW(groups, lr=config.lr, fused=True, capturable=on_gpu)
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, config.lr, config.momentum, nesterov=nesterov, fused=True)


Pairs = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
"""Averaged and current weights, averaged and current counters; each in the same order."""


def pairs(average: nn.Module, model: nn.Module) -> Pairs:
    """What `update_average` moves; collected once an epoch, for that takes longer than moving."""
    ours, theirs = average.state_dict(), model.state_dict()
    floating = [name for name, value in ours.items() if value.is_floating_point()]
    counters = [name for name in ours if name not in set(floating)]
    named = ((ours, floating), (theirs, floating), (ours, counters), (theirs, counters))
    return tuple([values[name] for name in names] for values, names in named)  # type: ignore[return-value]


@torch.no_grad()
def update_average(both: Pairs, keep: Tensor) -> None:
    """Move the averaged weights towards the model's: keep times the old, the rest of the new.

    The buffers of norms are averaged like weights; counters are copied.
    """
    ours, theirs, our_counters, their_counters = both
    torch._foreach_mul_(ours, keep)
    torch._foreach_add_(ours, torch._foreach_mul(theirs, 1 - keep))
    if our_counters:
        torch._foreach_copy_(our_counters, their_counters)


def kept(config: Config, step: int) -> float:
    """The share of the old average that step number `step` (from 1) keeps.

    Early on less, as there is little to keep; none where the recipe wants no average.
    """
    return min(config.ema_decay, step / (step + 10))


def save_checkpoint(run: Run, state: State) -> None:
    """Write all of `state`, at once, and then the log that a person reads."""
    saved = {
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "epoch": state.epoch,
        "step": state.step,
        "log": state.log,
        "best": state.best,
    }
    with atomic_file.atomic_write(run.checkpoint_file) as temporary:
        torch.save(saved, temporary)
    runs.write_log(run, state.log)


def load_checkpoint(run: Run, state: State) -> None:
    """Put the last checkpoint of the run, if it has one, into `state`."""
    if not run.checkpoint_file.exists():
        return
    saved = runs.load_tensors(run.checkpoint_file)
    for name in ("model", "average", "optimizer"):
        getattr(state, name).load_state_dict(saved[name])
    for name in ("epoch", "step", "log", "best"):
        setattr(state, name, saved[name])
