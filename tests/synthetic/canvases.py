"""Small gray images with one to four FER2013 faces and their boxes, for training detectors."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien.lab.data import Samples
from tests.synthetic import scenes

SIDE = 160
"""Side of a canvas in pixels; the sides of faces are at least 48 pixels."""

TRAINING_PHOTOS, EVALUATION_PHOTOS = slice(0, 9), slice(9, None)
"""Disjoint slices of `scenes.BACKGROUNDS`, so that evaluation images have unseen backgrounds."""


@dataclass(frozen=True)
class Canvas:
    """A gray image with faces.

    Attributes:
        pixels: (H, W) uint8.
        boxes: (F, 4) x, y, width and height of each face, in pixels.
        labels: (F,) int, FER2013 label of each face.
    """

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def gray_backgrounds(photos: slice) -> list[np.ndarray]:
    """Return a slice of the photographs of `scenes.backgrounds`, in gray."""
    return [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in scenes.backgrounds()[photos]]


def compose(faces: Samples, photos: list[np.ndarray], rng: np.random.Generator) -> Canvas:
    """Paste one to four faces into a random crop of a photograph, without overlap.

    Args:
        faces: The dataset from which faces are drawn at random.
        photos: (H, W) uint8 gray backgrounds of at least `SIDE` pixels per side; one is chosen.
        rng: Random generator for all choices, sizes and positions.
    """
    photo = photos[rng.integers(len(photos))]
    top, left = (int(rng.integers(0, length - SIDE + 1)) for length in photo.shape)
    indices = rng.choice(len(faces), rng.integers(1, 5), replace=False)
    crop_pixels = photo[top : top + SIDE, left : left + SIDE, None]
    scene = scenes.compose(faces.faces, indices, crop_pixels, rng)
    return Canvas(scene.pixels[..., 0], scene.squares, faces.labels[indices])


def crop(face: np.ndarray, label: int) -> Canvas:
    """Return a (H, W) uint8 face crop as a canvas whose box is the whole image."""
    height, width = face.shape
    return Canvas(face, np.array([[0.0, 0.0, width, height]]), np.array([label]))
