"""One training step, and the same as a CUDA graph.

A step of these small networks is a thousand short kernels, which Python launches more slowly than
a GPU works them off. So everything that changes from step to step (random numbers, learning rate,
weight of the moving average) lies on the device for a whole epoch, the step finds its own by a
counter there, and nothing in it waits for the host. On a GPU the step is recorded once for each
size of the faces and then replayed; on the CPU the same function runs as it stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from mien.lab import augmentation, training_state
from mien.lab.augmentation import Draws
from mien.lab.batches import Batch
from mien.lab.config import Config
from mien.lab.losses import bfloat16, losses
from mien.lab.training_state import State

log = logging.getLogger(__name__)

TRIED = 4
"""Steps by which a recorded step is compared with the one as it stands."""

TOLERANCE = 0.02
"""How far their mean losses may differ, relatively: bfloat16 sums in no fixed order."""


@dataclass(slots=True)
class Plan:
    """What the S steps of one epoch need, on the device.

    Attributes:
        draws: their random numbers.
        rates: (S,) float32, the learning rate of each.
        keeps: (S,) float32, the share of the old in the moving average.
        targets: head -> (S, B, classes), what teachers were heard to say of these faces before;
            empty where none were.
    """

    draws: Draws
    rates: Tensor
    keeps: Tensor
    targets: dict[str, Tensor]

    def tensors(self) -> list[Tensor]:
        """All of it, in a fixed order."""
        drawn = [getattr(self.draws, field.name) for field in fields(Draws)]
        return [*drawn, self.rates, self.keeps, *self.targets.values()]

    def shapes(self) -> list[torch.Size]:
        """The shape of each."""
        return [tensor.shape for tensor in self.tensors()]


class Step:
    """A training step that takes what it needs from its `Plan` and moves on.

    Args:
        network: what is trained: the model of `state`, or that wrapped for several processes.
        state: what changes in training.
        train: the dataset on the device.
        config: of the training.
        teachers: networks that are asked of every batch.
        part: the rows of each batch that are this process's own.

    Attributes:
        totals: (4,) sums over the steps of this epoch of loss, label loss, vote loss and accuracy.
    """

    def __init__(
        self,
        network: nn.Module,
        state: State,
        train: Batch,
        config: Config,
        teachers: list[nn.Module],
        part: slice = slice(None),
    ) -> None:
        self.network, self.state, self.train = network, state, train
        self.config, self.teachers, self.part = config, teachers, part
        device = train.faces.device
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        self.totals = torch.zeros(4, device=device)
        self.rate = torch.zeros((), device=device)
        for group in state.optimizer.param_groups:
            group["lr"] = self.rate
        self.half = bfloat16(config, device)
        self.both = training_state.pairs(state.average, state.model)
        self.plan: Plan | None = None
        self.replay: Callable[[], None] | None = None

    def begin(self, plan: Plan) -> None:
        """Start an epoch: the next call takes the first step of the plan."""
        if self.plan is None or self.plan.shapes() != plan.shapes():
            self.plan = plan
            self.number.zero_()
            self.totals.zero_()
            self.replay = _recorded(self) if self._recordable() else None
            return
        for old, new in zip(self.plan.tensors(), plan.tensors(), strict=True):
            old.copy_(new)  # a recorded step reads where it read before
        self.number.zero_()
        self.totals.zero_()

    def _recordable(self) -> bool:
        alone = self.network is self.state.model  # neither compiled nor shared
        return self.train.faces.is_cuda and alone

    def __call__(self) -> None:
        """Take a step."""
        if self.replay:
            self.replay()
        else:
            self.take()

    def take(self) -> None:
        """The step itself. Nothing in here may wait for the device."""
        assert self.plan is not None
        config, state, number = self.config, self.state, self.number
        draws = self.plan.draws.at(number)
        size = draws.noise.shape[-1]
        with torch.no_grad():
            shown = augmentation.augment(self.train.take(draws.faces), draws, config, size)
        batch = shown.take(self.part)
        targets = {name: t.index_select(0, number)[0] for name, t in self.plan.targets.items()}
        # A mirrored crop has a strange stride order, and convolutions run faster in this one.
        faces = batch.faces.contiguous(memory_format=torch.channels_last)
        kind = faces.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.half, cache_enabled=False):
            answers = self.network(faces).float()
        loss, parts = losses(answers, batch, config, self.teachers, targets)
        loss = loss + getattr(state.model, "auxiliary", 0.0)  # what only some networks ask for
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_grad:
            nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_grad)
        self.rate.copy_(self.plan.rates.index_select(0, number)[0])
        state.optimizer.step()
        training_state.update_average(self.both, self.plan.keeps.index_select(0, number)[0])
        self.totals += torch.stack([loss.detach(), *parts])
        self.number += 1

    def changing(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        state = self.state
        optimized = [v for each in state.optimizer.state.values() for v in each.values()]
        return [
            *(tensor for one in (state.model, state.average) for tensor in one.parameters()),
            *(tensor for one in (state.model, state.average) for tensor in one.buffers()),
            *(value for value in optimized if isinstance(value, Tensor)),
            self.number,
            self.totals,
        ]


def _recorded(step: Step) -> Callable[[], None] | None:
    """The step as a CUDA graph, or None, with a line in the log, where that cannot be had.

    A few steps are tried both ways; network, average and optimizer are then put back as they were.
    """
    # A clone that autograd knew of would tie the weights to the stream that is current now.
    before = {id(tensor): tensor.detach().clone() for tensor in step.changing()}
    current, stream = torch.cuda.current_stream(), torch.cuda.Stream()
    try:
        plain = _tried(step, before, step.take, stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            step.take()
        replayed = _tried(step, before, graph.replay, stream)
    except RuntimeError as error:
        # What ended the recording comes first; leaving it then fails as well.
        reason = str(error.__context__ or error).split("\n")[0]
        log.warning("no CUDA graph, steps are launched one by one: %s", reason)
        torch.cuda.set_stream(current)
        torch.cuda.default_generators[stream.device_index].graphsafe_set_state(
            torch.Generator("cuda")  # the old one still waits for the recording's end
        )
        return None
    finally:
        _put_back(step, before)
    if not abs(replayed - plain) <= TOLERANCE * abs(plain):
        log.warning("the CUDA graph's loss is %g, not %g; it is not used", replayed, plain)
        return None
    return graph.replay


def _tried(
    step: Step,
    before: dict[int, Tensor],
    take: Callable[[], None],
    stream: torch.cuda.Stream,
) -> float:
    """The loss of a few steps from where the training stands.

    Also what a graph needs before it: everything has then been allocated and chosen.
    """
    _put_back(step, before)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(TRIED):
            take()
    torch.cuda.current_stream().wait_stream(stream)
    step.state.optimizer.zero_grad(set_to_none=True)
    return step.totals[0].item()


@torch.no_grad()
def _put_back(step: Step, before: dict[int, Tensor]) -> None:
    """Undo the steps tried; the optimizer's memory of a first step is nothing."""
    for tensor in step.changing():
        if (saved := before.get(id(tensor))) is not None:
            tensor.copy_(saved)
        else:
            tensor.zero_()
    torch.manual_seed(step.config.seed)
