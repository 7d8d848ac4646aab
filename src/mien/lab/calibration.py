"""Logits -> shares that mean what they say.

Vector scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599): each class has a factor and a
shift of its own. The factors are held near one common temperature and the shifts near zero, as far
as a few faces cannot say otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

FOLDS = 10

STRENGTH = 4.0
"""Of the prior: a standard deviation of one half."""


@dataclass(frozen=True)
class Scaling:
    """What the logits of each class are multiplied by, and what is then added: K numbers each."""

    factors: tuple[float, ...]
    shifts: tuple[float, ...]

    def __call__(self, logits: Tensor) -> Tensor:
        """(N, K) logits -> (N, K) logits whose softmax is calibrated."""
        return logits * logits.new_tensor(self.factors) + logits.new_tensor(self.shifts)

    def sharpened(self, by: float) -> Scaling:
        """The same with all logits multiplied: above 1, the largest share grows."""
        return Scaling(tuple(by * f for f in self.factors), tuple(by * s for s in self.shifts))


def plain(classes: int, temperature: float = 1.0) -> Scaling:
    """One temperature for all classes, and no shift."""
    return Scaling((1 / temperature,) * classes, (0.0,) * classes)


def fit(logits: Tensor, targets: Tensor, strength: float = STRENGTH) -> Scaling:
    """The scaling that minimises cross-entropy: (N, K) logits, (N, K) target distributions.

    Rows of zeros are faces without a target, and count for nothing. strength: of the prior, a
    normal distribution of variance 1 / strength on every shift, and on the logarithm of every
    factor about the common one; infinite, it leaves nothing but a temperature.
    """
    asked = targets.sum(1) > 0
    logits, targets = logits[asked].double(), targets[asked].double()
    classes = logits.shape[1]
    common = torch.zeros((), dtype=torch.float64, requires_grad=True)
    own = torch.zeros(2, classes, dtype=torch.float64, requires_grad=math.isfinite(strength))
    wanted = [common, own] if math.isfinite(strength) else [common]
    optimizer = torch.optim.LBFGS(wanted, max_iter=200, line_search_fn="strong_wolfe")

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
    return Scaling(tuple(factors), tuple(own[1].detach().tolist()))


def crossed(
    logits: Tensor, targets: Tensor, strength: float = STRENGTH, folds: int = FOLDS
) -> Tensor:
    """(N, K) logits, each calibrated by the faces of the other folds: for honest numbers.

    The folds are drawn at random, and are the same every time.
    """
    fold = torch.as_tensor(np.random.default_rng(0).permutation(len(logits)) % folds)
    scaled = torch.empty_like(logits)
    for k in range(folds):
        own = fold == k
        scaled[own] = fit(logits[~own], targets[~own], strength)(logits[own])
    return scaled
