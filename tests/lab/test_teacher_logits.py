"""Distilling stored teacher logits equals running the teachers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.errors import UserError
from mien.lab import batches, data, lr_schedule, runs, teacher_logits, train, training_state
from mien.lab.config import RECIPES, checked
from mien.lab.training_step import Step
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=2, mixup=0.3, cutmix=0.4, dropout=0)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(44, 21))


@pytest.fixture(scope="module")
def teachers(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    return [
        str(train.fit(replace(TINY, seed=k), root, folder / f"t{k}", device="cpu").folder)
        for k in range(2)
    ]


@pytest.fixture(scope="module")
def store(root, teachers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logits") / "store"
    teacher_logits.store(TINY, root, folder, teachers, 2)
    return folder


def student(teachers, **changes):
    return replace(TINY, teachers=tuple(teachers), teacher_weight=0.9, **changes)


def trained(config, root, out):
    return torch.load(train.fit(config, root, out, device="cpu").weights_file, weights_only=True)


def test_stored_logits_train_the_same_student(root, teachers, store, tmp_path):
    online = trained(student(teachers), root, tmp_path / "online")
    offline = trained(student(teachers, teacher_logits=str(store)), root, tmp_path / "offline")
    for name, value in online.items():  # equal up to float16 rounding
        torch.testing.assert_close(offline[name], value, rtol=0.02, atol=2e-3)
    plain = trained(TINY, root, tmp_path / "plain")
    assert any(not torch.allclose(plain[name], online[name], atol=5e-3) for name in online)


def test_epochs_repeat_in_order_from_an_offset_by_seed(root, teachers, store):
    faces = data.load(root)["train"]
    for seed, order in ((0, [0, 1, 0, 1]), (1, [1, 0, 1, 0])):
        config = student(teachers, teacher_logits=str(store), seed=seed)
        stored = teacher_logits.StoredLogits(config, faces)
        assert [stored.epoch(n) for n in range(4)] == order


def test_later_epochs_do_not_overwrite_stored_targets(root, teachers, store):
    config = student(teachers, teacher_logits=str(store))
    samples = data.load(root)["train"]
    state, stored = training_state.create(config, CPU), teacher_logits.StoredLogits(config, samples)
    step = Step(state.model, state, batches.to_device(samples, config, CPU), config, [])
    expected = {head: targets.clone() for head, targets in stored.targets(0).items()}
    for epoch in range(3):
        state.epoch = epoch
        step.start_epoch(train.epoch_inputs(state, config, lr_schedule.NO_LIMIT, step, stored))
    for head, targets in stored.targets(0).items():
        assert torch.equal(targets, expected[head])


def test_a_store_resumes_and_accepts_more_teachers(root, teachers, store, tmp_path):
    folder = tmp_path / "store"
    teacher_logits.store(TINY, root, folder, teachers[:1], 1)
    existing = folder / "t0" / "epoch-000.npy"
    before = existing.stat().st_mtime_ns
    teacher_logits.store(TINY, root, folder, teachers, 2)
    assert existing.stat().st_mtime_ns == before
    for file in sorted(store.rglob("*.npy")):
        copy = folder / file.relative_to(store)
        assert np.array_equal(np.load(copy), np.load(file))


@pytest.mark.parametrize(
    ("changes", "expected_text"),
    [({"translate": 0.3}, "translate=0.1"), ({"cutmix": 0.1}, "cutmix=0.4")],
)
def test_another_augmentation_is_an_error(root, teachers, store, tmp_path, changes, expected_text):
    config = student(teachers, teacher_logits=str(store), **changes)
    with pytest.raises(UserError, match=expected_text):
        train.fit(config, root, tmp_path / "run")
    with pytest.raises(UserError, match="another augmentation"):
        teacher_logits.store(replace(TINY, **changes), root, store, teachers, 1)


def test_missing_and_damaged_logits_are_an_error(root, teachers, store, tmp_path):
    config = student(["t0", "t2"], teacher_logits=str(store))
    with pytest.raises(UserError, match="does not exist"):
        train.fit(config, root, tmp_path / "run")
    folder = tmp_path / "store"
    teacher_logits.store(TINY, root, folder, teachers[:1], 1)
    (folder / "t0" / "epoch-000.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match="damaged"):
        train.fit(student(["t0"], teacher_logits=str(folder)), root, tmp_path / "other")


def test_a_damaged_description_of_stored_logits_is_an_error(root, teachers, tmp_path):
    (tmp_path / "augmentation.json").write_text('{"augmentation": []}')
    with pytest.raises(UserError, match="is damaged"):
        train.fit(student(teachers, teacher_logits=str(tmp_path)), root, tmp_path / "run")
    with pytest.raises(UserError, match="is damaged"):
        teacher_logits.store(TINY, root, tmp_path, teachers, 1)


def test_teachers_with_the_same_folder_name_are_an_error(root, teachers, store, tmp_path):
    same_name = [teachers[0], str(tmp_path / "t0")]
    with pytest.raises(UserError, match="Two teachers have the name t0"):
        teacher_logits.store(TINY, root, tmp_path / "store", same_name, 1)
    with pytest.raises(UserError, match="Two teachers have the name t0"):
        train.fit(student(same_name, teacher_logits=str(store)), root, tmp_path / "run")


def test_teachers_that_may_have_seen_held_out_faces_are_an_error(root, teachers, tmp_path):
    with pytest.raises(UserError, match="evaluation faces"):
        teacher_logits.store(replace(TINY, protocol="kfold"), root, tmp_path / "store", teachers, 1)


def test_teachers_are_checked_even_if_the_config_is_that_of_a_student(root, teachers, tmp_path):
    config = student(teachers, teacher_logits=str(tmp_path), protocol="kfold")
    with pytest.raises(UserError, match="evaluation faces"):
        teacher_logits.store(config, root, tmp_path / "store", teachers, 1)


def test_config_with_stored_logits_is_read_back_unchanged(root, teachers, store, tmp_path):
    config = student(teachers, teacher_logits=str(store))
    run = train.fit(config, root, tmp_path / "run", device="cpu")
    assert runs.open_run(run.folder).config == config


def test_progressive_resizing_is_an_error(root, teachers, tmp_path):
    with pytest.raises(UserError, match="initial_size=0"):
        teacher_logits.store(replace(TINY, initial_size=28), root, tmp_path / "s", teachers, 1)
    assert not (tmp_path / "s").exists()


def test_teachers_get_no_domain_randomization(root, teachers, store, tmp_path):
    folder = tmp_path / "store"
    teacher_logits.store(replace(TINY, domain_randomization=1.0), root, folder, teachers[:1], 1)
    file = "t0/epoch-000.npy"
    assert np.array_equal(np.load(folder / file), np.load(store / file))


def test_domain_randomization_with_teachers_needs_stored_logits(teachers):
    """Teachers that run with every batch would receive the randomized faces."""
    with pytest.raises(UserError, match="domain_randomization"):
        checked(student(teachers, domain_randomization=0.5))
