"""Faces changed at random for training, by random numbers that are drawn an epoch ahead.

NumPy draws them on the host from the seed and the epoch's number, so they are the same on every
device and in every process, and a step on the device neither draws nor waits: a CUDA graph can
replay it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mien.lab.batches import (
    MEAN,
    SPREAD,
    Batch,
    faces_per_step,
    size_in,
    standardise,
    steps_per_epoch,
    window,
)
from mien.lab.config import Config

MIXUP_ALPHA = 0.2
"""Of the Beta distribution from which mixup draws its shares."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The random numbers of S steps of B faces each; those of one step lack the first axis.

    Attributes:
        faces: (S, B) int64, which faces of the dataset are shown.
        partners: (S, B) int64, the face of the batch with which each is mixed.
        move: (S, 5, B), uniform from 0 to 1, like all that follow but the last two.
        light: (S, 2, B).
        erase: (S, 5, B).
        cutmix: (S, 4, B).
        domain: (S, 6, B).
        coin: (S,), which kind of mixing a batch gets.
        mixup: (S,), the share of each face in its own mixture, from a Beta distribution.
        noise: (B, 1, size, size), standard normal; one picture a face for the whole epoch, which
            `partners` deals out anew in each step.
    """

    faces: Tensor
    partners: Tensor
    move: Tensor
    light: Tensor
    erase: Tensor
    cutmix: Tensor
    domain: Tensor
    coin: Tensor
    mixup: Tensor
    noise: Tensor

    def at(self, number: Tensor) -> Draws:
        """Those of the step whose number is the one element of `number`, an int64 tensor."""
        names = [field.name for field in fields(self) if field.name != "noise"]
        step = {name: getattr(self, name).index_select(0, number)[0] for name in names}
        return Draws(**step, noise=self.noise[step["partners"]])


def draw(
    config: Config,
    count: int,
    number: int,
    device: torch.device,
    *,
    world: int = 1,
    shown: tuple[int, int] | None = None,
) -> Draws:
    """The random numbers of epoch `number` over a dataset of `count` faces.

    shown: the seed and epoch whose order and augmentation to repeat instead, as teachers were
    asked of it; `domain` is the epoch's own in any case.
    """
    steps, batch = steps_per_epoch(count, config), faces_per_step(count, config, world)
    size = size_in(config, number)
    rng = np.random.default_rng(shown or (config.seed, number))

    def uniform(rng: np.random.Generator, *shape: int) -> np.ndarray:
        return rng.random((steps, *shape), dtype=np.float32)

    order = rng.permutation(count)
    in_steps = np.stack([order[step * config.batch_size :][:batch] for step in range(steps)])
    drawn = {
        "faces": in_steps,
        "partners": rng.permuted(np.tile(np.arange(batch), (steps, 1)), axis=1),
        "move": uniform(rng, 5, batch),
        "light": uniform(rng, 2, batch),
        "erase": uniform(rng, 5, batch),
        "cutmix": uniform(rng, 4, batch),
        "domain": uniform(np.random.default_rng((config.seed, number, 1)), 6, batch),
        "coin": uniform(rng),
        "mixup": rng.beta(MIXUP_ALPHA, MIXUP_ALPHA, steps).astype(np.float32),
        "noise": rng.standard_normal((batch, 1, size, size), dtype=np.float32),
    }
    return Draws(**{name: torch.as_tensor(array).to(device) for name, array in drawn.items()})


def epoch(
    data: Batch, config: Config, number: int, *, shown: tuple[int, int] | None = None
) -> Iterator[Batch]:
    """The batches of epoch `number`, each face at most once; see `draw`."""
    device = data.faces.device
    draws = draw(config, len(data.faces), number, device, shown=shown)
    for step in range(steps_per_epoch(len(data.faces), config)):
        now = draws.at(torch.tensor([step], device=device))
        yield augment(data.take(now.faces), now, config, size_in(config, number))


def augment(batch: Batch, draws: Draws, config: Config, size: int) -> Batch:
    """A batch as the network sees it in training: uint8 faces -> moved, lit, erased, mixed.

    draws: of this one step. size: pixels of the side of the faces that come out.
    """
    faces = standardise(batch.faces)
    faces = move(faces, draws.move, config, size)
    faces = light(faces, draws.light, config.brightness_contrast)
    faces = erase(faces, draws.erase, draws.noise, config.random_erasing)
    batch = replace(batch, faces=faces.expand(-1, config.channels, -1, -1))
    mixed = mix(batch, draws, config.mixup, config.cutmix)
    return replace(
        mixed, faces=other_domains(mixed.faces, draws.domain, config.domain_randomization)
    )


def move(faces: Tensor, uniform: Tensor, config: Config, size: int) -> Tensor:
    """Mirror, turn, scale and shift each face: (N, C, H, W), (5, N) -> (N, C, size, size).

    One resampling for all four, and for shrinking the crop of `config.input_size` to `size`.
    Where nothing changes it is the central window, pixel for pixel.
    """
    count, _, high, wide = faces.shape
    if size == config.input_size and not (
        config.flip or config.rotation or config.scale or config.translate
    ):
        return window(faces, config.input_size)
    each_way = uniform * 2 - 1
    turn = each_way[0] * (config.rotation * torch.pi / 180)
    zoom = (1 + config.scale) ** each_way[1]
    mirror = torch.where(each_way[4] < 0, -1.0, 1.0) if config.flip else torch.ones_like(turn)
    # Output pixel -> input pixel, in affine_grid's units, where -1 and 1 are the edges.
    cos, sin = turn.cos() / zoom, turn.sin() / zoom
    theta = torch.zeros(count, 2, 3, device=faces.device)
    theta[:, 0, 0] = mirror * cos * (config.input_size / wide)
    theta[:, 0, 1] = -mirror * sin * (config.input_size / wide)
    theta[:, 1, 0] = sin * (config.input_size / high)
    theta[:, 1, 1] = cos * (config.input_size / high)
    theta[:, :, 2] = each_way[2:4].T * (2 * config.translate)
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    return F.grid_sample(
        faces, grid, config.interpolation, padding_mode="border", align_corners=False
    )


def light(faces: Tensor, uniform: Tensor, amount: float) -> Tensor:
    """Change contrast by a factor and brightness by a shift, each up to `amount`, per face.

    uniform: (2, N).
    """
    if not amount:
        return faces
    each_way = (uniform * 2 - 1)[..., None, None, None]
    return faces * (1 + amount * each_way[0]) + amount * each_way[1]


def erase(faces: Tensor, uniform: Tensor, noise: Tensor, probability: float) -> Tensor:
    """Fill one rectangle of 2 to 20 % of the area with noise, in a share of the faces.

    uniform: (5, N). noise: (N, 1, H, W). Zhong et al. 2017, https://arxiv.org/abs/1708.04896.
    """
    if not probability:
        return faces
    inside = rectangles(uniform[:4], 0.02, 0.2, faces.shape[2], faces.shape[3])
    chosen = (uniform[4] < probability)[:, None, None, None]
    return torch.where(inside & chosen, noise, faces)


def rectangles(uniform: Tensor, smallest: float, largest: float, high: int, wide: int) -> Tensor:
    """One random rectangle per face, as a mask: (4, N) -> (N, 1, high, wide).

    smallest, largest: its area as a share of the picture's.
    """
    uniform = uniform[..., None]
    area = smallest + (largest - smallest) * uniform[0]
    aspect = torch.exp((uniform[1] * 2 - 1) * math.log(3))  # 1/3 to 3
    tall = (area * aspect).sqrt().clamp(max=1)
    broad = (area / aspect).sqrt().clamp(max=1)
    top, left = uniform[2] * (1 - tall), uniform[3] * (1 - broad)
    y = (torch.arange(high, device=uniform.device) + 0.5) / high
    x = (torch.arange(wide, device=uniform.device) + 0.5) / wide
    rows, columns = (y > top) & (y < top + tall), (x > left) & (x < left + broad)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def mix(batch: Batch, draws: Draws, mixup: float, cutmix: float) -> Batch:
    """With these probabilities per batch, blend the faces with others of it, targets and all.

    Mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412; CutMix: Yun et al. 2019,
    https://arxiv.org/abs/1905.04899. Both are a weight of each pixel, which is 1 where nothing
    is mixed.
    """
    if not mixup and not cutmix:
        return batch
    is_mixup = draws.coin < mixup
    is_cutmix = ~is_mixup & (draws.coin < mixup + cutmix)
    inside = rectangles(draws.cutmix, 0.1, 0.6, *batch.faces.shape[2:])
    kept = torch.where(is_mixup, draws.mixup, torch.where(is_cutmix & inside, 0.0, 1.0))
    other = batch.take(draws.partners)
    faces = kept * batch.faces + (1 - kept) * other.faces
    return Batch(faces, *_mix_targets(batch, other, kept.mean((1, 2, 3))[:, None]))


def _mix_targets(one: Batch, other: Batch, share: Tensor) -> tuple[Tensor, ...]:
    """Targets blended by how much each row counts, so that a row without votes adds none."""

    def blend(a: Tensor, a_weight: Tensor, b: Tensor, b_weight: Tensor) -> tuple[Tensor, Tensor]:
        a_part, b_part = share * a_weight[:, None], (1 - share) * b_weight[:, None]
        total = a_part + b_part
        return (a_part * a + b_part * b) / total.clamp(min=1e-12), total[:, 0]

    labels, label_weights = blend(one.labels, one.label_weights, other.labels, other.label_weights)
    votes, vote_weights = blend(one.votes, one.vote_weights, other.votes, other.vote_weights)
    return labels, votes, label_weights, vote_weights


MARGINS = (0.8, 1.4)
GAMMAS = (0.5, 2.0)
CONTRASTS = (0.5, 1.3)
BLURS = (0.0, 1.5)
"""What other sources of faces do, from the least to the most: size of the crop as a share of
FER2013's, exponent of the tone curve, contrast, and standard deviation of a blur in pixels."""


