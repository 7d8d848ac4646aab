"""Data augmentation whose random parameters are sampled before each epoch.

NumPy samples them on the CPU from the seed and the number of the epoch, so they are the same on
every device and in every process. The augmentation of a step then samples nothing and does not
synchronize with the host, so a CUDA graph can replay it.
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
"""Both parameters of the Beta distribution from which mixup's lambda is sampled."""


@dataclass(frozen=True, slots=True)
class AugmentationParameters:
    """Random numbers for the S steps of an epoch, with B faces each; or for one of these steps.

    `at` selects one step; its tensors lack the axis S. Numbers are uniform in [0, 1) unless stated
    otherwise. An augmentation is applied where its number is below its probability.

    Attributes:
        indices: (S, B) int64, indices of the faces of each batch in the training set.
        partners: (S, B) int64, position in the batch of the face that each face is mixed with.
        affine: (S, 5, B) for rotation, zoom, shift of the sampling window to the right, shift down,
            flip.
        brightness_contrast: (S, 2, B) for contrast, brightness.
        random_erasing: (S, 5, B) for area, aspect ratio, top, left, selection of faces.
        cutmix: (S, 4, B) for area, aspect ratio, top, left.
        domain_randomization: (S, 6, B) for selection of faces, crop scale, blur, tone curve,
            contrast, brightness.
        mix_choice: (S,) for the selection of mixup, CutMix or neither for a batch.
        mixup: (S,), mixup's lambda: the weight of each face, while its partner has the weight
            1 - lambda. Beta-distributed.
        noise: (B, 1, size, size), standard normal: one image per position in the batch, sampled
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
        """The parameters of one step. `step` is its index in the epoch, a (1,) int64 tensor."""
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
    """Sample the augmentation parameters of an epoch, with each face in at most one batch.

    Args:
        config: Config of the training.
        count: Number of faces in the training set.
        epoch: Number of the epoch, from 0.
        device: Device of the result.
        world_size: Number of processes that share each batch.
        repeat: Seed and epoch to use instead of `config.seed` and `epoch`, except for domain
            randomization. They repeat the batches for which teacher logits were stored.
    """
    steps, batch = steps_per_epoch(count, config), faces_per_step(count, config, world_size)
    size = face_size(config, epoch)
    rng = np.random.default_rng(repeat or (config.seed, epoch))

    def uniform(rng: np.random.Generator, *shape: int) -> np.ndarray:
        return rng.random((steps, *shape), dtype=np.float32)

    order = rng.permutation(count)
    starts = [step * config.batch_size for step in range(steps)]
    indices = np.stack([order[start : start + batch] for start in starts])
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
    """Yield the augmented batches of an epoch; each face is in at most one of them.

    Args:
        data: The training set on the device.
        config: Config of the training.
        epoch: Number of the epoch, from 0.
        repeat: As in `sample`.
    """
    device = data.faces.device
    parameters = sample(config, len(data.faces), epoch, device, repeat=repeat)
    for step in range(steps_per_epoch(len(data.faces), config)):
        current = parameters.at(torch.tensor([step], device=device))
        yield augment(data.select(current.indices), current, config, face_size(config, epoch))


def augment(batch: Batch, parameters: AugmentationParameters, config: Config, size: int) -> Batch:
    """Augment a batch of uint8 faces.

    Args:
        batch: Faces as in the dataset, (B, 1, H, W) uint8.
        parameters: The parameters of one step.
        config: Config of the training, with the strengths and probabilities.
        size: Width and height of the augmented faces.

    Returns:
        (B, `config.channels`, size, size) standardized float32 faces with their targets. Mixed
        faces have mixed targets.
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
    """Flip, rotate, scale and translate each face, and crop and resize it, in one resampling.

    With all strengths at 0 and no resizing, the result is exactly the center crop.

    Args:
        faces: (N, C, H, W) float32.
        uniform: (5, N), in the order of `AugmentationParameters.affine`. Numbers above 0.5 rotate
            the face counterclockwise, enlarge it, and shift the sampling window to the right or
            down, so that the face moves to the left or up before it is flipped and rotated.
            Numbers below 0.5 do the opposite. If `config.flip` is set, the face is flipped if the
            last number is below 0.5.
        config: Config of the training; the crop has `config.input_size` pixels.
        size: Width and height of the result.

    Returns:
        (N, C, size, size) float32.
    """
    count, _, height, width = faces.shape
    crop_size = config.input_size
    is_identity = not (config.flip or config.rotation or config.scale or config.translate)
    if size == crop_size and is_identity:
        return center_crop(faces, crop_size)
    signed = uniform * 2 - 1
    angle = signed[0] * (config.rotation * torch.pi / 180)
    zoom = (1 + config.scale) ** signed[1]
    flip = torch.where(signed[4] < 0, -1.0, 1.0) if config.flip else torch.ones_like(angle)
    # The map from output to input positions, in the coordinates of affine_grid: -1 and 1 are the
    # edges of the image.
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    theta = torch.zeros(count, 2, 3, device=faces.device)
    theta[:, 0, 0] = flip * cos * (crop_size / width)
    theta[:, 0, 1] = -flip * sin * (crop_size / width)
    theta[:, 1, 0] = sin * (crop_size / height)
    theta[:, 1, 1] = cos * (crop_size / height)
    theta[:, :, 2] = signed[2:4].T * (2 * config.translate)
    grid = F.affine_grid(theta, [count, 1, size, size], align_corners=False)
    return F.grid_sample(
        faces, grid, config.interpolation, padding_mode="border", align_corners=False
    )


