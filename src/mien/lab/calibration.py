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

from mien.lab import data, metrics
from mien.lab.heads import HEADS
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT, restrict_labels

FOLDS = 10

STRENGTH = 4.0
"""Of the prior: a standard deviation of one half."""


@dataclass(frozen=True)
class VectorScaling:
    """What the logits of each class are multiplied by, and what is then added: K numbers each."""

    factors: tuple[float, ...]
    shifts: tuple[float, ...]

    def __call__(self, logits: Tensor) -> Tensor:
        """(N, K) logits -> (N, K) logits whose softmax is calibrated."""
        return logits * logits.new_tensor(self.factors) + logits.new_tensor(self.shifts)


def plain(classes: int, temperature: float = 1.0) -> VectorScaling:
    """One temperature for all classes, and no shift."""
    return VectorScaling((1 / temperature,) * classes, (0.0,) * classes)


def fit(logits: Tensor, targets: Tensor, strength: float = STRENGTH) -> VectorScaling:
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
    return VectorScaling(tuple(factors), tuple(own[1].detach().tolist()))


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


def mixed(answers: Tensor, label_share: float) -> Tensor:
    """The vote head's answers with those of the label head mixed in.

    The raters of FER+ call plain faces neutral which FER2013 calls angry; on faces of other
    sources the label head is often nearer to what is shown.

    Args:
        answers: (N, 15) logits of both heads.
        label_share: the exponent a of votes ^ (1 - a) x labels ^ a, 0 to 1.

    Returns:
        (N, 8) logarithms of the product, not normalised; contempt, which the labels do not know,
        is the vote head's own.
    """
    votes = answers[:, HEADS["votes"]].log_softmax(1)
    labels = answers[:, HEADS["labels"]].log_softmax(1)
    known = labels.shape[1]
    product = (1 - label_share) * votes[:, :known] + label_share * labels
    return torch.cat([product, votes[:, known:]], 1)


LABEL_SHARES = tuple(k / 100 for k in range(0, 31, 2))
MAX_KL = 0.006
"""Of the label shares, the largest is taken whose KL divergence from the votes, in nats, is at most
so much above that without labels."""


def label_share(answers: Tensor, votes: np.ndarray) -> float:
    """How much of the label head may be mixed in: (N, 15) logits, (N, 10) votes.

    Fitted by cross-entropy to the votes it would be 0, for these are the votes' own faces; it is
    other faces that need it. The calibration is fitted anew, by cross-validation, for each.
    """
    targets = torch.as_tensor(data.shares(votes))
    asked, shares = data.seven_shares(votes)

    def divergence(share: float) -> float:
        said = crossed(mixed(answers, share), targets).softmax(1).numpy()[asked]
        seven = restrict_labels(said, EMOTIONS_AND_CONTEMPT, EMOTIONS)
        return float(metrics.kl_divergence(shares, seven).mean())

    most = divergence(0.0) + MAX_KL
    return max(share for share in LABEL_SHARES if not share or divergence(share) <= most)
