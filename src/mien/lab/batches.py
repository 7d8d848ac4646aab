"""The training set on the device, and the size of batches.

FER2013's training faces are 66 MB of uint8, so there is no data loader: the dataset is copied to
the device once, and `augmentation` makes batches there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mien.lab.config import Config
from mien.lab.data import Samples, pooled_votes, shares

MEAN, STD = 129.5, 65.0
"""Mean and standard deviation of the pixels of FER2013's Training faces, 0 to 255."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B faces with their targets, on one device: a training batch, or a whole split.

    Attributes:
        faces: (B, C, H, W), uint8 in the dataset, standardized float32 after augmentation.
        labels: (B, 7) float32, target distribution of the label head.
        votes: (B, 8) float32, target distribution of the vote head.
        label_weights: (B,) float32, weight of each face in the label loss.
        vote_weights: (B,) float32, weight of each face in the vote loss.
    """

    faces: Tensor
    labels: Tensor
    votes: Tensor
    label_weights: Tensor
    vote_weights: Tensor

    def select(self, index: Tensor | slice) -> Batch:
        """Return the selected faces with their targets."""
        return Batch(*(getattr(self, name)[index] for name in self.__slots__))


def standardize(faces: Tensor) -> Tensor:
    """Scale pixels (0 to 255, any shape) to mean 0 and standard deviation 1 over FER2013."""
    return (faces.float() - MEAN) / STD


def center_crop(faces: Tensor, size: int) -> Tensor:
    """Cut the central size x size pixels: (N, C, H, W) -> (N, C, size, size)."""
    top, left = (faces.shape[2] - size) // 2, (faces.shape[3] - size) // 2
    return faces[:, :, top : top + size, left : left + size]


def to_device(samples: Samples, config: Config, device: torch.device) -> Batch:
    """Copy all faces (uint8) to the device, with the targets and weights of the config."""
    labels = np.zeros((len(samples), 7), np.float32)
    labeled = samples.labels >= 0
    labels[labeled, samples.labels[labeled]] = 1
    counts = pooled_votes(samples) if config.pool_votes else samples.votes
    votes = shares(counts, drop_single=config.drop_single_votes)
    label_weights = labeled.astype(np.float32)
    if config.class_weights:
        class_counts = np.maximum(labels.sum(0), 1)
        weights = labeled.sum() / (7 * class_counts)
        label_weights[labeled] = weights[samples.labels[labeled]]
    # Weight: the fraction of votes that are for an emotion, not "unknown" or "not a face".
    raters = np.maximum(counts.sum(1), 1)
    vote_weights = (counts[:, :8].sum(1) / raters).astype(np.float32)
    arrays = (samples.faces[:, None], labels, votes, label_weights, vote_weights)
    return Batch(*(torch.as_tensor(np.ascontiguousarray(a)).to(device) for a in arrays))


def steps_per_epoch(count: int, config: Config) -> int:
    """Return the steps in an epoch of `count` faces; a last, smaller batch is dropped."""
    return max(1, count // config.batch_size)


def faces_per_step(count: int, config: Config, world_size: int = 1) -> int:
    """Return the batch size over all processes, rounded down to a multiple of `world_size`."""
    return min(config.batch_size, count) // world_size * world_size


def face_size(config: Config, epoch: int) -> int:
    """Return the width and height of the faces in an epoch, by progressive resizing.

    They grow from `initial_size` to `input_size` over the first two thirds of the epochs, in
    multiples of 4 (Tan & Le 2021, https://arxiv.org/abs/2104.00298).
    """
    if not config.initial_size:
        return config.input_size
    progress = min(1.0, epoch / max(1, config.epochs * 2 / 3 - 1))
    size = config.initial_size + progress * (config.input_size - config.initial_size)
    return config.input_size if progress == 1 else min(config.input_size, round(size / 4) * 4)
