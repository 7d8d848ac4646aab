"""Actors of synthetic clips: bodies with hair, skin and clothes, and face images that change.

FER2013 does not state who is shown, so the face images of an actor are of several persons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from mien.results import Box

FACE_SIDE = 48
FACE_LEFT, FACE_TOP, CANVAS_WIDTH, CANVAS_HEIGHT = 28, 20, 104, 250
"""Position of the face on the canvas of an actor, and size of the canvas, in FER2013 pixels."""

FADE = 0.2
"""Duration in seconds of the fade from one face image to the next."""

Position = Callable[[float], tuple[float, float, float]]
"""Seconds -> x and y of the center of a face, and its side, in pixels."""


@dataclass(frozen=True)
class Actor:
    """A head and shoulders that move, with face images that change.

    Attributes:
        identity: Index of the actor.
        body: (CANVAS_HEIGHT, CANVAS_WIDTH, 4) float32, premultiplied RGBA of everything around the
            face.
        skin: (3,) RGB factors that give a gray face the color of the skin.
        position: Position and size of the face over time.
        cues: Start in seconds and index of each face image, in order of time.
    """

    identity: int
    body: np.ndarray
    skin: np.ndarray
    position: Position
    cues: tuple[tuple[float, int], ...]

    def box(self, seconds: float) -> Box:
        """Return the square of the face."""
        x, y, side = self.position(seconds)
        return x - side / 2, y - side / 2, side, side

    def face(self, faces: np.ndarray, seconds: float) -> tuple[np.ndarray, int]:
        """Return the face image at a time, (48, 48) float32, and its index.

        During a fade, the index is that of the image with the larger weight.
        """
        cue = sum(start <= seconds - FADE / 2 for start, _ in self.cues[1:])
        _, current = self.cues[cue]
        if cue + 1 < len(self.cues) and seconds > self.cues[cue + 1][0] - FADE / 2:
            start, following = self.cues[cue + 1]
            weight = (seconds - start) / FADE + 0.5
            blended = (1 - weight) * faces[current] + weight * faces[following]
            return blended.astype(np.float32), following if weight >= 0.5 else current
        return faces[current].astype(np.float32), current

    def sprite(self, face: np.ndarray) -> np.ndarray:
        """Return the body with a face: (CANVAS_HEIGHT, CANVAS_WIDTH, 4), premultiplied RGBA."""
        canvas = self.body.copy()
        patch = canvas[FACE_TOP : FACE_TOP + FACE_SIDE, FACE_LEFT : FACE_LEFT + FACE_SIDE]
        patch *= 1 - MASK
        patch[..., :3] += MASK * np.minimum(face[..., None] * self.skin, 255)
        patch[..., 3:] += MASK
        return canvas


def roundness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Superelliptic distance from the center of a face, 1 at its rim; x and y are in [-1, 1]."""
    return (np.abs(x) ** 2.6 + np.abs(y) ** 2.6) ** (1 / 2.6)


_AXIS = (np.arange(FACE_SIDE) + 0.5) / FACE_SIDE * 2 - 1
_RADIUS = roundness(_AXIS[None], _AXIS[:, None])
MASK = np.clip((1 - _RADIUS) / 0.12, 0, 1)[..., None].astype(np.float32)
"""Alpha of a face image, with a soft rim, because a hard edge would help detectors."""


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell: tuple[float, float]
) -> np.ndarray:
    """(height, width) float32 noise with blobs of the size `cell`, mean 0, mostly in [-1, 1]."""
    small = rng.normal(0, 0.5, (int(height / cell[0]) + 3, int(width / cell[1]) + 3))
    return cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def make_body(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the `body` and `skin` of a random `Actor`."""
    skin = np.array([1.2, 0.95, 0.8]) + rng.normal(0, 0.04, 3)
    skin /= skin @ (0.299, 0.587, 0.114)  # keeps the luma of gray faces
    skin_color = skin * rng.uniform(95, 165)
    hair = rng.uniform(15, 90) * np.array([1.15, 0.95, 0.8])
    clothes = rng.uniform(30, 200, 3)
    hair_length, hair_width = rng.uniform(0, 12), rng.uniform(29, 32)
    canvas = np.zeros((CANVAS_HEIGHT, CANVAS_WIDTH, 4), np.float32)
    for center, radius, color, cell in (
        ((52, 38 + hair_length), (hair_width, 33 + hair_length), hair, (12, 2)),  # hair
        ((52, 80), (13, 24), skin_color * 0.8, (9, 9)),  # neck
        ((52, 178), (50, 92), clothes, (14, 4)),  # shoulders and chest
        ((52, 46), (23, 27), skin_color, (9, 9)),  # head
    ):
        texture = 1 + 0.3 * smooth_noise(rng, CANVAS_HEIGHT, CANVAS_WIDTH, cell)[..., None]
        _draw_ellipse(canvas, center, radius, color * texture)
    return canvas, skin.astype(np.float32)


def _draw_ellipse(
    canvas: np.ndarray, center: tuple[float, float], radius: tuple[float, float], color: np.ndarray
) -> None:
    """Draw a superellipse with (H, W, 3) colors over a canvas."""
    y, x = np.mgrid[:CANVAS_HEIGHT, :CANVAS_WIDTH].astype(np.float32)
    distance = roundness((x - center[0]) / radius[0], (y - center[1]) / radius[1])
    alpha = np.clip((1 - distance) * min(radius) / 3, 0, 1)[..., None]
    canvas *= 1 - alpha
    canvas += alpha * np.dstack([np.clip(color, 0, 255), np.ones((CANVAS_HEIGHT, CANVAS_WIDTH))])
