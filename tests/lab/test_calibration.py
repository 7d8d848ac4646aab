"""Fitting of vector scaling, and mixing of the two heads."""

import math

import numpy as np
import pytest
import torch

from mien.lab import calibration

TEMPERATURE_ONLY = math.inf
"""Prior strength with which all classes have the same temperature."""


def sample_logits(
    count: int, classes: int = 8, spread: float = 2.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random (N, K) logits, and one-hot labels that are sampled from their softmax."""
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(count, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return logits, torch.eye(classes)[labels]


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("strength", [calibration.PRIOR_STRENGTH, TEMPERATURE_ONLY])
def test_fit_recovers_a_known_temperature(temperature, strength):
    logits = 3 * torch.randn(5_000, 8, generator=torch.Generator().manual_seed(0))
    scaling = calibration.fit(logits * temperature, logits.softmax(1), strength)
    assert scaling.factors == pytest.approx([1 / temperature] * 8, rel=1e-2)
    assert scaling.shifts == pytest.approx([0] * 8, abs=1e-2)


def test_fit_recovers_known_factors_and_shifts():
    logits, targets = sample_logits(60_000)
    factors, shifts = torch.linspace(0.6, 1.4, 8), torch.linspace(-1, 1, 8)
    scaling = calibration.fit((logits - shifts) / factors, targets)
    assert scaling.factors == pytest.approx(factors.tolist(), rel=0.06)
    # The shifts are determined only up to a constant, which the softmax cancels.
    assert np.subtract(scaling.shifts, np.mean(scaling.shifts)) == pytest.approx(shifts, abs=0.06)


def test_fit_on_few_faces_stays_near_temperature_scaling():
    logits, targets = sample_logits(6)
    scaling = calibration.fit(2 * logits, targets)
    assert np.ptp(np.log(scaling.factors)) < 1
    assert np.abs(scaling.shifts).max() < 1


def test_fit_ignores_rows_without_a_target():
    logits, targets = sample_logits(400)
    extended = torch.cat([logits, 50 * logits])
    padded = torch.cat([targets, torch.zeros_like(targets)])
    assert calibration.fit(extended, padded) == calibration.fit(logits, targets)


def test_fit_without_targets_is_the_identity():
    logits, targets = sample_logits(4)
    assert calibration.fit(logits, 0 * targets) == calibration.identity(8)


def test_cross_validation_does_not_use_the_target_of_the_face_itself():
    logits, targets = sample_logits(40)
    before = calibration.cross_validate(logits, targets)
    for k in (0, 17):
        changed = targets.clone()
        changed[k] = targets[k].roll(3)
        after = calibration.cross_validate(logits, changed)
        assert torch.equal(after[k], before[k])
        assert not torch.equal(after, before)


def test_mix_heads_is_the_weighted_geometric_mean_with_contempt_from_the_votes():
    logits = torch.randn(5, 15, dtype=torch.float64)
    votes, labels = logits[:, 7:].softmax(1), logits[:, :7].softmax(1)
    mixed = calibration.mix_heads(logits, 0.3).exp()
    assert torch.allclose(mixed[:, :7], votes[:, :7] ** 0.7 * labels**0.3)
    assert torch.allclose(mixed[:, 7], votes[:, 7])
    assert torch.allclose(calibration.mix_heads(logits, 0.0).softmax(1), votes)


def test_chosen_label_head_weight_is_the_largest_with_a_small_kl_increase():
    rng = np.random.default_rng(0)
    votes = rng.multinomial(10, rng.dirichlet(np.full(8, 0.4), 600))
    votes = np.pad(votes, ((0, 0), (0, 2)))  # no votes for "unknown" and "not a face"
    log_shares = torch.as_tensor(votes[:, :8] / 10).clamp(min=0.01).log().float()
    agreeing = torch.cat([log_shares[:, :7], log_shares], 1)
    assert (
        calibration.choose_label_head_weight(agreeing, votes) == calibration.LABEL_HEAD_WEIGHTS[-1]
    )
    other = torch.as_tensor(rng.normal(0, 3, (600, 7))).float()
    assert calibration.choose_label_head_weight(torch.cat([other, log_shares], 1), votes) < 0.1
