import math

import numpy as np
import pytest
import torch

from mien.lab import calibration
from mien.lab.calibration import Scaling

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


def test_sharpening_multiplies_the_calibrated_logits():
    logits, _ = drawn(10)
    scaling = Scaling(tuple(np.linspace(0.5, 2, 8)), tuple(np.linspace(-1, 1, 8)))
    assert torch.allclose(scaling.sharpened(1.3)(logits), 1.3 * scaling(logits))


def test_no_face_is_calibrated_by_its_own_target():
    logits, targets = drawn(40)
    before = calibration.crossed(logits, targets)
    for k in (0, 17):
        changed = targets.clone()
        changed[k] = targets[k].roll(3)
        after = calibration.crossed(logits, changed)
        assert torch.equal(after[k], before[k])
        assert not torch.equal(after, before)
