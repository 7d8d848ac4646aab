"""What in a face speaks for an emotion: hide a place, ask again, and see what its share loses.

Zeiler & Fergus 2014, https://arxiv.org/abs/1311.2901. Needs nothing of a model but its answers, so
any will do. Ours differs in what hides: not a grey square, whose edges are new to a network and
tell it things of their own, but the face itself, blurred, under a mask without an edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from mien.io import resize
from mien.results import Face

PLACES = 13
"""Places to hide, in each direction."""

SPREAD, BLUR = 0.13, 0.16
"""Standard deviations, as shares of the crop's side: of what hides a place, and of its blur. The
smaller the first, the sharper the map, and the less a face that is sure of itself loses; after the
second no mouth can be told. How far the map can be trusted: `benchmarks/explaining.py`."""


@dataclass(frozen=True)
class Explanation:
    """What in a face speaks for one emotion, to the model; not why anybody would look like this.

    Attributes:
        face: the face, as `analyze` gives it.
        emotion: the emotion that is explained.
        crop: what the model was shown, (C, side, side) uint8.
        importance: (side, side) float32, -1 to 1: how much of the emotion's share is lost when what
            lies around this place is hidden; below zero, the share grows.
    """

    face: Face
    emotion: str
    crop: np.ndarray = field(repr=False)
    importance: np.ndarray = field(repr=False)


def hidden(crop: np.ndarray) -> np.ndarray:
    """A crop with one place hidden after the other, row by row: (C, S, S) -> (PLACES², C, S, S)."""
    side = crop.shape[-1]
    blur, sharp = _blur(side), crop.astype(np.float32)
    blurred = blur @ sharp @ blur.T
    pixels = np.arange(side) + 0.5
    centres = (np.arange(PLACES) + 0.5) * side / PLACES
    near = np.exp(-(((pixels - centres[:, None]) / (SPREAD * side)) ** 2) / 2)
    masks = (near[:, None, :, None] * near[None, :, None, :]).reshape(-1, 1, side, side)
    return (sharp + masks * (blurred - sharp)).round().astype(np.uint8)


def effect(shares: Callable[[np.ndarray], np.ndarray], crop: np.ndarray) -> np.ndarray:
    """How much of a share is lost by hiding each place: (C, S, S) uint8 -> (S, S) float32.

    shares: (N, C, S, S) uint8 -> (N,), that emotion's share of each crop.
    """
    side = crop.shape[-1]
    answers = shares(np.concatenate([crop[None], hidden(crop)]))
    lost = (answers[0] - answers[1:]).reshape(PLACES, PLACES).astype(np.float32)
    return resize.cubic(lost, (side, side)).clip(-1, 1)


@lru_cache(maxsize=8)
def _blur(side: int) -> np.ndarray:
    """(side, side) float32: the Gaussian blur of a line of pixels whose ends are repeated."""
    deviation = BLUR * side
    reach = math.ceil(4 * deviation)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-((offsets / deviation) ** 2) / 2)
    blur = np.zeros((side, side))
    for row, weights in enumerate(blur):
        np.add.at(weights, (row + offsets).clip(0, side - 1), kernel / kernel.sum())
    return blur.astype(np.float32)
