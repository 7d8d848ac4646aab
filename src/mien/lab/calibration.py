"""Calibration of logits by vector scaling, and the mixing of a network's two heads.

Vector scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599) gives each class its own factor
and shift. A prior keeps the factors near one common temperature and the shifts near zero, so that
few faces cannot over-fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mien.lab import data, metrics
from mien.lab.heads import HEADS
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels

FOLDS = 10

PRIOR_STRENGTH = 4.0
"""Inverse variance of the prior: a standard deviation of one half."""


@dataclass(frozen=True)
class VectorScaling:
    """A factor and a shift for the logits of each of K classes."""

    factors: tuple[float, ...]
    shifts: tuple[float, ...]

    def __call__(self, logits: Tensor) -> Tensor:
        """(N, K) logits -> (N, K) logits whose softmax is calibrated."""
        return logits * logits.new_tensor(self.factors) + logits.new_tensor(self.shifts)


def identity(classes: int, temperature: float = 1.0) -> VectorScaling:
    """The scaling that changes nothing, or divides all logits by one temperature."""
    return VectorScaling((1 / temperature,) * classes, (0.0,) * classes)


def fit(logits: Tensor, targets: Tensor, strength: float = PRIOR_STRENGTH) -> VectorScaling:
    """Fit the scaling that minimizes cross-entropy.

    Args:
        logits: (N, K).
        targets: (N, K) distributions; rows of zeros (faces without a target) are ignored.
        strength: of the prior, a normal distribution of variance 1 / strength on every shift and
            on the logarithm of every factor relative to the common one. Infinite: temperature
            scaling alone.
    """
    has_target = targets.sum(1) > 0
    logits, targets = logits[has_target].double(), targets[has_target].double()
    classes = logits.shape[1]
    common = torch.zeros((), dtype=torch.float64, requires_grad=True)
    own = torch.zeros(2, classes, dtype=torch.float64, requires_grad=math.isfinite(strength))
    parameters = [common, own] if math.isfinite(strength) else [common]
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scaled = logits * (common + own[0]).exp() + own[1]
        value = F.cross_entropy(scaled, targets)
        if math.isfinite(strength):
            value = value + strength / 2 * (own**2).sum() / max(len(logits), 1)
        value.backward()
        return value

    if len(logits):
        optimizer.step(loss)  # type: ignore[arg-type]
    factors = (common + own[0]).exp().detach().tolist()
    return VectorScaling(tuple(factors), tuple(own[1].detach().tolist()))


def cross_validate(
    logits: Tensor, targets: Tensor, strength: float = PRIOR_STRENGTH, folds: int = FOLDS
) -> Tensor:
    """Calibrate each face by a scaling fitted on the other folds, for unbiased scores.

    The folds are drawn at random with a fixed seed.

    Args:
        logits: (N, K).
        targets: (N, K), as for `fit`.
        strength: of the prior, as for `fit`.
        folds: the number of folds.

    Returns:
        (N, K) calibrated logits.
    """
    fold_of = torch.as_tensor(np.random.default_rng(0).permutation(len(logits)) % folds)
    scaled = torch.empty_like(logits)
    for k in range(folds):
        held_out = fold_of == k
        scaling = fit(logits[~held_out], targets[~held_out], strength)
        scaled[held_out] = scaling(logits[held_out])
    return scaled


def mix_heads(logits: Tensor, label_share: float) -> Tensor:
    """The vote head's prediction with the label head's mixed in.

    FER+ raters call plain faces neutral that FER2013 calls angry; on faces from other sources the
    label head is often nearer to the expression.

    Args:
        logits: (N, 15), of both heads.
        label_share: the exponent a of votes ^ (1 - a) x labels ^ a, 0 to 1.

    Returns:
        (N, 8) logarithms of the product, not normalized; contempt, which the label head lacks, is
        the vote head's.
    """
    votes = logits[:, HEADS["votes"]].log_softmax(1)
    labels = logits[:, HEADS["labels"]].log_softmax(1)
    shared = labels.shape[1]
    product = (1 - label_share) * votes[:, :shared] + label_share * labels
    return torch.cat([product, votes[:, shared:]], 1)


LABEL_SHARES = tuple(k / 100 for k in range(0, 31, 2))

MAX_KL_INCREASE = 0.006
"""How much the KL divergence from the votes, in nats, may rise by mixing in the label head."""


def choose_label_share(logits: Tensor, votes: np.ndarray) -> float:
    """The largest label share that raises the KL divergence by at most `MAX_KL_INCREASE`.

    Minimizing the divergence would give 0, as these faces have the votes; the label head is for
    faces from other sources. Calibration is cross-validated anew for each candidate.

    Args:
        logits: (N, 15), of both heads.
        votes: (N, 10), FER+ vote counts.
    """
    targets = torch.as_tensor(data.shares(votes))
    rated, shares = data.seven_shares(votes)

    def divergence(share: float) -> float:
        calibrated = cross_validate(mix_heads(logits, share), targets)
        seven = restrict_labels(
            calibrated.softmax(1).numpy()[rated], EMOTIONS_AND_CONTEMPT, EMOTIONS
        )
        return float(metrics.kl_divergence(shares, seven).mean())

    limit = divergence(0.0) + MAX_KL_INCREASE
    return max(share for share in LABEL_SHARES if not share or divergence(share) <= limit)
