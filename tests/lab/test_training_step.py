import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mien.lab import (
    augmentation,
    batches,
    config,
    lr_schedule,
    models,
    train,
    training_state,
    training_step,
)
from mien.lab.config import Config
from mien.lab.heads import HEADS
from mien.lab.training_step import Plan, Step
from tests.synthetic import tiny

CPU = torch.device("cpu")
ALL = Config(
    model="resnet-8", batch_size=12, input_size=48, mixup=0.3, cutmix=0.3,
    domain_randomization=0.5, random_erasing=0.5, clip_grad=1.0,
    teacher_logits="x", teachers=("x",), teacher_weight=0.5, warmup_epochs=0.0,
)  # fmt: skip
"""A training with everything that a step can do."""


def ready(wanted: Config, *, teachers: list[nn.Module] | None = None, device=CPU) -> Step:
    state = training_state.prepare(wanted, device)
    faces = batches.on_device(tiny.samples(40), wanted, device)
    made = Step(state.model, state, faces, wanted, teachers or [])
    plan = train.planned(state, wanted, lr_schedule.NO_LIMIT, made, None)
    if wanted.teacher_logits:
        steps = len(plan.rates)
        plan.targets.update(
            {name: torch.rand(steps, 12, part.stop - part.start, device=device).softmax(2)
             for name, part in HEADS.items()}
        )  # fmt: skip
    torch.manual_seed(0)
    made.begin(plan)
    return made


class NoWait(TorchDispatchMode):
    """Fails on whatever would have to look at a value on the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        waits = (
            "_local_scalar_dense",
            "nonzero",
            "masked_select",
            "unique",
            "is_nonzero",
            "equal.",
        )
        assert not any(word in name for word in waits), name
        made = func(*args, **(kwargs or {}))
        if "_to_copy" in name:
            assert made.device == args[0].device, name
        return made


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("model", ["resnet-8", "hybrid-slim", "convnext-slim"])
def test_nothing_in_a_step_waits_for_the_device(model, optimizer):
    taken = ready(replace(ALL, model=model, optimizer=optimizer, lr=1e-3))
    with NoWait():
        taken.take()
    assert taken.number == 1
    assert taken.totals.isfinite().all()


def test_asking_teachers_does_not_wait_either():
    wanted = replace(ALL, teacher_logits="", domain_randomization=0.0, teacher_tta="flip")
    teacher = models.build("resnet-8", channels=1, classes=15).eval()
    with NoWait():
        ready(wanted, teachers=[teacher]).take()


def test_what_would_wait_is_noticed():
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWait():
        torch.ones(()).item()


def test_steps_are_those_of_a_plain_loop():
    wanted = Config(
        model="resnet-8", batch_size=12, input_size=48, dropout=0.0, lr=0.05, warmup_epochs=0.0,
        ema_decay=0.7, epochs=4,
        label_smoothing=0.1, random_erasing=0.3, cutmix=0.5,
    )  # fmt: skip
    found = ready(wanted)
    model, average = (
        training_state.prepare(wanted, CPU).model,
        training_state.prepare(wanted, CPU).model,
    )
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    plain = torch.optim.SGD(
        [{"params": decayed, "weight_decay": wanted.weight_decay}, {"params": free,
        "weight_decay": 0.0}],
        lr=0.05, momentum=0.9, nesterov=True, foreach=False,
    )  # fmt: skip
    dealt = list(augmentation.epoch(found.train, wanted, 0))
    for number, batch in enumerate(dealt):
        for group in plain.param_groups:
            group["lr"] = 0.05 * 0.5 * (1 + math.cos(math.pi * number / (3 * 4)))
        said = model(batch.faces)
        smooth = 0.9 * batch.labels + 0.1 / 7
        label = F.cross_entropy(said[:, :7], smooth, reduction="none") * batch.label_weights
        vote = F.cross_entropy(said[:, 7:], batch.votes, reduction="none") * batch.vote_weights
        plain.zero_grad()
        (label.mean() + vote.mean()).backward()
        plain.step()
        keep = min(0.7, (number + 1) / (number + 11))
        with torch.no_grad():
            for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
                ours.mul_(keep).add_(theirs, alpha=1 - keep)
        found()
    for ours, theirs in ((found.state.model, model), (found.state.average, average)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-5)
    assert found.number == len(dealt) == 3


def snapshot(taken: Step) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in taken.changing()]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_that_were_only_tried_leave_no_trace(optimizer):
    wanted = replace(ALL, optimizer=optimizer, lr=1e-3, dropout=0.0)
    tried, untried = ready(wanted), ready(wanted)
    tried.plan.targets.update(untried.plan.targets)
    before = {id(tensor): tensor.detach().clone() for tensor in tried.changing()}
    for _ in range(3):
        tried.take()
    training_step._put_back(tried, before)
    for one in (tried, untried):
        for _ in range(3):
            one.take()
    for a, b in zip(snapshot(tried), snapshot(untried), strict=True):
        assert torch.equal(a, b)


def test_a_new_epoch_of_the_same_shapes_is_read_where_the_last_one_was():
    taken = ready(replace(ALL, initial_size=0))
    places = [tensor.data_ptr() for tensor in taken.plan.tensors()]
    other = ready(replace(ALL, seed=5)).plan
    taken.take()
    taken.begin(other)
    assert [tensor.data_ptr() for tensor in taken.plan.tensors()] == places
    assert torch.equal(taken.plan.draws.faces, other.draws.faces)
    assert taken.number == 0
    assert not taken.totals.any()


def test_faces_of_another_size_get_a_plan_of_their_own():
    wanted = replace(ALL, teacher_logits="", teachers=(), teacher_weight=0.0, initial_size=28,
                     epochs=9)  # fmt: skip
    taken = ready(wanted)
    assert taken.plan.draws.noise.shape[-1] == 28
    taken.state.epoch = 8
    plan = train.planned(taken.state, wanted, lr_schedule.NO_LIMIT, taken, None)
    taken.begin(plan)
    assert taken.plan is plan
    taken()
    assert taken.totals.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_recorded_step_does_what_the_step_does(optimizer):
    gpu = torch.device("cuda")
    wanted = replace(ALL, optimizer=optimizer, lr=1e-3, precision="float32")
    recorded, plain = ready(wanted, device=gpu), ready(wanted, device=gpu)
    assert recorded.replay
    plain.replay = None
    for old, new in zip(plain.plan.tensors(), recorded.plan.tensors(), strict=True):
        old.copy_(new)
    for one in (recorded, plain):
        torch.manual_seed(0)
        for _ in range(3):
            one()
    for a, b in zip(recorded.changing(), plain.changing(), strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-3)


def test_the_plan_holds_the_rate_and_the_average_of_each_step():
    wanted = config.parse("tiny", ["batch_size=10", "epochs=4", "warmup_epochs=1", "ema_decay=0.9"])
    taken = ready(wanted)
    plan: Plan = taken.plan
    expected = [wanted.lr * lr_schedule.rate_factor(k / 4, wanted) for k in range(4)]
    assert plan.rates.tolist() == pytest.approx(expected)
    assert plan.keeps.tolist() == pytest.approx([k / (k + 10) for k in range(1, 5)])
