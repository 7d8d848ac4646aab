"""A training step, which runs as a CUDA graph on a GPU.

A step of these small networks consists of about a thousand short kernels, which a GPU executes
faster than Python launches them. Therefore:

- The inputs of all steps of an epoch (augmentation, learning rate, EMA decay) are copied to the
  device before the epoch. A counter on the device selects those of the current step.
- Nothing in a step synchronizes with the host.
- On a CUDA GPU the step is captured once per face size (see progressive resizing,
  `batches.face_size`) and then replayed. On other devices, with several processes, or with
  `torch.compile`, the same function runs eagerly.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from mien.lab import augmentation, training_state
from mien.lab.augmentation import AugmentationParameters
from mien.lab.batches import Batch
from mien.lab.config import Config
from mien.lab.losses import compute_losses, use_bfloat16
from mien.lab.teachers import Teacher
from mien.lab.training_state import State

logger = logging.getLogger(__name__)

COMPARED_STEPS = 4
"""Number of steps that are run both eagerly and as a graph, to compare their losses."""

TOLERANCE = 0.02
"""Largest accepted relative difference between the eager and the replayed total loss.

GPU reductions are not deterministic, and bfloat16 enlarges the differences."""


@dataclass(slots=True)
class EpochInputs:
    """The inputs of the S steps of an epoch, on the device.

    Attributes:
        augmentation: Augmentation parameters of all steps.
        lrs: (S,) float32, learning rates.
        ema_decays: (S,) float32, decay of the EMA of the weights in each step.
        teacher_targets: Head -> (S, B, classes) mean probabilities of the teachers, from stored
            logits, for the B faces of this process; empty without stored logits.
    """

    augmentation: AugmentationParameters
    lrs: Tensor
    ema_decays: Tensor
    teacher_targets: dict[str, Tensor]

    def tensors(self) -> list[Tensor]:
        """All tensors, in a fixed order."""
        parameters = [
            getattr(self.augmentation, field.name) for field in fields(AugmentationParameters)
        ]
        return [*parameters, self.lrs, self.ema_decays, *self.teacher_targets.values()]

    def shapes(self) -> list[torch.Size]:
        """The shapes of all tensors."""
        return [tensor.shape for tensor in self.tensors()]


class Step:
    """A training step. Each call runs the next step of the epoch that `start_epoch` began.

    Args:
        network: The model of `state`, or a distributed or compiled wrapper of it.
        state: The state of the training, which each step changes.
        train: The training set on the device.
        config: Config of the training.
        teachers: Teachers that are called with every batch.
        local_rows: The rows of each batch that belong to this process.

    Attributes:
        totals: (4,) loss, label loss, vote loss and accuracy, summed over the steps of the epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        state: State,
        train: Batch,
        config: Config,
        teachers: Sequence[Teacher],
        local_rows: slice = slice(None),
    ) -> None:
        self.network, self.state, self.train = network, state, train
        self.config, self.teachers, self.local_rows = config, teachers, local_rows
        device = train.faces.device
        self.index = torch.zeros(1, dtype=torch.int64, device=device)
        self.totals = torch.zeros(4, device=device)
        self.lr = torch.zeros((), device=device)
        for group in state.optimizer.param_groups:
            group["lr"] = self.lr
        self.use_bfloat16 = use_bfloat16(config, device)
        self.ema_tensors = training_state.ema_tensors(state.ema_model, state.model)
        self.inputs: EpochInputs | None = None
        self.replay: Callable[[], None] | None = None

    def start_epoch(self, inputs: EpochInputs) -> None:
        """Set the inputs of an epoch, and make the next call its first step."""
        self.index.zero_()
        self.totals.zero_()
        if self.inputs is not None and self.inputs.shapes() == inputs.shapes():
            # A captured graph always reads from the memory addresses it was captured with.
            for old, new in zip(self.inputs.tensors(), inputs.tensors(), strict=True):
                old.copy_(new)
        else:
            self.inputs = copy.deepcopy(inputs)  # a copy, because later epochs overwrite its values
            self.replay = _capture(self) if self._can_capture() else None

    def _can_capture(self) -> bool:
        is_unwrapped = self.network is self.state.model  # neither compiled nor distributed
        return self.train.faces.is_cuda and is_unwrapped

    def __call__(self) -> None:
        """Run the next step."""
        if self.replay:
            self.replay()
        else:
            self.run_eager()

    def run_eager(self) -> None:
        """Run the next step without a graph. Nothing in it may synchronize with the host."""
        assert self.inputs is not None
        config, state, index = self.config, self.state, self.index
        parameters = self.inputs.augmentation.at(index)
        size = parameters.noise.shape[-1]
        with torch.no_grad():
            selected = self.train.select(parameters.indices)
            augmented = augmentation.augment(selected, parameters, config, size)
        batch = augmented.select(self.local_rows)
        targets = {
            head: probabilities.index_select(0, index)[0]
            for head, probabilities in self.inputs.teacher_targets.items()
        }
        # The weights have this memory format, in which convolutions are faster.
        faces = batch.faces.contiguous(memory_format=torch.channels_last)
        device_type = faces.device.type
        # Autocast would cache the converted weights, but a step uses each weight only once.
        with torch.autocast(
            device_type, torch.bfloat16, enabled=self.use_bfloat16, cache_enabled=False
        ):
            logits = self.network(faces).float()
        loss, parts = compute_losses(logits, batch, config, self.teachers, targets)
        loss = loss + getattr(state.model, "auxiliary", 0.0)  # the additional loss of some networks
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_grad:
            nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_grad)
        self.lr.copy_(self.inputs.lrs.index_select(0, index)[0])
        state.optimizer.step()
        decay = self.inputs.ema_decays.index_select(0, index)[0]
        training_state.update_ema(self.ema_tensors, decay)
        self.totals += torch.stack([loss.detach(), *parts])
        self.index += 1

    def mutable_tensors(self) -> list[Tensor]:
        """The tensors that a step changes and that the next step reads."""
        models = (self.state.model, self.state.ema_model)
        optimizer_states = self.state.optimizer.state.values()
        values = [value for state in optimizer_states for value in state.values()]
        return [
            *(parameter for model in models for parameter in model.parameters()),
            *(buffer for model in models for buffer in model.buffers()),
            *(value for value in values if isinstance(value, Tensor)),
            self.index,
            self.totals,
        ]


