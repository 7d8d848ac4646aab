"""The whole dataset on the device, and batches of it, changed at random.

FER2013's training faces are 66 MB of uint8, so no loader and no workers: they sit on the device,
and augmentation is a chain of functions from batch to batch. Every random number of a global
batch is drawn on every rank, and each rank then takes its part: the faces do not depend on how
many processes share the work, if their number divides the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from mien.lab.data import Samples, pooled, shares
from mien.lab.recipe import Recipe

MEAN, SPREAD = 129.5, 65.0
"""Mean and standard deviation of the grey values of FER2013's Training faces."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What the loop needs of B faces, on the device.

    faces: (B, C, side, side) float32, standardised. labels: (B, 7) and votes: (B, 8) float32
    target distributions. label_weights, vote_weights: (B,) float32, how much each row counts.
    """

    faces: Tensor
    labels: Tensor
    votes: Tensor
    label_weights: Tensor
    vote_weights: Tensor

    def take(self, which: Tensor | slice) -> Batch:
        """The rows that an index or slice picks."""
        return Batch(*(getattr(self, name)[which] for name in self.__slots__))


def standardise(faces: Tensor) -> Tensor:
    """Grey values 0 to 255 -> mean 0 and spread 1 over FER2013; any shape, float32."""
    return (faces.float() - MEAN) / SPREAD


def window(faces: Tensor, side: int) -> Tensor:
    """The central side x side pixels: (N, C, H, W) -> (N, C, side, side)."""
    top, left = (faces.shape[2] - side) // 2, (faces.shape[3] - side) // 2
    return faces[:, :, top : top + side, left : left + side]


def on_device(samples: Samples, recipe: Recipe, device: torch.device) -> Batch:
    """All samples as one batch, faces still uint8 and whole: what `epoch` deals from."""
    labels = np.zeros((len(samples), 7), np.float32)
    known = samples.labels >= 0
    labels[known, samples.labels[known]] = 1
    counts = pooled(samples) if recipe.pool_votes else samples.votes
    votes = shares(counts, drop_single=recipe.drop_single_votes)
    label_weights = known.astype(np.float32)
    if recipe.class_weights:
        by_class = np.maximum(labels.sum(0), 1)
        label_weights[known] = (known.sum() / (7 * by_class))[samples.labels[known]]
    # A face on which few raters saw an emotion says less about how people share them out.
    asked = np.maximum(counts.sum(1), 1)
    vote_weights = (counts[:, :8].sum(1) / asked).astype(np.float32)
    arrays = (samples.faces[:, None], labels, votes, label_weights, vote_weights)
    return Batch(*(torch.as_tensor(np.ascontiguousarray(a)).to(device) for a in arrays))


def steps_per_epoch(count: int, recipe: Recipe) -> int:
    """Batches in an epoch of `count` faces; a last, smaller one is left out."""
    return max(1, count // recipe.batch)


def size_in(recipe: Recipe, number: int) -> int:
    """Pixels of the faces that epoch `number` trains on, a multiple of 4 until it is `side`.

    Progressive learning: Tan & Le 2021, https://arxiv.org/abs/2104.00298.
    """
    if not recipe.first_side:
        return recipe.side
    grown = min(1.0, number / max(1, recipe.epochs * 2 / 3 - 1))
    size = recipe.first_side + grown * (recipe.side - recipe.first_side)
    return recipe.side if grown == 1 else min(recipe.side, round(size / 4) * 4)


def epoch(
    data: Batch,
    recipe: Recipe,
    number: int,
    *,
    rank: int = 0,
    world: int = 1,
    stored: tuple[int, int] | None = None,
) -> Iterator[Batch]:
    """The batches of epoch `number` for one rank of `world`, each face at most once.

    The order and the augmentation depend on the recipe's seed and the epoch's number alone, so
    that a resumed run sees what an uninterrupted one would have seen. stored: the seed and epoch
    whose order and augmentation to repeat instead, as teachers were asked of it.
    """
    device = data.faces.device
    own = recipe.seed * 100_003 + number
    seed, shown = stored or (recipe.seed, number)
    dice = Generator(device=device).manual_seed(seed * 100_003 + shown)
    domain_rng = Generator(device=device).manual_seed(own + 2**40)
    order = torch.randperm(len(data.faces), generator=dice, device=device)
    count = min(recipe.batch, len(order)) // world * world
    mine = slice(rank * count // world, (rank + 1) * count // world)
    size = size_in(recipe, number)
    for step in range(steps_per_epoch(len(order), recipe)):
        which = order[step * recipe.batch :][:count]
        batch = augment(data.take(which), recipe, dice, size)
        faces = other_domains(batch.faces, recipe.domain, domain_rng)
        yield replace(batch, faces=faces).take(mine)


def augment(batch: Batch, recipe: Recipe, dice: Generator, size: int) -> Batch:
    """A batch as the network sees it in training: uint8 faces -> moved, lit, erased, mixed."""
    faces = standardise(batch.faces)
    faces = move(faces, recipe, dice, size)
    faces = light(faces, recipe.light, dice)
    faces = erase(faces, recipe.erase, dice)
    batch = replace(batch, faces=faces.expand(-1, recipe.channels, -1, -1))
    return mix(batch, recipe.mixup, recipe.cutmix, dice)


def move(faces: Tensor, recipe: Recipe, dice: Generator, size: int) -> Tensor:
    """Mirror, turn, scale and shift each face: (N, C, H, W) -> (N, C, size, size).

    One resampling for all four, and for shrinking the window of `recipe.side` pixels to `size`.
    Where nothing changes it is the central window, pixel for pixel.
    """
    count, _, high, wide = faces.shape
    if size == recipe.side and not (recipe.flip or recipe.rotation or recipe.scale or recipe.shift):
        return window(faces, recipe.side)
    uniform = torch.rand(5, count, generator=dice, device=faces.device) * 2 - 1
    turn = uniform[0] * (recipe.rotation * torch.pi / 180)
    zoom = (1 + recipe.scale) ** uniform[1]
    mirror = torch.where(uniform[4] < 0, -1.0, 1.0) if recipe.flip else torch.ones_like(turn)
    # Output pixel -> input pixel, in affine_grid's units, where -1 and 1 are the edges.
    cos, sin = turn.cos() / zoom, turn.sin() / zoom
    theta = torch.zeros(count, 2, 3, device=faces.device)
    theta[:, 0, 0] = mirror * cos * (recipe.side / wide)
    theta[:, 0, 1] = -mirror * sin * (recipe.side / wide)
    theta[:, 1, 0] = sin * (recipe.side / high)
    theta[:, 1, 1] = cos * (recipe.side / high)
    theta[:, :, 2] = uniform[2:4].T * (2 * recipe.shift)
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    return F.grid_sample(faces, grid, recipe.resample, padding_mode="border", align_corners=False)


def light(faces: Tensor, amount: float, dice: Generator) -> Tensor:
    """Change contrast by a factor and brightness by a shift, each up to `amount`, per face."""
    if not amount:
        return faces
    uniform = torch.rand(2, len(faces), 1, 1, 1, generator=dice, device=faces.device) * 2 - 1
    return faces * (1 + amount * uniform[0]) + amount * uniform[1]


def erase(faces: Tensor, probability: float, dice: Generator) -> Tensor:
    """Fill one rectangle of 2 to 20 % of the area with noise, in a share of the faces.

    Zhong et al. 2017, https://arxiv.org/abs/1708.04896.
    """
    if not probability:
        return faces
    inside = rectangles(faces, 0.02, 0.2, dice)
    chosen = torch.rand(len(faces), 1, 1, 1, generator=dice, device=faces.device) < probability
    noise = torch.randn(faces.shape, generator=dice, device=faces.device)
    return torch.where(inside & chosen, noise, faces)


MARGINS = (0.8, 1.4)
GAMMAS = (0.5, 2.0)
CONTRASTS = (0.5, 1.3)
BLURS = (0.0, 1.5)
"""What other sources of faces do, from the least to the most: size of the crop as a share of
FER2013's, exponent of the tone curve, contrast, and standard deviation of a blur in pixels."""


