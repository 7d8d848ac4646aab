"""Train a network in one process or several: config and data -> run folder.

    mien train default --data DIR --out runs/default
    torchrun --nproc-per-node=4 -m mien train default --data DIR --out runs/default

Training writes a checkpoint after every epoch, on a GPU about once per minute. All random numbers
depend only on the seed, the number of the epoch and the rank of the process. Therefore a resumed
run ends with the same weights as an uninterrupted one; on the CPU they are bit-identical. This does
not hold with a time limit, by which the learning rate depends on the clock.
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
    inference,
    lr_schedule,
    processes,
    protocols,
    runs,
    training_state,
)
from mien.lab.config import Config
from mien.lab.data import Samples
from mien.lab.heads import HEADS
from mien.lab.lr_schedule import TimeBudget
from mien.lab.progress import ProgressCallback
from mien.lab.runs import Run
from mien.lab.teacher_logits import StoredLogits
from mien.lab.teachers import Teacher
from mien.lab.training_state import State
from mien.lab.training_step import EpochInputs, Step

CHECK_EVERY = 50
"""Steps between checks on the CPU that the loss is finite; elsewhere it is checked every epoch."""

SAVE_EVERY = 60.0
"""Minimum seconds between checkpoints on a GPU; on the CPU there is one after each epoch."""

VALIDATE_EVERY = 5
"""Epochs between evaluations on a GPU; see `should_validate`."""


def fit(
    config: Config,
    root: Path | str,
    out: Path | str,
    *,
    device: str | None = None,
    on_progress: ProgressCallback | None = None,
    tensorboard: bool = False,
    seconds: float = math.inf,
) -> Run:
    """Train a network.

    Args:
        config: Config of the training. Its protocol must provide a `train` split. If there is also
            a `val` split, the network is evaluated on it during training.
        root: Path of a dataset, in any format of `data.load`.
        out: The run folder. An unfinished run with the same config is resumed; a finished one is
            returned unchanged.
        device: "cpu", "cuda" or "mps"; None selects "cuda" if available, otherwise "cpu".
        on_progress: Called after every step and before every epoch.
        tensorboard: Write the log also in the format of TensorBoard.
        seconds: Time limit of this call; infinite for none. If it is too short for all epochs, the
            training has fewer epochs, and the learning rate decays with the time spent: to zero, or
            nearly if the last epoch would not fit.

    Returns:
        The finished run.

    Raises:
        UserError: The data, config, folder or device is invalid or does not fit the others,
            `tensorboard` is set but not installed, or the loss is not finite.
        runs.RunLocked: Another process is training in the same folder.

    Example:
        ```python
        run = fit(config.parse("tiny"), "fer2013/", "runs/tiny")
        ```
    """
    end = time.monotonic() + seconds
    dataset = data.load(root)
    description, splits = data.describe(dataset), protocols.split(dataset, config)
    about = {"data": description, "heads": checks.trainable_heads(config, splits)}
    if not Run(Path(out)).finished:  # the teachers of a finished run may be gone
        checks.check_sources(config, description)
        checks.check_network(config)
    on_progress = on_progress or (lambda *_: None)
    with processes.process_group(device) as (torch_device, rank, world_size), ExitStack() as stack:
        if rank == 0:
            stack.enter_context(runs.locked(out))
            runs.create(Path(out), config, about)
        processes.barrier(world_size)
        run = runs.open_run(out)
        if run.finished:
            return run
        _train(run, splits, torch_device, rank, world_size, on_progress, tensorboard, end)
        processes.barrier(world_size)
    return run


def _train(
    run: Run,
    splits: dict[str, Samples],
    device: torch.device,
    rank: int,
    world_size: int,
    on_progress: ProgressCallback,
    tensorboard: bool,
    end: float,
) -> None:
    config = run.config
    torch.backends.cudnn.benchmark = True  # choose the fastest algorithms for these shapes
    state = training_state.create(config, device)
    training_state.load_checkpoint(run, state)
    last_saved = time.perf_counter()
    step = _create_step(state, splits["train"], config, device, rank, world_size)
    stored = StoredLogits(config, splits["train"]) if config.teacher_logits else None
    val_faces = torch.as_tensor(splits["val"].faces).to(device) if "val" in splits else None
    write_to_tensorboard = _tensorboard_writer(run) if tensorboard and rank == 0 else None
    budget = TimeBudget(sum(entry.get("seconds", 0) for entry in state.log), time.monotonic(), end)
    is_finished = state.epoch == config.epochs or should_stop_early(state, config)
    while not is_finished:
        start = time.perf_counter()
        on_progress("epoch", state.epoch, config.epochs, state.log[-1] if state.log else None)
        inputs = epoch_inputs(state, config, budget, step, stored, world_size)
        entry = train_epoch(step, inputs, rank, on_progress)
        state.epoch += 1
        has_no_time = budget.has_no_time_for(epoch_seconds=time.perf_counter() - start)
        is_finished = state.epoch == config.epochs or has_no_time
        if rank == 0:
            if is_finished or should_validate(config, state.epoch, device):
                entry |= validate(state.ema_model, splits, config, val_faces)
            entry["seconds"] = round(time.perf_counter() - start, 3)
            state.log.append(entry)
            update_best(state, config)
            is_finished = is_finished or should_stop_early(state, config)
            # On a GPU an epoch can take less time than writing a checkpoint.
            is_due = time.perf_counter() - last_saved > SAVE_EVERY
            if device.type == "cpu" or is_finished or is_due:
                training_state.save_checkpoint(run, state)
                last_saved = time.perf_counter()
            if write_to_tensorboard:
                write_to_tensorboard(entry)
        # All processes must stop after the same epoch.
        state.log, is_finished = processes.broadcast((state.log, is_finished), world_size)
    if rank == 0:
        _write_result(run, state)


def _create_step(
    state: State, train: Samples, config: Config, device: torch.device, rank: int, world_size: int
) -> Step:
    """Create the training step of one of `world_size` processes."""
    faces = batches.to_device(train, config, device)
    network = processes.distribute(state.model, config, device, world_size)
    teacher_paths = () if config.teacher_logits else config.teachers
    teachers = [
        Teacher(inference.load_network(runs.open_run(path)), config, device)
        for path in teacher_paths
    ]
    local_count = batches.faces_per_step(len(train), config, world_size) // world_size
    local_rows = slice(rank * local_count, (rank + 1) * local_count)
    return Step(network, state, faces, config, teachers, local_rows)


def _write_result(run: Run, state: State) -> None:
    """Write the final log and the resulting weights, which mark the run as finished."""
    # If an earlier process was killed after writing the last checkpoint and before its log, the log
    # file lacks entries, and no epoch is left that would write it.
    runs.write_log(run, state.log)
    weights = state.ema_model.state_dict() if state.best is None else state.best["weights"]
    with atomic_file.atomic_write(run.weights_file) as temporary:
        torch.save(weights, temporary)


def epoch_inputs(
    state: State,
    config: Config,
    budget: TimeBudget,
    step: Step,
    stored: StoredLogits | None,
    world_size: int = 1,
) -> EpochInputs:
    """The inputs of all steps of the next epoch, on the device of the training set.

    Args:
        state: The state of the training before the epoch.
        config: Config of the training.
        budget: Time limit of the training, by which the learning rate may decay faster.
        step: The training step, with the training set.
        stored: Stored logits of the teachers; None if there are none.
        world_size: Number of processes that share each batch.
    """
    device, count = step.train.faces.device, len(step.train.faces)
    steps = batches.steps_per_epoch(count, config)
    lrs = _learning_rates(state, config, budget, steps)
    ema_decays = [training_state.ema_decay(config, state.step + k + 1) for k in range(steps)]
    # Stored logits belong to the augmented faces of the epoch for which they were computed.
    repeat = (stored.seed, stored.epoch(state.epoch)) if stored else None
    parameters = augmentation.sample(
        config, count, state.epoch, device, world_size=world_size, repeat=repeat
    )
    targets = stored.targets(state.epoch) if stored else {}
    local_targets = {
        head: probabilities.view(steps, -1, probabilities.shape[1])[:, step.local_rows].to(device)
        for head, probabilities in targets.items()
    }
    return EpochInputs(
        parameters,
        torch.tensor(lrs, device=device),
        torch.tensor(ema_decays, device=device),
        local_targets,
    )


def _learning_rates(state: State, config: Config, budget: TimeBudget, steps: int) -> list[float]:
    """The learning rate of each step of the next epoch, if it takes as long as the previous one."""
    last_seconds = state.log[-1].get("seconds", 0.0) if state.log else 0.0
    now, after = budget.progress(), budget.progress(last_seconds)
    fractions = [k / steps for k in range(steps)]
    return [
        config.lr
        * lr_schedule.lr_factor(state.epoch + fraction, config, now + fraction * (after - now))
        for fraction in fractions
    ]


def train_epoch(step: Step, inputs: EpochInputs, rank: int, on_progress: ProgressCallback) -> dict:
    """Train for one epoch.

    Returns:
        The log entry of the epoch: its number from 1, the learning rate of the last step, and the
        losses and the accuracy of the label head as means over the faces of this process.

    Raises:
        UserError: The loss is not finite.
    """
    state, config, steps = step.state, step.config, len(inputs.lrs)
    step.start_epoch(inputs)
    state.model.train()
    # Dropout uses torch's global generator. The factors keep the seeds of different epochs (up to
    # 99,999) and ranks (up to 63) apart.
    torch.manual_seed((config.seed * 100_003 + state.epoch) * 64 + rank)
    for k in range(steps):
        step()
        state.step += 1
        on_cpu = step.totals.device.type == "cpu"  # on a GPU each check synchronizes
        is_check_due = k + 1 == steps or (on_cpu and (k + 1) % CHECK_EVERY == 0)
        if is_check_due and not math.isfinite(step.totals[0].item()):
            raise UserError(f"The loss is not finite in epoch {state.epoch + 1}. Set a lower lr.")
        on_progress("step", k + 1, steps)
    loss, label_loss, vote_loss, accuracy = (step.totals / steps).tolist()
    return {
        "epoch": state.epoch + 1,
        "lr": inputs.lrs[-1].item(),
        "loss": loss,
        "label_loss": label_loss,
        "vote_loss": vote_loss,
        "accuracy": accuracy,
    }


def should_validate(config: Config, epoch: int, device: torch.device) -> bool:
    """Whether to evaluate on `val` after epoch `epoch` (from 1), if it is not the last one.

    On a GPU an evaluation takes as long as an epoch. There, only every `VALIDATE_EVERY`-th epoch is
    evaluated, unless the training depends on the result. The last epoch is always evaluated.
    """
    if device.type == "cpu" or config.select_epoch == "best" or config.patience:
        return True
    return epoch % VALIDATE_EVERY == 0


def validate(
    model: nn.Module, splits: dict[str, Samples], config: Config, faces: Tensor | None = None
) -> dict:
    """Evaluate a network on `val`, for the log.

    Args:
        model: The network.
        splits: Split name -> samples.
        config: Config of the training.
        faces: The faces of `val` on the device of the network; None to copy them there.

    Returns:
        The `val_...` fields of a log entry: losses in nats, and accuracies. Without `val`, the
        dictionary is empty.
    """
    if "val" not in splits:
        return {}
    samples = splits["val"]
    model.eval()
    inputs = samples.faces if faces is None else faces
    logits = inference.compute_logits(
        model, inputs, input_size=config.input_size, channels=config.channels
    )
    return _label_scores(logits[:, HEADS["labels"]], samples) | _vote_scores(
        logits[:, HEADS["votes"]], samples
    )


def _label_scores(logits: Tensor, samples: Samples) -> dict:
    has_label = torch.as_tensor(samples.labels) >= 0
    logits, labels = logits[has_label], torch.as_tensor(samples.labels)[has_label]
    if not len(labels):
        return {}
    return {
        "val_loss": F.cross_entropy(logits, labels).item(),
        "val_accuracy": (logits.argmax(1) == labels).float().mean().item(),
    }


def _vote_scores(logits: Tensor, samples: Samples) -> dict:
    scores = {}
    targets = torch.as_tensor(data.shares(samples.votes))
    has_votes = targets.sum(1) > 0
    if has_votes.any():
        loss = F.cross_entropy(logits[has_votes], targets[has_votes])
        scores["val_vote_loss"] = loss.item()
    labels = data.majority(samples.votes)
    has_majority = labels >= 0
    if has_majority.any():
        correct = logits.argmax(1).numpy()[has_majority] == labels[has_majority]
        scores["val_majority_accuracy"] = float(np.mean(correct))
    return scores


def val_loss(entry: dict, config: Config) -> float:
    """The `val` loss of a log entry, weighted as in training; infinite for an entry without one."""
    weights = {"val_loss": config.label_weight, "val_vote_loss": config.vote_weight}
    losses = [weight * entry[key] for key, weight in weights.items() if weight > 0 and key in entry]
    return sum(losses) if losses else math.inf


def should_stop_early(state: State, config: Config) -> bool:
    """Whether the last `patience` epochs did not lower the `val` loss; False if `patience` is 0."""
    if not config.patience or not state.log:
        return False
    losses = [val_loss(entry, config) for entry in state.log]
    return len(losses) - 1 - int(np.argmin(losses)) >= config.patience


def update_best(state: State, config: Config) -> None:
    """Store the averaged weights in `state.best` if the last epoch has the lowest `val` loss yet.

    If the config does not select the best epoch, nothing is stored.
    """
    if config.select_epoch != "best":
        return
    loss = val_loss(state.log[-1], config)
    if state.best is None or loss < state.best["loss"]:
        weights = {name: value.clone() for name, value in state.ema_model.state_dict().items()}
        state.best = {"loss": loss, "weights": weights}


def _tensorboard_writer(run: Run) -> Callable[[dict], None]:
    """Return a function that writes a log entry in the format of TensorBoard to the run folder."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard needs tensorboard. Install it in the mien repository: "
            "pip install '.[tensorboard]'."
        ) from None
    writer = SummaryWriter(run.folder)

    def write(entry: dict) -> None:
        for name, value in entry.items():
            if name != "epoch":
                writer.add_scalar(name, value, entry["epoch"])
        writer.flush()

    return write
