"""Actors of synthetic clips: a body (hair, skin, clothes) whose face fades into the next.

FER2013 knows no persons, so an actor has no face of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from mien.results import Box

SIDE = 48
LEFT, ABOVE, WIDE, HIGH = 28, 20, 104, 250
"""Where a face lies on the canvas of a whole actor, and the canvas, in pixels of FER2013."""

FADE = 0.2
"""Seconds in which one picture of a face turns into the next."""

Place = Callable[[float], tuple[float, float, float]]
"""seconds -> x and y of a face's centre, and its side."""


@dataclass(frozen=True)
class Actor:
    """Somebody: a head and shoulders, where they are, and the faces that they make.

    body: (HIGH, WIDE, 4) float32, RGB times alpha and alpha, all that is around the face. skin:
    (3,) what a grey value is multiplied by. place: where it is. cues: from which second on which
    face shows.
    """

    identity: int
    body: np.ndarray
    skin: np.ndarray
    place: Place
    cues: tuple[tuple[float, int], ...]

    def box(self, seconds: float) -> Box:
        """The square in which the face is."""
        x, y, side = self.place(seconds)
        return x - side / 2, y - side / 2, side, side

    def face(self, faces: np.ndarray, seconds: float) -> tuple[np.ndarray, int]:
        """The face (48, 48) float32, perhaps fading, and the index of the one most to be seen."""
        at = sum(begins <= seconds - FADE / 2 for begins, _ in self.cues[1:])
        begins, now = self.cues[at]
        if at + 1 < len(self.cues) and seconds > self.cues[at + 1][0] - FADE / 2:
            begins, after = self.cues[at + 1]
            share = (seconds - begins) / FADE + 0.5
            mixed = (1 - share) * faces[now] + share * faces[after]
            return mixed.astype(np.float32), after if share >= 0.5 else now
        return faces[now].astype(np.float32), now

    def sprite(self, face: np.ndarray) -> np.ndarray:
        """The body with a face on it: (HIGH, WIDE, 4) float32, RGB times alpha and alpha."""
        whole = self.body.copy()
        patch = whole[ABOVE : ABOVE + SIDE, LEFT : LEFT + SIDE]
        patch *= 1 - MASK
        patch[..., :3] += MASK * np.minimum(face[..., None] * self.skin, 255)
        patch[..., 3:] += MASK
        return whole


def roundness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far out a point of the face is: x and y from -1 to 1 over its square; the rim is 1."""
    return (np.abs(x) ** 2.6 + np.abs(y) ** 2.6) ** (1 / 2.6)


_ACROSS = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
_OUT = roundness(_ACROSS[None], _ACROSS[:, None])
MASK = np.clip((1 - _OUT) / 0.12, 0, 1)[..., None].astype(np.float32)
"""What of a face's picture is put on a head; a soft rim, as its own hard edge would be a clue."""


def smooth_noise(
    dice: np.random.Generator, height: int, width: int, cell: tuple[float, float]
) -> np.ndarray:
    """Blobs as high and wide as a cell, mean 0, mostly within -1 to 1: (height, width) float32."""
    small = dice.normal(0, 0.5, (int(height / cell[0]) + 3, int(width / cell[1]) + 3))
    return cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def body(dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Somebody without a face, as `Actor.body`, and the colour of their skin, as `Actor.skin`."""
    skin = np.array([1.2, 0.95, 0.8]) + dice.normal(0, 0.04, 3)
    skin /= skin @ (0.299, 0.587, 0.114)  # its grey value stays FER2013's
    flesh = skin * dice.uniform(95, 165)
    hair = dice.uniform(15, 90) * np.array([1.15, 0.95, 0.8])
    clothes = dice.uniform(30, 200, 3)
    long, full = dice.uniform(0, 12), dice.uniform(29, 32)
    whole = np.zeros((HIGH, WIDE, 4), np.float32)
    for centre, reach, colour, cell in (
        ((52, 38 + long), (full, 33 + long), hair, (12, 2)),
        ((52, 80), (13, 24), flesh * 0.8, (9, 9)),
        ((52, 178), (50, 92), clothes, (14, 4)),
        ((52, 46), (23, 27), flesh, (9, 9)),
    ):
        texture = 1 + 0.3 * smooth_noise(dice, HIGH, WIDE, cell)[..., None]
        _lay_shape(whole, centre, reach, colour * texture)
    return whole, skin.astype(np.float32)


def _lay_shape(
    whole: np.ndarray, centre: tuple[float, float], reach: tuple[float, float], colour: np.ndarray
) -> None:
    """Lay a shape of a colour (H, W, 3), as round as a face is, over what is there."""
    y, x = np.mgrid[:HIGH, :WIDE].astype(np.float32)
    out = roundness((x - centre[0]) / reach[0], (y - centre[1]) / reach[1])
    alpha = np.clip((1 - out) * min(reach) / 3, 0, 1)[..., None]
    whole *= 1 - alpha
    whole += alpha * np.dstack([np.clip(colour, 0, 255), np.ones((HIGH, WIDE))])
