"""Occlusion sensitivity: which parts of a face a model's prediction depends on.

After Zeiler & Fergus 2014, https://arxiv.org/abs/1311.2901: hide one region after another and
measure how much the emotion's share falls. Works with any model. Our choice: a region is hidden by
blurring it under a Gaussian mask. The gray square of the paper has edges, which networks were not
trained on and react to.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from mien.io import resize
from mien.results import Face

GRID = 13
"""Number of hidden regions in each direction."""

MASK_STD, BLUR_STD = 0.13, 0.16
"""Standard deviations of the mask and of the blur, as fractions of the crop's side. A smaller mask
gives a sharper map, but high shares then fall less. This blur makes a mouth unrecognizable.
`benchmarks/explaining.py` measures how faithful the map is."""


@dataclass(frozen=True)
class Explanation:
    """Which parts of a face a model's share of one emotion depends on.

    It explains the model's prediction, not why a person looks like this.

    Attributes:
        face: the face, as `Analyzer.analyze` returns it.
        emotion: the explained emotion.
        crop: the model's input, (C, side, side) uint8.
        importance: (side, side) float32, -1 to 1: the loss of the emotion's share when the region
            around this pixel is hidden. Above 0 is evidence for the emotion, below 0 against it.

    Example:
        ```python
        (explanation,) = mien.Analyzer().explain("photo.jpg", "happy")
        row, column = divmod(explanation.importance.argmax(), explanation.crop.shape[-1])
        ```
    """

    face: Face
    emotion: str
    crop: np.ndarray = field(repr=False)
    importance: np.ndarray = field(repr=False)


def occluded_crops(crop: np.ndarray) -> np.ndarray:
    """Copies of a crop, each with one region hidden, in row-major order of the regions.

    Args:
        crop: (C, side, side) uint8.

    Returns:
        (GRID * GRID, C, side, side) uint8.
    """
    side = crop.shape[-1]
    blur, sharp = _blur_matrix(side), crop.astype(np.float32)
    blurred = blur @ sharp @ blur.T
    pixels = np.arange(side) + 0.5
    centers = (np.arange(GRID) + 0.5) * side / GRID
    profiles = np.exp(-(((pixels - centers[:, None]) / (MASK_STD * side)) ** 2) / 2)
    masks = (profiles[:, None, :, None] * profiles[None, :, None, :]).reshape(-1, 1, side, side)
    return (sharp + masks * (blurred - sharp)).round().astype(np.uint8)


def importance_map(predict: Callable[[np.ndarray], np.ndarray], crop: np.ndarray) -> np.ndarray:
    """The loss of a share when the region around each pixel is hidden.

    Args:
        predict: (N, C, side, side) uint8 crops -> (N,) shares of the emotion.
        crop: (C, side, side) uint8.

    Returns:
        (side, side) float32, -1 to 1.
    """
    side = crop.shape[-1]
    shares = predict(np.concatenate([crop[None], occluded_crops(crop)]))
    losses = (shares[0] - shares[1:]).reshape(GRID, GRID).astype(np.float32)
    return resize.cubic(losses, (side, side)).clip(-1, 1)


@lru_cache(maxsize=8)
def _blur_matrix(side: int) -> np.ndarray:
    """(side, side) float32: multiplies a line of pixels to blur it, with its ends repeated."""
    std = BLUR_STD * side
    radius = math.ceil(4 * std)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-((offsets / std) ** 2) / 2)
    blur = np.zeros((side, side))
    for row, weights in enumerate(blur):
        np.add.at(weights, (row + offsets).clip(0, side - 1), kernel / kernel.sum())
    return blur.astype(np.float32)
