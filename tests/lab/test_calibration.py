import math

import numpy as np
import pytest
import torch

from mien.lab import calibration

WITHOUT_OWN = math.inf
"""The strength that leaves one temperature for all classes."""


def drawn(count: int, classes: int = 8, spread: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and one label a face drawn from their softmax, as (N, K) targets."""
    dice = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(count, classes, generator=dice)
    return logits, torch.eye(classes)[torch.multinomial(logits.softmax(1), 1, generator=dice)[:, 0]]


@pytest.mark.parametrize("heat", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("strength", [calibration.STRENGTH, WITHOUT_OWN])
def test_a_known_temperature_is_found_again(heat, strength):
    logits = 3 * torch.randn(5_000, 8, generator=torch.Generator().manual_seed(0))
    found = calibration.fit(logits * heat, logits.softmax(1), strength)
    assert found.factors == pytest.approx([1 / heat] * 8, rel=1e-2)
    assert found.shifts == pytest.approx([0] * 8, abs=1e-2)


def test_known_factors_and_shifts_are_found_again():
    logits, targets = drawn(60_000)
    factors, shifts = torch.linspace(0.6, 1.4, 8), torch.linspace(-1, 1, 8)
    found = calibration.fit((logits - shifts) / factors, targets)
    assert found.factors == pytest.approx(factors.tolist(), rel=0.06)
    assert np.subtract(found.shifts, np.mean(found.shifts)) == pytest.approx(shifts, abs=0.06)


def test_few_faces_leave_it_near_one_temperature():
    logits, targets = drawn(6)
    found = calibration.fit(2 * logits, targets)
    assert np.ptp(np.log(found.factors)) < 1
    assert np.abs(found.shifts).max() < 1


def test_rows_without_a_target_count_for_nothing():
    logits, targets = drawn(400)
    spoiled = torch.cat([logits, 50 * logits])
    padded = torch.cat([targets, torch.zeros_like(targets)])
    assert calibration.fit(spoiled, padded) == calibration.fit(logits, targets)


def test_no_face_with_a_target_changes_nothing():
    logits, targets = drawn(4)
    assert calibration.fit(logits, 0 * targets) == calibration.plain(8)


def test_no_face_is_calibrated_by_its_own_target():
    logits, targets = drawn(40)
    before = calibration.crossed(logits, targets)
    for k in (0, 17):
        changed = targets.clone()
        changed[k] = targets[k].roll(3)
        after = calibration.crossed(logits, changed)
        assert torch.equal(after[k], before[k])
        assert not torch.equal(after, before)


def test_mixing_multiplies_powers_and_leaves_contempt_to_the_votes():
    answers = torch.randn(5, 15, dtype=torch.float64)
    votes, labels = answers[:, 7:].softmax(1), answers[:, :7].softmax(1)
    mixed = calibration.mixed(answers, 0.3).exp()
    assert torch.allclose(mixed[:, :7], votes[:, :7] ** 0.7 * labels**0.3)
    assert torch.allclose(mixed[:, 7], votes[:, 7])
    assert torch.allclose(calibration.mixed(answers, 0.0).softmax(1), votes)


def test_the_label_share_is_the_largest_that_costs_little():
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, rng.dirichlet(np.full(8, 0.4), 600))
    votes = np.pad(votes, ((0, 0), (0, 2)))
    shares = torch.as_tensor(votes[:, :8] / 10).clamp(min=0.01).log().float()
    agreeing = torch.cat([shares[:, :7], shares], 1)
    assert calibration.label_share(agreeing, votes) == calibration.LABEL_SHARES[-1]
    other = torch.as_tensor(rng.normal(0, 3, (600, 7))).float()
    assert calibration.label_share(torch.cat([other, shares], 1), votes) < 0.1
