"""A training step, which must neither synchronize with a GPU nor differ from a plain loop."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mien.lab import (
    augmentation,
    batches,
    lr_schedule,
    models,
    train,
    training_state,
    training_step,
)
from mien.lab.config import Config, parse
from mien.lab.heads import HEADS
from mien.lab.teachers import Teacher
from mien.lab.training_step import EpochInputs, Step
from tests.synthetic import tiny

CPU = torch.device("cpu")
ALL = Config(
    model="resnet-8", batch_size=12, input_size=48, mixup=0.3, cutmix=0.3,
    domain_randomization=0.5, random_erasing=0.5, clip_grad=1.0,
    teacher_logits="x", teachers=("x",), teacher_weight=0.5, warmup_epochs=0.0,
)  # fmt: skip
"""A config that uses every feature of a step, with stored teacher logits."""


def make_step(config: Config, *, teachers: list[Teacher] | None = None, device=CPU) -> Step:
    """A step of a new network at the start of an epoch; stored teacher logits are random."""
    state = training_state.create(config, device)
    faces = batches.to_device(tiny.samples(40), config, device)
    step = Step(state.model, state, faces, config, teachers or [])
    inputs = train.epoch_inputs(state, config, lr_schedule.NO_LIMIT, step, None)
    if config.teacher_logits:
        for head, part in HEADS.items():
            shape = len(inputs.lrs), config.batch_size, part.stop - part.start
            inputs.teacher_targets[head] = torch.rand(shape, device=device).softmax(2)
    torch.manual_seed(0)
    step.start_epoch(inputs)
    return step


class NoSynchronization(TorchDispatchMode):
    """Fails on operations that synchronize with the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        synchronizing = (
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "unique",
            "is_nonzero",
            "equal.",
        )
        assert not any(word in name for word in synchronizing), name
        result = func(*args, **(kwargs or {}))
        if "_to_copy" in name:
            assert result.device == args[0].device, name
        return result


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("model", ["resnet-8", "hybrid-slim", "convnext-slim", "rcnn-slim"])
def test_a_step_does_not_synchronize(model, optimizer):
    step = make_step(replace(ALL, model=model, optimizer=optimizer, lr=1e-3))
    step.run_eager()  # constants are computed in the first step
    with NoSynchronization():
        step.run_eager()
    assert step.index == 2
    assert step.totals.isfinite().all()


def test_running_teachers_does_not_synchronize():
    config = replace(ALL, teacher_logits="", domain_randomization=0.0, teacher_tta="flip")
    teacher = Teacher(models.build("resnet-8", channels=1, classes=15).eval(), config, CPU)
    with NoSynchronization():
        make_step(config, teachers=[teacher]).run_eager()


def test_synchronization_is_detected():
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoSynchronization():
        torch.ones(()).item()


