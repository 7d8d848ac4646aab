"""The training set on the device, and the sizes of batches and faces.

FER2013's training faces take 66 MB as uint8, so there is no data loader. The training set is copied
to the device once, and `augmentation` makes batches there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mien.lab.config import Config
from mien.lab.data import Samples, pooled_votes, shares
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT

MEAN, STD = 129.5, 65.0
"""Mean and standard deviation of the pixels (0 to 255) of FER2013's Training faces."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B faces with their targets, on one device: a training batch, or a whole split.

    Attributes:
        faces: (B, C, H, W), uint8 in the dataset, standardized float32 after augmentation.
        labels: (B, 7) float32, target distribution of the label head; zeros without a label.
        votes: (B, 8) float32, target distribution of the vote head; zeros without votes.
        label_weights: (B,) float32, weight of each face in the label loss; 0 without a label.
        vote_weights: (B,) float32, weight of each face in the vote loss; 0 without votes.
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
    """Standardize pixels, 0 to 255 and of any shape: subtract `MEAN`, and divide by `STD`."""
    return (faces.float() - MEAN) / STD


def center_crop(faces: Tensor, size: int) -> Tensor:
    """Crop the central `size` x `size` pixels: (N, C, H, W) -> (N, C, size, size)."""
    top, left = (faces.shape[2] - size) // 2, (faces.shape[3] - size) // 2
    return faces[:, :, top : top + size, left : left + size]


def to_device(samples: Samples, config: Config, device: torch.device) -> Batch:
    """Copy faces to the device as uint8, with the targets and loss weights that the config sets."""
    labels = np.zeros((len(samples), len(EMOTIONS)), np.float32)
    has_label = samples.labels >= 0
    labels[has_label, samples.labels[has_label]] = 1
    counts = pooled_votes(samples) if config.pool_votes else samples.votes
    votes = shares(counts, drop_single=config.drop_single_votes)
    label_weights = has_label.astype(np.float32)
    if config.class_weights:
        class_counts = np.maximum(labels.sum(0), 1)
        class_weights = has_label.sum() / (len(EMOTIONS) * class_counts)
        label_weights[has_label] = class_weights[samples.labels[has_label]]
    # The loss weight is the fraction of votes for an emotion, not for "unknown" or "not a face".
    totals = np.maximum(counts.sum(1), 1)
    emotion_counts = counts[:, : len(EMOTIONS_AND_CONTEMPT)]
    vote_weights = (emotion_counts.sum(1) / totals).astype(np.float32)
    arrays = (samples.faces[:, None], labels, votes, label_weights, vote_weights)
    return Batch(*(torch.as_tensor(np.ascontiguousarray(array)).to(device) for array in arrays))


def steps_per_epoch(count: int, config: Config) -> int:
    """Return the number of steps in an epoch of `count` faces.

    A smaller last batch is dropped, unless it is the only one.
    """
    return max(1, count // config.batch_size)


def faces_per_step(count: int, config: Config, world_size: int = 1) -> int:
    """Return the number of faces per step over all processes, a multiple of `world_size`.

    It is the batch size, or `count` if that is smaller, rounded down.
    """
    return min(config.batch_size, count) // world_size * world_size


def face_size(config: Config, epoch: int) -> int:
    """Return the width and height of the faces in an epoch, from 0, by progressive resizing.

    They grow linearly from `initial_size` to `input_size` over the first two thirds of the epochs
    and are rounded to multiples of 4 until then (Tan & Le 2021, https://arxiv.org/abs/2104.00298).
    """
    if not config.initial_size:
        return config.input_size
    progress = min(1.0, epoch / max(1, config.epochs * 2 / 3 - 1))
    size = config.initial_size + progress * (config.input_size - config.initial_size)
    return config.input_size if progress == 1 else min(config.input_size, round(size / 4) * 4)