def other_domains(faces: Tensor, probability: float, rng: Generator) -> Tensor:
    """Faces as other sources might have cut, lit and blurred them: (N, C, H, W), standardised.

    Applied after mixing and after teachers have answered, so that the targets of a face are those
    of its clearer version.
    """
    if not probability:
        return faces
    count, side, device = len(faces), faces.shape[2], faces.device
    uniform = torch.rand(6, count, generator=rng, device=device)
    chosen = (uniform[0] < probability).view(-1, 1, 1, 1)

    def between(u: Tensor, limits: tuple[float, float]) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * u

    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = between(uniform[1], MARGINS)
    grid = F.affine_grid(theta, [count, 1, side, side], align_corners=False)
    changed = F.grid_sample(faces, grid, "bilinear", padding_mode="border", align_corners=False)
    changed = blurred(changed, between(uniform[2], BLURS))
    grey = (changed * SPREAD + MEAN) / 255
    gamma = torch.exp(between(uniform[3], (math.log(GAMMAS[0]), math.log(GAMMAS[1]))))
    grey = grey.clamp(0, 1) ** gamma.view(-1, 1, 1, 1)
    mean = grey.mean((1, 2, 3), keepdim=True)
    contrast = between(uniform[4], CONTRASTS).view(-1, 1, 1, 1)
    light = between(uniform[5], (-0.15, 0.15)).view(-1, 1, 1, 1)
    grey = ((grey - mean) * contrast + mean + light).clamp(0, 1)
    return torch.where(chosen, (grey * 255 - MEAN) / SPREAD, faces)