def _capture(step: Step) -> Callable[[], None] | None:
    """Capture the step as a CUDA graph.

    The losses of a few eager steps and of as many replayed steps are compared. Afterwards the
    state is restored.

    Returns:
        The function that replays the graph; None, with a logged warning, if the capture fails or
        the losses differ.
    """
    # Without `detach`, the autograd nodes of the clones would bind the weights' gradient
    # accumulation to the current stream instead of the capture stream.
    snapshot = {id(tensor): tensor.detach().clone() for tensor in step.mutable_tensors()}
    current, stream = torch.cuda.current_stream(), torch.cuda.Stream()
    try:
        eager_loss = _loss_of_steps(step, snapshot, step.run_eager, stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            step.run_eager()
        replayed_loss = _loss_of_steps(step, snapshot, graph.replay, stream)
    except RuntimeError as error:
        # An error ends the capture, and then leaving the context manager raises a second error. The
        # first one is its context.
        reason = str(error.__context__ or error).split("\n")[0]
        logger.warning("CUDA graph capture failed; running eagerly: %s", reason)
        torch.cuda.set_stream(current)
        torch.cuda.default_generators[stream.device_index].graphsafe_set_state(
            torch.Generator("cuda")  # the old state is still registered with the capture
        )
        return None
    finally:
        _restore(step, snapshot)
    if not abs(replayed_loss - eager_loss) <= TOLERANCE * abs(eager_loss):  # also for NaN
        logger.warning(
            "CUDA graph replay has loss %g, expected %g; running eagerly", replayed_loss, eager_loss
        )
        return None
    return graph.replay


def _loss_of_steps(
    step: Step,
    snapshot: dict[int, Tensor],
    run: Callable[[], None],
    stream: torch.cuda.Stream,
) -> float:
    """Run a few steps from the restored state, and return their total loss.

    The eager steps are also the warmup that a capture needs.
    """
    _restore(step, snapshot)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(COMPARED_STEPS):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    step.state.optimizer.zero_grad(set_to_none=True)
    return step.totals[0].item()


@torch.no_grad()
def _restore(step: Step, snapshot: dict[int, Tensor]) -> None:
    """Restore the tensors of a snapshot, and reseed torch.

    Optimizer state that the snapshot lacks is set to zero.
    """
    for tensor in step.mutable_tensors():
        if (saved := snapshot.get(id(tensor))) is not None:
            tensor.copy_(saved)
        else:
            tensor.zero_()
    torch.manual_seed(step.config.seed)
