"""Calibrate logits by vector scaling, and mix the two heads of a network.

Vector scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599) multiplies the logits of each
class by a factor and adds an offset. To prevent overfitting on few faces, a prior keeps the factors
near a common factor and the offsets near zero.
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
"""Number of folds of `cross_validate`."""

PRIOR_STRENGTH = 4.0
"""Default inverse variance of the normal prior of `fit`; 4 is a standard deviation of 0.5."""


@dataclass(frozen=True)
class VectorScaling:
    """A factor and an offset for the logits of each of K classes.

    Attributes:
        factors: K factors.
        shifts: K offsets; model cards store them under this name.
    """

    factors: tuple[float, ...]
    shifts: tuple[float, ...]

    def __call__(self, logits: Tensor) -> Tensor:
        """Return the calibrated (N, K) logits."""
        return logits * logits.new_tensor(self.factors) + logits.new_tensor(self.shifts)


def identity(classes: int) -> VectorScaling:
    """Return the scaling that leaves the logits of `classes` classes unchanged."""
    return VectorScaling((1.0,) * classes, (0.0,) * classes)


def fit(logits: Tensor, targets: Tensor, strength: float = PRIOR_STRENGTH) -> VectorScaling:
    """Fit the scaling that minimizes the cross-entropy under a prior.

    Args:
        logits: (N, K).
        targets: (N, K) distributions; rows of zeros (faces without a target) are ignored.
        strength: Strength of the prior. Each offset and each log(factor / common factor) has a
            normal prior with mean 0 and variance 1 / `strength`; the common factor has no prior.
            With `math.inf` the fit is temperature scaling.

    Returns:
        The fitted scaling; the identity if no face has a target.
    """
    has_target = targets.sum(1) > 0
    logits, targets = logits[has_target].double(), targets[has_target].double()
    classes = logits.shape[1]
    common_log_factor = torch.zeros((), dtype=torch.float64, requires_grad=True)
    # First row: logarithms of factor / common factor. Second row: offsets.
    per_class = torch.zeros(2, classes, dtype=torch.float64, requires_grad=math.isfinite(strength))
    parameters = [common_log_factor, per_class] if math.isfinite(strength) else [common_log_factor]
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def loss_and_gradients() -> Tensor:
        optimizer.zero_grad()
        scaled = logits * (common_log_factor + per_class[0]).exp() + per_class[1]
        loss = F.cross_entropy(scaled, targets)
        if math.isfinite(strength):
            loss = loss + strength / 2 * (per_class**2).sum() / max(len(logits), 1)
        loss.backward()
        return loss

    if len(logits):
        optimizer.step(loss_and_gradients)  # type: ignore[arg-type]
    factors = (common_log_factor + per_class[0]).exp().detach().tolist()
    return VectorScaling(tuple(factors), tuple(per_class[1].detach().tolist()))


def cross_validate(
    logits: Tensor, targets: Tensor, strength: float = PRIOR_STRENGTH, folds: int = FOLDS
) -> Tensor:
    """Calibrate the logits of each face by a scaling that is fitted on the other folds.

    The scores of the result are therefore not biased by the fit. The folds are random with a fixed
    seed.

    Args:
        logits: (N, K).
        targets: (N, K), as for `fit`.
        strength: Strength of the prior, as for `fit`.
        folds: The number of folds.

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


def mix_heads(logits: Tensor, label_head_weight: float) -> Tensor:
    """Mix the predictions of the vote head and the label head by a weighted geometric mean.

    FER+ raters chose neutral for many faces that FER2013 labels angry. On faces from other sources
    the label head is often closer to the expression than the vote head.

    Args:
        logits: (N, 15), logits of both heads.
        label_head_weight: Weight of the label head, 0 to 1; the vote head has the weight
            1 - `label_head_weight`.

    Returns:
        (N, 8) logarithms of votes^(1 - a) x labels^a for the weight a, not normalized. Contempt,
        which the label head does not predict, is taken from the vote head alone.
    """
    votes = logits[:, HEADS["votes"]].log_softmax(1)
    labels = logits[:, HEADS["labels"]].log_softmax(1)
    common_classes = labels.shape[1]
    product = (1 - label_head_weight) * votes[:, :common_classes] + label_head_weight * labels
    return torch.cat([product, votes[:, common_classes:]], 1)


LABEL_HEAD_WEIGHTS = tuple(k / 100 for k in range(0, 31, 2))
"""The candidates of `choose_label_head_weight`."""

MAX_KL_INCREASE = 0.006
"""Maximum increase of the KL divergence by mixing in the label head, in nats."""


def choose_label_head_weight(logits: Tensor, votes: np.ndarray) -> float:
    """Choose the largest weight that raises the KL divergence by at most `MAX_KL_INCREASE`.

    The divergence is that of the predicted shares from the vote shares. On faces of FER2013 it is
    usually smallest without the label head, but the label head improves predictions for faces from
    other sources. Each candidate is calibrated by cross-validation.

    Args:
        logits: (N, 15), logits of both heads.
        votes: (N, 10), FER+ vote counts.

    Returns:
        One of `LABEL_HEAD_WEIGHTS`.
    """
    targets = torch.as_tensor(data.shares(votes))
    has_enough_votes, vote_shares = data.seven_shares(votes)

    def divergence(label_head_weight: float) -> float:
        calibrated = cross_validate(mix_heads(logits, label_head_weight), targets)
        emotion_shares = restrict_labels(
            calibrated.softmax(1).numpy()[has_enough_votes], EMOTIONS_AND_CONTEMPT, EMOTIONS
        )
        return float(metrics.kl_divergence(vote_shares, emotion_shares).mean())

    limit = divergence(0.0) + MAX_KL_INCREASE
    return max(
        candidate
        for candidate in LABEL_HEAD_WEIGHTS
        if candidate == 0 or divergence(candidate) <= limit
    )