def brightness_contrast(faces: Tensor, uniform: Tensor, strength: float) -> Tensor:
    """Change the contrast and the brightness of each face.

    Args:
        faces: (N, C, H, W), standardized.
        uniform: (2, N), in the order of `AugmentationParameters.brightness_contrast`.
        strength: Largest relative change of contrast, and largest change of brightness in units
            of `STD`.
    """
    if not strength:
        return faces
    signed = (uniform * 2 - 1)[..., None, None, None]
    return faces * (1 + strength * signed[0]) + strength * signed[1]


def random_erasing(faces: Tensor, uniform: Tensor, noise: Tensor, probability: float) -> Tensor:
    """Fill a rectangle of 2 to 20 % of the area of randomly selected faces with noise.

    Zhong et al. 2017, https://arxiv.org/abs/1708.04896.

    Args:
        faces: (N, C, H, W), standardized.
        uniform: (5, N), in the order of `AugmentationParameters.random_erasing`.
        noise: (N, 1, H, W), standard normal.
        probability: Probability per face, 0 to 1.
    """
    if not probability:
        return faces
    inside = random_rectangles(uniform[:4], 0.02, 0.2, faces.shape[2], faces.shape[3])
    selected = (uniform[4] < probability)[:, None, None, None]
    return torch.where(inside & selected, noise, faces)


def random_rectangles(
    uniform: Tensor, min_area: float, max_area: float, height: int, width: int
) -> Tensor:
    """One random rectangle per face, as a mask.

    Args:
        uniform: (4, N), for area, aspect ratio, top, left.
        min_area: Smallest area, as a fraction of the image.
        max_area: Largest area, as a fraction of the image.
        height: Height of the image in pixels.
        width: Width of the image in pixels.

    Returns:
        (N, 1, height, width) bool, True inside the rectangle.
    """
    uniform = uniform[..., None]
    area = min_area + (max_area - min_area) * uniform[0]
    aspect = torch.exp((uniform[1] * 2 - 1) * math.log(3))  # height / width, from 1/3 to 3
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
    """Apply mixup, CutMix or neither to the faces and targets of a batch.

    Mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. CutMix: Yun et al. 2019,
    https://arxiv.org/abs/1905.04899.

    A mixed face is the weighted mean of a face and its partner. With mixup the weight of the face
    is the same for all pixels; with CutMix it is 0 in a rectangle of 10 to 60 % of the area, and 1
    outside. The targets are mixed with the mean weight over all pixels.

    Args:
        batch: N standardized faces with their targets.
        parameters: The parameters of one step.
        mixup: Probability of mixup, 0 to 1.
        cutmix: Probability of CutMix, 0 to 1.
    """
    if not mixup and not cutmix:
        return batch
    is_mixup = parameters.mix_choice < mixup
    is_cutmix = ~is_mixup & (parameters.mix_choice < mixup + cutmix)
    inside = random_rectangles(parameters.cutmix, 0.1, 0.6, *batch.faces.shape[2:])
    weight = torch.where(is_mixup, parameters.mixup, torch.where(is_cutmix & inside, 0.0, 1.0))
    partners = batch.select(parameters.partners)
    faces = weight * batch.faces + (1 - weight) * partners.faces
    return Batch(faces, *_mix_targets(batch, partners, weight.mean((1, 2, 3))[:, None]))


