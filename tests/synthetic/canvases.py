"""Small grey pictures with one to four FER2013 faces, and their boxes: for detectors to learn."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mien.lab.data import Samples
from tests.synthetic import scenes

SIDE = 160
"""Pixels of a canvas each way; faces on it have from 48 on."""

TRAINING_PHOTOS, EVALUATION_PHOTOS = slice(0, 9), slice(9, None)
"""Which of the photographs are learned from, and which are judged by."""


@dataclass(frozen=True)
class Canvas:
    """pixels: (H, W) uint8, grey. boxes: (F, 4) x, y, width, height. labels: (F,) int."""

    pixels: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


def gray_backgrounds(part: slice) -> list[np.ndarray]:
    """Some of the photographs that show nobody, in grey."""
    return [cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in scenes.backgrounds()[part]]


def compose(faces: Samples, photos: list[np.ndarray], dice: np.random.Generator) -> Canvas:
    """A piece of a photograph with one to four faces that do not overlap."""
    photo = photos[dice.integers(len(photos))]
    top, left = (int(dice.integers(0, length - SIDE + 1)) for length in photo.shape)
    which = dice.choice(len(faces), dice.integers(1, 5), replace=False)
    piece = photo[top : top + SIDE, left : left + SIDE, None]
    scene = scenes.compose(faces.faces, which, piece, dice)
    return Canvas(scene.pixels[..., 0], scene.squares, faces.labels[which])


def crop(face: np.ndarray, label: int) -> Canvas:
    """A bare face: the picture is the box."""
    high, wide = face.shape
    return Canvas(face, np.array([[0.0, 0.0, wide, high]]), np.array([label]))