def test_steps_match_a_reference_loop():
    config = Config(
        model="resnet-8", batch_size=12, input_size=48, dropout=0.0, lr=0.05, warmup_epochs=0.0,
        ema_decay=0.7, epochs=4,
        label_smoothing=0.1, random_erasing=0.3, cutmix=0.5,
    )  # fmt: skip
    step = make_step(config)
    model, ema_model = (
        training_state.create(config, CPU).model,
        training_state.create(config, CPU).model,
    )
    decayed = [p for p in model.parameters() if p.ndim > 1]
    not_decayed = [p for p in model.parameters() if p.ndim <= 1]
    reference = torch.optim.SGD(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": not_decayed,
        "weight_decay": 0.0}],
        lr=0.05, momentum=0.9, nesterov=True, foreach=False,
    )  # fmt: skip
    expected_batches = list(augmentation.augmented_batches(step.train, config, 0))
    for number, batch in enumerate(expected_batches):
        for group in reference.param_groups:
            # A cosine schedule over four epochs of three steps.
            group["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * number / (3 * 4)))
        logits = model(batch.faces)
        smoothed = 0.9 * batch.labels + 0.1 / 7  # label smoothing
        label = F.cross_entropy(logits[:, :7], smoothed, reduction="none") * batch.label_weights
        vote = F.cross_entropy(logits[:, 7:], batch.votes, reduction="none") * batch.vote_weights
        reference.zero_grad()
        (label.mean() + vote.mean()).backward()
        reference.step()
        decay = min(0.7, (number + 1) / (number + 11))
        with torch.no_grad():
            for averaged, current in zip(ema_model.parameters(), model.parameters(), strict=True):
                averaged.mul_(decay).add_(current, alpha=1 - decay)
        step()
    for actual, expected in ((step.state.model, model), (step.state.ema_model, ema_model)):
        for a, b in zip(actual.parameters(), expected.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5)
    assert step.index == len(expected_batches) == 3


def snapshot(step: Step) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in step.mutable_tensors()]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_restoring_undoes_steps(optimizer):
    config = replace(ALL, optimizer=optimizer, lr=1e-3, dropout=0.0)
    stepped, fresh = make_step(config), make_step(config)
    stepped.inputs.teacher_targets.update(fresh.inputs.teacher_targets)  # they are random
    before = {id(tensor): tensor.detach().clone() for tensor in stepped.mutable_tensors()}
    for _ in range(3):
        stepped.run_eager()
    training_step._restore(stepped, before)
    for one in (stepped, fresh):
        for _ in range(3):
            one.run_eager()
    for a, b in zip(snapshot(stepped), snapshot(fresh), strict=True):
        assert torch.equal(a, b)


def test_an_epoch_of_the_same_shapes_reuses_the_tensors():
    step = make_step(replace(ALL, initial_size=0))
    addresses = [tensor.data_ptr() for tensor in step.inputs.tensors()]
    other = make_step(replace(ALL, seed=5)).inputs
    step.run_eager()
    step.start_epoch(other)
    assert [tensor.data_ptr() for tensor in step.inputs.tensors()] == addresses
    assert torch.equal(step.inputs.augmentation.indices, other.augmentation.indices)
    assert step.index == 0
    assert not step.totals.any()


def test_another_face_size_gets_new_tensors():
    config = replace(ALL, teacher_logits="", teachers=(), teacher_weight=0.0, initial_size=28,
                     epochs=9)  # fmt: skip
    step = make_step(config)
    assert step.inputs.augmentation.noise.shape[-1] == 28
    step.state.epoch = 8
    inputs = train.epoch_inputs(step.state, config, lr_schedule.NO_LIMIT, step, None)
    step.start_epoch(inputs)
    assert step.inputs.shapes() == inputs.shapes()
    step()
    assert step.totals.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_replayed_graph_matches_eager_steps(optimizer):
    gpu = torch.device("cuda")
    config = replace(ALL, optimizer=optimizer, lr=1e-3, precision="float32")
    replayed, eager = make_step(config, device=gpu), make_step(config, device=gpu)
    assert replayed.replay
    eager.replay = None
    for old, new in zip(eager.inputs.tensors(), replayed.inputs.tensors(), strict=True):
        old.copy_(new)
    for one in (replayed, eager):
        torch.manual_seed(0)
        for _ in range(3):
            one()
    for a, b in zip(replayed.mutable_tensors(), eager.mutable_tensors(), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-3)


def test_inputs_have_the_learning_rate_and_ema_decay_of_each_step():
    config = parse("tiny", ["batch_size=10", "epochs=4", "warmup_epochs=1", "ema_decay=0.9"])
    step = make_step(config)
    inputs: EpochInputs = step.inputs
    expected = [config.lr * lr_schedule.lr_factor(k / 4, config) for k in range(4)]
    assert inputs.lrs.tolist() == pytest.approx(expected)
    assert inputs.ema_decays.tolist() == pytest.approx([k / (k + 10) for k in range(1, 5)])
