"""The whole dataset on the device, and the size of the batches taken from it.

FER2013's training faces are 66 MB of uint8, so no loader and no workers: they sit on the device,
and `augmentation` changes a batch of them at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mien.lab.config import Config
from mien.lab.data import Samples, pooled, shares

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


def on_device(samples: Samples, config: Config, device: torch.device) -> Batch:
    """All samples as one batch, faces still uint8 and whole: each step takes its own from it."""
    labels = np.zeros((len(samples), 7), np.float32)
    known = samples.labels >= 0
    labels[known, samples.labels[known]] = 1
    counts = pooled(samples) if config.pool_votes else samples.votes
    votes = shares(counts, drop_single=config.drop_single_votes)
    label_weights = known.astype(np.float32)
    if config.class_weights:
        by_class = np.maximum(labels.sum(0), 1)
        label_weights[known] = (known.sum() / (7 * by_class))[samples.labels[known]]
    # A face on which few raters saw an emotion says less about how people share them out.
    asked = np.maximum(counts.sum(1), 1)
    vote_weights = (counts[:, :8].sum(1) / asked).astype(np.float32)
    arrays = (samples.faces[:, None], labels, votes, label_weights, vote_weights)
    return Batch(*(torch.as_tensor(np.ascontiguousarray(a)).to(device) for a in arrays))


def steps_per_epoch(count: int, config: Config) -> int:
    """Batches in an epoch of `count` faces; a last, smaller one is left out."""
    return max(1, count // config.batch_size)


def faces_per_step(count: int, config: Config, world: int = 1) -> int:
    """Faces in each batch, over all processes, which share them evenly."""
    return min(config.batch_size, count) // world * world


def size_in(config: Config, number: int) -> int:
    """Pixels of the faces that epoch `number` trains on, a multiple of 4 until it is `side`.

    Progressive learning: Tan & Le 2021, https://arxiv.org/abs/2104.00298.
    """
    if not config.initial_size:
        return config.input_size
    grown = min(1.0, number / max(1, config.epochs * 2 / 3 - 1))
    size = config.initial_size + grown * (config.input_size - config.initial_size)
    return config.input_size if grown == 1 else min(config.input_size, round(size / 4) * 4)
