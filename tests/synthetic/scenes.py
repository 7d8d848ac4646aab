"""Synthetic scenes with ground truth: FER2013 faces, enlarged and pasted into photographs.

They are not suited to ranking detectors, because the faces are enlarged from 48 pixels and have no
bodies.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import skimage.data

BACKGROUNDS = ("brick", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field",
               "moon", "page", "rocket", "text", "motorcycle_left")  # fmt: skip
"""Photographs without people in `skimage.data`; "motorcycle_left" is the left of a stereo pair."""


@dataclass(frozen=True)
class Scene:
    """An image with faces.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        squares: (F, 4) x, y, side and side of each face, in pixels.
        indices: (F,) dataset index of each face.
    """

    pixels: np.ndarray
    squares: np.ndarray
    indices: np.ndarray


def backgrounds() -> list[np.ndarray]:
    """Return photographs of scikit-image without people: RGB, at least 480 pixels per side."""
    photos = []
    for name in BACKGROUNDS:
        if name == "motorcycle_left":
            pixels = skimage.data.stereo_motorcycle()[0]
        else:
            pixels = getattr(skimage.data, name)()
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, 2)
        scale = max(1.0, 480 / min(pixels.shape[:2]))
        photos.append(cv2.resize(pixels[..., :3], None, fx=scale, fy=scale))
    return photos


def compose(
    faces: np.ndarray, indices: np.ndarray, background: np.ndarray, rng: np.random.Generator
) -> Scene:
    """Paste faces into the cells of a square grid on a background, at most one into each.

    Args:
        faces: (N, 48, 48) uint8 faces of a dataset.
        indices: (F,) indices of the faces to paste.
        background: (H, W, C) uint8 pixels.
        rng: Random generator for sizes and positions. Sides have 48 to 160 pixels, or fewer if the
            cells are smaller.
    """
    height, width = background.shape[:2]
    cells = int(np.ceil(np.sqrt(len(indices))))
    cell = min(height, width) // cells
    pixels = background.copy()
    squares = []
    for k, face in enumerate(faces[indices]):
        side = int(rng.integers(min(48, cell - 8), min(160, cell - 4)))
        x = (k % cells) * cell + int(rng.integers(0, cell - side))
        y = (k // cells) * cell + int(rng.integers(0, cell - side))
        large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        # The edge is blended, because a hard edge would help detectors.
        ramp = np.minimum(np.arange(side), np.arange(side)[::-1]) / (0.06 * side)
        alpha = np.clip(np.minimum(ramp[:, None], ramp[None, :]), 0, 1)[..., None]
        patch = pixels[y : y + side, x : x + side]
        pixels[y : y + side, x : x + side] = alpha * large[..., None] + (1 - alpha) * patch
        squares.append((x, y, side, side))
    return Scene(pixels, np.array(squares, float), indices)


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(F,) intersection over union of one box with each of (F, 4) boxes."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    inside = np.prod(np.clip(high - low, 0, None), 1)
    return inside / (box[2] * box[3] + np.prod(boxes[:, 2:], 1) - inside)
