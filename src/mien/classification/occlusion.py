"""Occlusion sensitivity: which parts of a face a model's prediction depends on.

After Zeiler & Fergus 2014, https://arxiv.org/abs/1311.2901: hide one region after another and
measure how much the emotion's share drops. This works with any model. Our choice: a region is
hidden by blurring it under a Gaussian mask. The paper's gray square has sharp edges, to which
networks react because their training images have none.
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
"""Number of regions per row and per column of a crop."""

MASK_STD, BLUR_STD = 0.13, 0.16
"""Standard deviations of the mask and of the blur, as fractions of the crop's side. A smaller mask
gives a sharper map but lowers high shares less. The blur is strong enough to make a mouth
unrecognizable. `benchmarks/explaining.py` measures how faithful the map is."""


@dataclass(frozen=True)
class Explanation:
    """Which parts of a face a model's share of one emotion depends on.

    It explains the prediction of the model, not the expression of the person.

    Attributes:
        face: The face, as `Analyzer.analyze` returns it.
        emotion: The explained emotion.
        crop: The model's input, (C, side, side) uint8.
        importance: (side, side) float32, -1 to 1: how much the emotion's share drops when the
            region around a pixel is hidden. Positive values are evidence for the emotion, negative
            values evidence against it.

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
    """Return copies of a crop, each with one region hidden, in row-major order of the regions.

    Args:
        crop: (C, side, side) uint8.

    Returns:
        (GRID * GRID, C, side, side) uint8.
    """
    side = crop.shape[-1]
    blur_matrix, original = _blur_matrix(side), crop.astype(np.float32)
    blurred = blur_matrix @ original @ blur_matrix.T
    positions = np.arange(side) + 0.5
    centers = (np.arange(GRID) + 0.5) * side / GRID
    profiles = np.exp(-(((positions - centers[:, None]) / (MASK_STD * side)) ** 2) / 2)
    masks = (profiles[:, None, :, None] * profiles[None, :, None, :]).reshape(-1, 1, side, side)
    return (original + masks * (blurred - original)).round().astype(np.uint8)


def importance_map(predict: Callable[[np.ndarray], np.ndarray], crop: np.ndarray) -> np.ndarray:
    """Compute how much a share drops when the region around each pixel is hidden.

    Args:
        predict: Function from (N, C, side, side) uint8 crops to (N,) shares of the emotion; called
            once with GRID * GRID + 1 crops.
        crop: (C, side, side) uint8.

    Returns:
        (side, side) float32, -1 to 1.
    """
    side = crop.shape[-1]
    shares = predict(np.concatenate([crop[None], occluded_crops(crop)]))
    drops = (shares[0] - shares[1:]).reshape(GRID, GRID).astype(np.float32)
    return resize.cubic(drops, (side, side)).clip(-1, 1)


@lru_cache(maxsize=8)
def _blur_matrix(side: int) -> np.ndarray:
    """Return a (side, side) float32 matrix that blurs a line of pixels, with its ends repeated."""
    std = BLUR_STD * side
    radius = math.ceil(4 * std)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-((offsets / std) ** 2) / 2)
    matrix = np.zeros((side, side))
    for row, weights in enumerate(matrix):
        np.add.at(weights, (row + offsets).clip(0, side - 1), kernel / kernel.sum())
    return matrix.astype(np.float32)
