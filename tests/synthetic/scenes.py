"""Synthetic scenes with known truth: FER2013 faces, enlarged and set into photographs.

They do not rank detectors: their faces have 48 pixels of detail, and no body.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import skimage.data

BACKGROUNDS = ("brick", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field",
               "moon", "page", "rocket", "text", "motorcycle_left")  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """pixels: (H, W, 3) uint8. squares: (F, 4) x, y, side, side of the faces set into it.

    which: (F,) the index of each face.
    """

    pixels: np.ndarray
    squares: np.ndarray
    which: np.ndarray


def backgrounds() -> list[np.ndarray]:
    """Photographs that come with scikit-image and show nobody, as RGB of at least 480 pixels."""
    found = []
    for name in BACKGROUNDS:
        pixels = skimage.data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(
            skimage.data, name)()  # fmt: skip
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, 2)
        scale = max(1.0, 480 / min(pixels.shape[:2]))
        found.append(cv2.resize(pixels[..., :3], None, fx=scale, fy=scale))
    return found


def compose(
    faces: np.ndarray, which: np.ndarray, ground: np.ndarray, dice: np.random.Generator
) -> Scene:
    """Set faces[which] into a background, one in each cell of a grid, 48 to 160 pixels large."""
    height, width = ground.shape[:2]
    cells = int(np.ceil(np.sqrt(len(which))))
    cell = min(height, width) // cells
    pixels = ground.copy()
    squares = []
    for k, face in enumerate(faces[which]):
        side = int(dice.integers(min(48, cell - 8), min(160, cell - 4)))
        x = (k % cells) * cell + int(dice.integers(0, cell - side))
        y = (k // cells) * cell + int(dice.integers(0, cell - side))
        large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        # A soft rim: a hard edge would be a clue that no photograph gives.
        rim = np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.06 * side)
        alpha = np.clip(np.minimum(rim[:, None], rim[None, :]), 0, 1)[..., None]
        patch = pixels[y : y + side, x : x + side]
        pixels[y : y + side, x : x + side] = alpha * large[..., None] + (1 - alpha) * patch
        squares.append((x, y, side, side))
    return Scene(pixels, np.array(squares, float), which)


def overlap(box: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of (F, 4)."""
    low = np.maximum(box[:2], squares[:, :2])
    high = np.minimum(box[:2] + box[2:], squares[:, :2] + squares[:, 2:])
    inside = np.prod(np.clip(high - low, 0, None), 1)
    return inside / (box[2] * box[3] + np.prod(squares[:, 2:], 1) - inside)