def blurred(faces: Tensor, sigma: Tensor) -> Tensor:
    """Each face blurred by its own Gaussian: (N, C, H, W), (N,) pixels."""
    count, channels, high, wide = faces.shape
    offset = torch.arange(-4, 5, device=faces.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offset / sigma.clamp(min=0.1)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = faces.reshape(1, count * channels, high, wide)
    planes = F.pad(planes, (4, 4, 4, 4), mode="replicate")
    planes = F.conv2d(planes, kernel[:, None, None, :], groups=count * channels)
    planes = F.conv2d(planes, kernel[:, None, :, None], groups=count * channels)
    return planes.reshape(faces.shape)


def rectangles(faces: Tensor, smallest: float, largest: float, dice: Generator) -> Tensor:
    """One random rectangle per face, as a mask (N, 1, H, W); areas are shares of the picture."""
    count, _, high, wide = faces.shape
    uniform = torch.rand(4, count, 1, generator=dice, device=faces.device)
    area = smallest + (largest - smallest) * uniform[0]
    aspect = torch.exp((uniform[1] * 2 - 1) * 1.0986)  # 1/3 to 3
    tall = (area * aspect).sqrt().clamp(max=1)
    broad = (area / aspect).sqrt().clamp(max=1)
    top, left = uniform[2] * (1 - tall), uniform[3] * (1 - broad)
    y = (torch.arange(high, device=faces.device) + 0.5) / high
    x = (torch.arange(wide, device=faces.device) + 0.5) / wide
    rows, columns = (y > top) & (y < top + tall), (x > left) & (x < left + broad)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def mix(batch: Batch, mixup: float, cutmix: float, dice: Generator) -> Batch:
    """With these probabilities per batch, blend the faces with others of it, targets and all.

    Mixup with Beta(0.2, 0.2), Zhang et al. 2018, https://arxiv.org/abs/1710.09412; CutMix, Yun et
    al. 2019, https://arxiv.org/abs/1905.04899.
    """
    if not mixup and not cutmix:
        return batch
    device = batch.faces.device
    coin = torch.rand((), generator=dice, device=device).item()
    other = batch.take(torch.randperm(len(batch.faces), generator=dice, device=device))
    if coin < mixup:
        share = beta(0.2, dice)
        faces = share * batch.faces + (1 - share) * other.faces
        shares_kept = torch.full((len(faces), 1), share, device=device)
    elif coin < mixup + cutmix:
        inside = rectangles(batch.faces, 0.1, 0.6, dice)
        faces = torch.where(inside, other.faces, batch.faces)
        shares_kept = 1 - inside.float().mean((1, 2, 3))[:, None]
    else:
        return batch
    return Batch(faces, *_mix_targets(batch, other, shares_kept))


def beta(alpha: float, dice: Generator) -> float:
    """One draw from Beta(alpha, alpha) by Joehnk's method; torch's own Beta takes no generator."""
    while True:
        uniform = torch.rand(2, generator=dice, device=dice.device) ** (1 / alpha)
        if 0 < (total := uniform.sum().item()) <= 1:
            return uniform[0].item() / total


def _mix_targets(one: Batch, other: Batch, share: Tensor) -> tuple[Tensor, ...]:
    """Targets blended by how much each row counts, so that a row without votes adds none."""

    def blend(a: Tensor, a_weight: Tensor, b: Tensor, b_weight: Tensor) -> tuple[Tensor, Tensor]:
        a_part, b_part = share * a_weight[:, None], (1 - share) * b_weight[:, None]
        total = a_part + b_part
        return (a_part * a + b_part * b) / total.clamp(min=1e-12), total[:, 0]

    labels, label_weights = blend(one.labels, one.label_weights, other.labels, other.label_weights)
    votes, vote_weights = blend(one.votes, one.vote_weights, other.votes, other.vote_weights)
    return labels, votes, label_weights, vote_weights
