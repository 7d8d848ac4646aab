"""Data augmentation with parameters that are sampled before an epoch.

NumPy samples them on the host from the seed and the number of the epoch, so the parameters are
equal on every device and in every process. A step on the device then needs no random numbers and no
synchronization, which lets a CUDA graph replay it.
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
    STD,
    Batch,
    center_crop,
    face_size,
    faces_per_step,
    standardize,
    steps_per_epoch,
)
from mien.lab.config import Config

MIXUP_ALPHA = 0.2
"""Parameter of the Beta distribution of mixup."""


@dataclass(frozen=True, slots=True)
class AugmentationParameters:
    """Random numbers for S steps of B faces, or for one step (see `at`) without the axis S.

    Numbers are uniform from 0 to 1 unless stated otherwise.

    Attributes:
        indices: (S, B) int64, dataset indices of the faces of each batch.
        partners: (S, B) int64, the face of the batch that each face is mixed with.
        affine: (S, 5, B): rotation, scale, horizontal and vertical translation, flip.
        brightness_contrast: (S, 2, B): contrast, brightness.
        random_erasing: (S, 5, B): area, aspect ratio, top, left, whether it is applied.
        cutmix: (S, 4, B): area, aspect ratio, top, left.
        domain_randomization: (S, 6, B): whether it is applied, margin, blur, tone curve, contrast,
            brightness.
        mix_choice: (S,), selects mixup, CutMix or neither for a batch.
        mixup: (S,), mixup's lambda: the weight of a face against its partner, from a Beta
            distribution.
        noise: (B, 1, size, size), standard normal; one image per position in the batch, sampled
            once per epoch and permuted by `partners` in each step.
    """

    indices: Tensor
    partners: Tensor
    affine: Tensor
    brightness_contrast: Tensor
    random_erasing: Tensor
    cutmix: Tensor
    domain_randomization: Tensor
    mix_choice: Tensor
    mixup: Tensor
    noise: Tensor

    def at(self, step: Tensor) -> AugmentationParameters:
        """The parameters of one step; `step` is its index in the epoch, a (1,) int64 tensor."""
        names = [field.name for field in fields(self) if field.name != "noise"]
        selected = {name: getattr(self, name).index_select(0, step)[0] for name in names}
        return AugmentationParameters(**selected, noise=self.noise[selected["partners"]])


def sample(
    config: Config,
    count: int,
    epoch: int,
    device: torch.device,
    *,
    world_size: int = 1,
    repeat: tuple[int, int] | None = None,
) -> AugmentationParameters:
    """Sample the augmentation of an epoch.

    Args:
        config: config of the training.
        count: number of faces in the training set.
        epoch: number of the epoch, from 0.
        device: device of the result.
        world_size: number of processes that share each batch.
        repeat: for stored teacher logits, the seed and epoch whose order and augmentation are
            repeated. Domain randomization still depends on `config.seed` and `epoch`.
    """
    steps, batch = steps_per_epoch(count, config), faces_per_step(count, config, world_size)
    size = face_size(config, epoch)
    rng = np.random.default_rng(repeat or (config.seed, epoch))

    def uniform(rng: np.random.Generator, *shape: int) -> np.ndarray:
        return rng.random((steps, *shape), dtype=np.float32)

    order = rng.permutation(count)
    indices = np.stack([order[step * config.batch_size :][:batch] for step in range(steps)])
    arrays = {
        "indices": indices,
        "partners": rng.permuted(np.tile(np.arange(batch), (steps, 1)), axis=1),
        "affine": uniform(rng, 5, batch),
        "brightness_contrast": uniform(rng, 2, batch),
        "random_erasing": uniform(rng, 5, batch),
        "cutmix": uniform(rng, 4, batch),
        "domain_randomization": uniform(np.random.default_rng((config.seed, epoch, 1)), 6, batch),
        "mix_choice": uniform(rng),
        "mixup": rng.beta(MIXUP_ALPHA, MIXUP_ALPHA, steps).astype(np.float32),
        "noise": rng.standard_normal((batch, 1, size, size), dtype=np.float32),
    }
    tensors = {name: torch.as_tensor(array).to(device) for name, array in arrays.items()}
    return AugmentationParameters(**tensors)


def augmented_batches(
    data: Batch, config: Config, epoch: int, *, repeat: tuple[int, int] | None = None
) -> Iterator[Batch]:
    """The augmented batches of an epoch, each face at most once; arguments as in `sample`."""
    device = data.faces.device
    parameters = sample(config, len(data.faces), epoch, device, repeat=repeat)
    for step in range(steps_per_epoch(len(data.faces), config)):
        current = parameters.at(torch.tensor([step], device=device))
        yield augment(data.select(current.indices), current, config, face_size(config, epoch))


def augment(batch: Batch, parameters: AugmentationParameters, config: Config, size: int) -> Batch:
    """Augment a batch of uint8 faces.

    Args:
        batch: uint8 faces.
        parameters: the parameters of this step.
        config: strengths and probabilities.
        size: width and height of the result.

    Returns:
        Standardized float32 faces; mixed faces have mixed targets.
    """
    faces = standardize(batch.faces)
    faces = affine(faces, parameters.affine, config, size)
    faces = brightness_contrast(faces, parameters.brightness_contrast, config.brightness_contrast)
    faces = random_erasing(
        faces, parameters.random_erasing, parameters.noise, config.random_erasing
    )
    batch = replace(batch, faces=faces.expand(-1, config.channels, -1, -1))
    mixed = mixup_cutmix(batch, parameters, config.mixup, config.cutmix)
    randomized = domain_randomization(
        mixed.faces, parameters.domain_randomization, config.domain_randomization
    )
    return replace(mixed, faces=randomized)


def affine(faces: Tensor, uniform: Tensor, config: Config, size: int) -> Tensor:
    """Flip, rotate, scale and translate each face: (N, C, H, W), (5, N) -> (N, C, size, size).

    All of this, including the resize from `config.input_size` to `size`, is one resampling. With
    all strengths at 0 and no resize, the result is exactly the center crop.
    """
    count, _, height, width = faces.shape
    crop = config.input_size
    is_fixed = not (config.flip or config.rotation or config.scale or config.translate)
    if size == crop and is_fixed:
        return center_crop(faces, crop)
    symmetric = uniform * 2 - 1
    angle = symmetric[0] * (config.rotation * torch.pi / 180)
    zoom = (1 + config.scale) ** symmetric[1]
    flip = torch.where(symmetric[4] < 0, -1.0, 1.0) if config.flip else torch.ones_like(angle)
    # From output to input pixels, in affine_grid's coordinates, where -1 and 1 are the edges.
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    theta = torch.zeros(count, 2, 3, device=faces.device)
    theta[:, 0, 0] = flip * cos * (crop / width)
    theta[:, 0, 1] = -flip * sin * (crop / width)
    theta[:, 1, 0] = sin * (crop / height)
    theta[:, 1, 1] = cos * (crop / height)
    theta[:, :, 2] = symmetric[2:4].T * (2 * config.translate)
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    return F.grid_sample(
        faces, grid, config.interpolation, padding_mode="border", align_corners=False
    )


def brightness_contrast(faces: Tensor, uniform: Tensor, strength: float) -> Tensor:
    """Scale the contrast and shift the brightness of each face by up to `strength`.

    Args:
        faces: (N, C, H, W), standardized.
        uniform: (2, N).
        strength: largest relative change of contrast, and change of brightness in units of `STD`.
    """
    if not strength:
        return faces
    symmetric = (uniform * 2 - 1)[..., None, None, None]
    return faces * (1 + strength * symmetric[0]) + strength * symmetric[1]


def random_erasing(faces: Tensor, uniform: Tensor, noise: Tensor, probability: float) -> Tensor:
    """Fill a rectangle of 2 to 20 % of the area with noise, with a probability per face.

    Zhong et al. 2017, https://arxiv.org/abs/1708.04896.

    Args:
        faces: (N, C, H, W), standardized.
        uniform: (5, N).
        noise: (N, 1, H, W), standard normal.
        probability: 0 to 1.
    """
    if not probability:
        return faces
    inside = random_rectangles(uniform[:4], 0.02, 0.2, faces.shape[2], faces.shape[3])
    selected = (uniform[4] < probability)[:, None, None, None]
    return torch.where(inside & selected, noise, faces)


def random_rectangles(
    uniform: Tensor, min_area: float, max_area: float, height: int, width: int
) -> Tensor:
    """One random rectangle per face, as a mask: (4, N) -> (N, 1, height, width) bool.

    Args:
        uniform: (4, N).
        min_area: smallest area, as a fraction of the image.
        max_area: largest area, as a fraction of the image.
        height: height of the mask.
        width: width of the mask.
    """
    uniform = uniform[..., None]
    area = min_area + (max_area - min_area) * uniform[0]
    aspect = torch.exp((uniform[1] * 2 - 1) * math.log(3))  # 1/3 to 3
    box_height = (area * aspect).sqrt().clamp(max=1)
    box_width = (area / aspect).sqrt().clamp(max=1)
    top, left = uniform[2] * (1 - box_height), uniform[3] * (1 - box_width)
    y = (torch.arange(height, device=uniform.device) + 0.5) / height
    x = (torch.arange(width, device=uniform.device) + 0.5) / width
    rows = (y > top) & (y < top + box_height)
    columns = (x > left) & (x < left + box_width)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def mixup_cutmix(
    batch: Batch, parameters: AugmentationParameters, mixup: float, cutmix: float
) -> Batch:
    """Mix the faces and targets of a batch, with a probability for each method.

    Mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. CutMix: Yun et al. 2019,
    https://arxiv.org/abs/1905.04899. A mixed face is the weighted mean of a face and its partner.
    The weight of the face is equal for all pixels (mixup), or 0 in a rectangle and 1 outside
    (CutMix).
    """
    if not mixup and not cutmix:
        return batch
    is_mixup = parameters.mix_choice < mixup
    is_cutmix = ~is_mixup & (parameters.mix_choice < mixup + cutmix)
    inside = random_rectangles(parameters.cutmix, 0.1, 0.6, *batch.faces.shape[2:])
    weight = torch.where(is_mixup, parameters.mixup, torch.where(is_cutmix & inside, 0.0, 1.0))
    other = batch.select(parameters.partners)
    faces = weight * batch.faces + (1 - weight) * other.faces
    return Batch(faces, *_mix_targets(batch, other, weight.mean((1, 2, 3))[:, None]))


def _mix_targets(first: Batch, second: Batch, weight: Tensor) -> tuple[Tensor, ...]:
    """Mix the targets of two batches, and their weights in the loss.

    Args:
        first: N faces.
        second: The partners of these faces.
        weight: (N, 1), the weight of `first` in the mixture. Both targets are also weighted by
            their weights in the loss.

    Returns:
        Mixed labels, votes, label weights and vote weights.
    """

    def blend(a: Tensor, a_weight: Tensor, b: Tensor, b_weight: Tensor) -> tuple[Tensor, Tensor]:
        a_total, b_total = weight * a_weight[:, None], (1 - weight) * b_weight[:, None]
        total = a_total + b_total
        return (a_total * a + b_total * b) / total.clamp(min=1e-12), total[:, 0]

    labels, label_weights = blend(
        first.labels, first.label_weights, second.labels, second.label_weights
    )
    votes, vote_weights = blend(first.votes, first.vote_weights, second.votes, second.vote_weights)
    return labels, votes, label_weights, vote_weights


CROP_SCALES = (0.8, 1.4)
"""Range of the crop's size relative to FER2013's in domain randomization."""

GAMMAS = (0.5, 2.0)
"""Range of the exponent of the tone curve."""

CONTRASTS = (0.5, 1.3)
"""Range of the factor of contrast."""

BLURS = (0.0, 1.5)
"""Range of the standard deviation of the blur, in pixels."""

BRIGHTNESSES = (-0.15, 0.15)
"""Range of the brightness that is added to pixels in [0, 1]."""


def domain_randomization(faces: Tensor, uniform: Tensor, probability: float) -> Tensor:
    """Imitate another source of faces: margin, blur, tone curve, contrast and brightness.

    Applied after mixing. Stored teacher logits are those of the faces without it, so the student
    learns to predict the targets of the unchanged face.

    Args:
        faces: (N, C, H, W), standardized.
        uniform: (6, N).
        probability: per face, 0 to 1.
    """
    if not probability:
        return faces
    count, size = len(faces), faces.shape[2]
    selected = (uniform[0] < probability).view(-1, 1, 1, 1)

    def between(u: Tensor, limits: tuple[float, float]) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * u

    theta = torch.zeros(count, 2, 3, device=faces.device)
    theta[:, 0, 0] = theta[:, 1, 1] = between(uniform[1], CROP_SCALES)
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    changed = F.grid_sample(faces, grid, "bilinear", padding_mode="border", align_corners=False)
    changed = gaussian_blur(changed, between(uniform[2], BLURS))
    gray = (changed * STD + MEAN) / 255
    gamma = torch.exp(between(uniform[3], (math.log(GAMMAS[0]), math.log(GAMMAS[1]))))
    gray = gray.clamp(0, 1) ** gamma.view(-1, 1, 1, 1)
    mean = gray.mean((1, 2, 3), keepdim=True)
    contrast = between(uniform[4], CONTRASTS).view(-1, 1, 1, 1)
    brightness = between(uniform[5], BRIGHTNESSES).view(-1, 1, 1, 1)
    gray = ((gray - mean) * contrast + mean + brightness).clamp(0, 1)
    return torch.where(selected, (gray * 255 - MEAN) / STD, faces)


def gaussian_blur(faces: Tensor, sigma: Tensor) -> Tensor:
    """Blur (N, C, H, W) faces, each with its own standard deviation `sigma` (N,) in pixels."""
    count, channels, height, width = faces.shape
    offset = torch.arange(-4, 5, device=faces.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offset / sigma.clamp(min=0.1)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = faces.reshape(1, count * channels, height, width)
    planes = F.pad(planes, (4, 4, 4, 4), mode="replicate")
    planes = F.conv2d(planes, kernel[:, None, None, :], groups=count * channels)
    planes = F.conv2d(planes, kernel[:, None, :, None], groups=count * channels)
    return planes.reshape(faces.shape)
