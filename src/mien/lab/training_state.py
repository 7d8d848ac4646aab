"""The state of a training (network, moving average, optimizer) and its checkpoints."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import file_checks, inference, models, runs
from mien.lab.config import Config
from mien.lab.heads import LOGIT_COUNT
from mien.lab.runs import Run


@dataclass(slots=True)
class State:
    """Everything that training changes; a checkpoint contains all of it.

    Attributes:
        model: The network.
        ema_model: A network with the exponential moving average of the weights of `model`.
        optimizer: The optimizer of `model`.
        epoch: Number of completed epochs.
        step: Number of completed steps over all epochs.
        log: One dictionary per completed epoch.
        best: `val` loss and averaged weights of the best epoch so far; None unless the config
            selects the best epoch.
    """

    model: nn.Module
    ema_model: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    log: list[dict] = field(default_factory=list)
    best: dict | None = None


def create(config: Config, device: torch.device) -> State:
    """Create the initial state. Its weights depend on the config only, including its seed."""
    torch.manual_seed(config.seed)
    model = models.build(
        config.model,
        channels=config.channels,
        classes=LOGIT_COUNT,
        dropout=config.dropout,
        pretrained=config.pretrained,
    )
    if config.init_from:
        inference.load_weights(model, runs.open_run(config.init_from))
    model = model.to(device)
    ema_model = copy.deepcopy(model).requires_grad_(False)
    return State(model, ema_model, _optimizer(model, config))


def _optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # With fused optimizers, a learning rate that is a tensor needs no synchronization.
    if config.optimizer == "adamw":
        on_gpu = weights[0].is_cuda
        return torch.optim.AdamW(groups, lr=config.lr, fused=True, capturable=on_gpu)
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, config.lr, config.momentum, nesterov=nesterov, fused=True)


EmaTensors = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]
"""Averaged and current floating-point tensors, then averaged and current integer counters.

The counters are those of the batches that batch norms have seen."""


def ema_tensors(ema_model: nn.Module, model: nn.Module) -> EmaTensors:
    """Collect the tensors for `update_ema`; call it once, as it takes longer than an update."""
    averaged, current = ema_model.state_dict(), model.state_dict()
    floating = [name for name, value in averaged.items() if value.is_floating_point()]
    counters = [name for name, value in averaged.items() if not value.is_floating_point()]
    return (
        [averaged[name] for name in floating],
        [current[name] for name in floating],
        [averaged[name] for name in counters],
        [current[name] for name in counters],
    )


@torch.no_grad()
def update_ema(tensors: EmaTensors, decay: Tensor) -> None:
    """Update the moving average: decay * average + (1 - decay) * current.

    The running statistics of batch norms are averaged like weights; counters are copied.
    """
    averaged, current, averaged_counters, current_counters = tensors
    torch._foreach_mul_(averaged, decay)
    torch._foreach_add_(averaged, torch._foreach_mul(current, 1 - decay))
    if averaged_counters:
        torch._foreach_copy_(averaged_counters, current_counters)


def ema_decay(config: Config, step: int) -> float:
    """The decay of the moving average in step `step` (from 1), which is smaller in early steps."""
    return min(config.ema_decay, step / (step + 10))


def save_checkpoint(run: Run, state: State) -> None:
    """Write the checkpoint and then the log, each atomically."""
    saved = {
        "model": state.model.state_dict(),
        "ema_model": state.ema_model.state_dict(),
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
    """Load the checkpoint of the run into `state`; without one, leave `state` unchanged.

    Raises:
        UserError: The checkpoint cannot be read, is damaged, or does not fit `state`.
    """
    if not run.checkpoint_file.exists():
        return
    saved = runs.load_tensors(run.checkpoint_file)
    try:
        for name in ("model", "ema_model", "optimizer"):
            getattr(state, name).load_state_dict(saved[name])
        _check_progress(saved)
        for name in ("epoch", "step", "log", "best"):
            setattr(state, name, saved[name])
    except Exception:  # torch raises many types of errors if the state does not fit
        raise UserError(
            f"{run.checkpoint_file} is damaged. Delete it to train from the beginning."
        ) from None


def _check_progress(saved: dict) -> None:
    """Raise a `ValueError` if counters, log or best weights of a checkpoint are damaged."""
    best = saved["best"]
    is_best_valid = best is None or (
        isinstance(best, dict)
        and file_checks.is_number(best["loss"])
        and isinstance(best["weights"], dict)
    )
    are_counters_valid = all(
        type(saved[name]) is int and file_checks.is_count(saved[name]) for name in ("epoch", "step")
    )
    if not (is_best_valid and are_counters_valid and file_checks.are_log_entries(saved["log"])):
        raise ValueError
    if len(saved["log"]) != saved["epoch"]:
        raise ValueError