def other_domains(faces: Tensor, uniform: Tensor, probability: float) -> Tensor:
    """Faces as other sources might have cut, lit and blurred them: (N, C, H, W), standardised.

    uniform: (6, N). Applied after mixing and, with stored answers, out of the teachers' sight, so
    that the targets of a face are those of its clearer version.
    """
    if not probability:
        return faces
    count, side = len(faces), faces.shape[2]
    chosen = (uniform[0] < probability).view(-1, 1, 1, 1)

    def between(u: Tensor, limits: tuple[float, float]) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * u

    theta = torch.zeros(count, 2, 3, device=faces.device)
    theta[:, 0, 0] = theta[:, 1, 1] = between(uniform[1], MARGINS)
    grid = F.affine_grid(theta, [count, 1, side, side], align_corners=False)
    changed = F.grid_sample(faces, grid, "bilinear", padding_mode="border", align_corners=False)
    changed = blurred(changed, between(uniform[2], BLURS))
    grey = (changed * SPREAD + MEAN) / 255
    gamma = torch.exp(between(uniform[3], (math.log(GAMMAS[0]), math.log(GAMMAS[1]))))
    grey = grey.clamp(0, 1) ** gamma.view(-1, 1, 1, 1)
    mean = grey.mean((1, 2, 3), keepdim=True)
    contrast = between(uniform[4], CONTRASTS).view(-1, 1, 1, 1)
    brightness = between(uniform[5], (-0.15, 0.15)).view(-1, 1, 1, 1)
    grey = ((grey - mean) * contrast + mean + brightness).clamp(0, 1)
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