def _mix_targets(first: Batch, second: Batch, weight: Tensor) -> tuple[Tensor, ...]:
    """Mix the targets of two batches, and their loss weights.

    A face without a target has the loss weight 0 and does not change the target of its partner.

    Args:
        first: N faces with their targets.
        second: The partners of these faces.
        weight: (N, 1), the weight of `first`, 0 to 1. The target of each face is weighted by the
            product of this weight (1 - weight for `second`) and the loss weight of the face.

    Returns:
        Mixed labels, votes, label weights and vote weights.
    """

    def mix(
        first_targets: Tensor, first_weights: Tensor, second_targets: Tensor, second_weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        a, b = weight * first_weights[:, None], (1 - weight) * second_weights[:, None]
        targets = (a * first_targets + b * second_targets) / (a + b).clamp(min=1e-12)
        return targets, (a + b)[:, 0]

    labels, label_weights = mix(
        first.labels, first.label_weights, second.labels, second.label_weights
    )
    votes, vote_weights = mix(first.votes, first.vote_weights, second.votes, second.vote_weights)
    return labels, votes, label_weights, vote_weights


CROP_SCALES = (0.8, 1.4)
"""In domain randomization: range of the size of the crop, relative to the unchanged face."""

GAMMAS = (0.5, 2.0)
"""In domain randomization: range of the exponent of the tone curve."""

CONTRASTS = (0.5, 1.3)
"""In domain randomization: range of the factor by which contrast is multiplied."""

BLURS = (0.0, 1.5)
"""In domain randomization: range of the standard deviation of the Gaussian blur, in pixels."""

BLUR_RADIUS = 4
"""Radius of the kernel of the Gaussian blur, in pixels."""

BRIGHTNESSES = (-0.15, 0.15)
"""In domain randomization: range of the brightness that is added to pixels in [0, 1]."""


def domain_randomization(faces: Tensor, uniform: Tensor, probability: float) -> Tensor:
    """Imitate other sources of faces: change crop size, blur, tone curve, contrast, brightness.

    This is the last augmentation. Teachers do not receive its result, so that a student learns to
    predict their outputs for the unchanged faces.

    Args:
        faces: (N, C, H, W), standardized.
        uniform: (6, N), in the order of `AugmentationParameters.domain_randomization`.
        probability: Probability per face, 0 to 1.
    """
    if not probability:
        return faces
    count, size = len(faces), faces.shape[2]
    selected = (uniform[0] < probability).view(-1, 1, 1, 1)

    def between(numbers: Tensor, limits: tuple[float, float]) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * numbers

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
    """Blur (N, C, H, W) faces, each with its own standard deviation: `sigma` (N,), in pixels."""
    count, channels, height, width = faces.shape
    offset = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=faces.device, dtype=torch.float32)
    sigma = sigma.clamp(min=0.1)  # prevents a division by 0; 0.1 pixels do not blur
    kernel = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    planes = faces.reshape(1, count * channels, height, width)
    planes = F.pad(planes, (BLUR_RADIUS,) * 4, mode="replicate")
    planes = F.conv2d(planes, kernel[:, None, None, :], groups=count * channels)
    planes = F.conv2d(planes, kernel[:, None, :, None], groups=count * channels)
    return planes.reshape(faces.shape)
