"""Filming: photographs and people in front of a moving camera, as the sensor records them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import skimage.data

from tests.synthetic import scenes
from tests.synthetic.actors import (
    CANVAS_HEIGHT,
    CANVAS_WIDTH,
    FACE_LEFT,
    FACE_SIDE,
    FACE_TOP,
    MASK,
    make_body,
    smooth_noise,
)

SIZE = (320, 180)
"""Width and height of the clips; small, so that coding errors are large."""

FPS = 25

Shot = tuple[np.ndarray, float, bool]
"""(H, W, 3) uint8 RGB, its seconds, and whether a new shot begins with it."""

Render = Callable[[float], np.ndarray]
"""seconds -> (H, W, 3) float32 RGB, 0 to 255."""


@lru_cache
def photographs() -> list[np.ndarray]:
    """Photographs of scikit-image, RGB and 480 pixels high, those with people too."""
    found = scenes.backgrounds()
    for name in ("astronaut", "camera", "retina", "immunohistochemistry"):
        pixels = getattr(skimage.data, name)()
        found.append(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2))
    return [cv2.resize(p, (round(480 * p.shape[1] / p.shape[0]), 480)) for p in found]


@lru_cache
def _faces() -> np.ndarray:
    """(100, 48, 48) float32, grey: the small faces of scikit-image's part of LFW."""
    small = skimage.data.lfw_subset()[:100].astype(np.float32) * 255
    return np.stack(
        [cv2.resize(face, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_CUBIC) for face in small]
    )


def panorama(rng: np.random.Generator, count: int = 4) -> np.ndarray:
    """(480, W, 3) uint8: a place that a camera can look round in, photographs side by side."""
    photos, seam = photographs(), 40
    which = rng.choice(len(photos) + 2, count, replace=False)
    parts = [photos[k] if k < len(photos) else _blobs(rng) for k in which]
    tint = rng.uniform(0.85, 1.15, 3)  # one place has one light
    parts = [np.clip(part * tint, 0, 255) for part in parts]
    whole = parts[0]
    share = np.linspace(0, 1, seam)[None, :, None]
    for part in parts[1:]:
        between = whole[:, -seam:] * (1 - share) + part[:, :seam] * share
        whole = np.hstack([whole[:, :-seam], between, part[:, seam:]])
    return np.roll(whole, rng.integers(whole.shape[1]), 1).astype(np.uint8)


def _blobs(rng: np.random.Generator) -> np.ndarray:
    """(480, 640, 3): a smooth texture, as walls and skies are out of focus."""
    texture = np.zeros((480, 640, 3)) + rng.uniform(60, 180, 3)
    for cell, contrast in ((160, 50), (50, 25), (12, 6)):
        blobs = [smooth_noise(rng, 480, 640, (cell, cell)) for _ in range(4)]
        texture += contrast * (blobs[3][..., None] + 0.4 * np.dstack(blobs[:3]))
    return np.clip(texture, 0, 255)


@dataclass
class Camera:
    """Where a camera looks in a panorama, as functions of seconds.

    x, y: centre, in pixels of the panorama. zoom: panorama pixels per pixel of the view.
    roll: degrees. exposure_time: seconds that a frame is exposed, which blurs motion.
    """

    x: Callable[[float], float]
    y: Callable[[float], float]
    zoom: Callable[[float], float]
    roll: Callable[[float], float] = lambda _: 0.0
    exposure_time: float = 0.01

    def view(self, picture: np.ndarray, seconds: float) -> np.ndarray:
        """(H, W, 3) float32: what it sees."""
        moves = abs(self.x(seconds + self.exposure_time) - self.x(seconds)) / self.zoom(seconds)
        samples = int(min(12, max(1, moves / 3)))
        total = np.zeros((SIZE[1], SIZE[0], 3), np.float32)
        for k in range(samples):
            total += self._sharp(picture, seconds + self.exposure_time * k / samples)
        return total / samples

    def _sharp(self, picture: np.ndarray, t: float) -> np.ndarray:
        angle, zoom = np.deg2rad(self.roll(t)), self.zoom(t)
        a, b = zoom * np.cos(angle), zoom * np.sin(angle)
        w, h = SIZE[0] / 2, SIZE[1] / 2
        x = self.x(t) % picture.shape[1]
        matrix = np.array([[a, -b, x - a * w + b * h], [b, a, self.y(t) - b * w - a * h]])
        reach = int(zoom * np.hypot(w, h)) + 4
        first = int(x) - reach
        if first >= 0 and first + 2 * reach <= picture.shape[1]:
            near = picture[:, first : first + 2 * reach]
        else:  # beyond the end, the panorama begins again
            near = picture[:, np.arange(first, first + 2 * reach) % picture.shape[1]]
        matrix[0, 2] -= first
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            near, matrix, SIZE, flags=flags, borderMode=cv2.BORDER_REFLECT_101
        ).astype(np.float32)


def sway(rng: np.random.Generator, reach: float, speed: float = 1.0) -> Callable[[float], float]:
    """A smooth function of seconds, about 0 and at most `reach` from it."""
    rates, phases = 2 * np.pi * speed * rng.uniform(0.1, 0.5, 3), rng.uniform(0, 2 * np.pi, 3)
    return lambda t: reach * float(np.sin(rates * t + phases).mean())


def handheld(
    rng: np.random.Generator, picture: np.ndarray, x: float | None = None, pan: float = 0.0
) -> Camera:
    """A camera in the hand or, for one in three, on a tripod; pan: widths of the view a second."""
    steady = 0.02 if rng.random() < 1 / 3 else 1.0
    zoom = rng.uniform(0.9, 2.0)
    start = rng.uniform(0, picture.shape[1]) if x is None else x
    dx, dy = sway(rng, 30 * steady), sway(rng, 20 * steady)
    shake = sway(rng, 3 * steady, 6)
    roll = sway(rng, 2 * steady)
    middle = picture.shape[0] / 2 + rng.uniform(-60, 60)
    return Camera(
        lambda t: start + dx(t) + shake(t) + pan * zoom * SIZE[0] * t,
        lambda t: middle + dy(t) + shake(t + 7),
        lambda t: zoom,
        roll,
    )


@dataclass(frozen=True)
class Person:
    """Somebody before the camera. sprite: (250, 104, 4), RGB times alpha, and alpha.

    x, y, side: functions of seconds: the centre and side of the face in pixels of the view.
    """

    sprite: np.ndarray
    x: Callable[[float], float]
    y: Callable[[float], float]
    side: Callable[[float], float]

    def draw(self, pixels: np.ndarray, seconds: float) -> None:
        """Set the person into a view."""
        scale = self.side(seconds) / FACE_SIDE
        left = self.x(seconds) - (FACE_LEFT + FACE_SIDE / 2) * scale
        top = self.y(seconds) - (FACE_TOP + FACE_SIDE / 2) * scale
        x, y = max(0, int(left) - 1), max(0, int(top) - 1)
        width = min(SIZE[0], int(left + CANVAS_WIDTH * scale) + 2) - x
        height = min(SIZE[1], int(top + CANVAS_HEIGHT * scale) + 2) - y
        if width <= 0 or height <= 0:
            return
        matrix = np.array([[scale, 0, left - x], [0, scale, top - y]])
        layer = cv2.warpAffine(self.sprite, matrix, (width, height), flags=cv2.INTER_LINEAR)
        covered = pixels[y : y + height, x : x + width]
        covered *= 1 - np.clip(layer[..., 3:], 0, 1)
        covered += layer[..., :3]


def sprite(rng: np.random.Generator) -> np.ndarray:
    """A body with a face: (CANVAS_HEIGHT, CANVAS_WIDTH, 4) float32."""
    whole, skin = make_body(rng)
    patch = whole[FACE_TOP : FACE_TOP + FACE_SIDE, FACE_LEFT : FACE_LEFT + FACE_SIDE]
    patch *= 1 - MASK
    face = _faces()[rng.integers(len(_faces()))]
    patch[..., :3] += MASK * np.minimum(face[..., None] * skin, 255)
    patch[..., 3:] += MASK
    return whole


def person(
    rng: np.random.Generator, side: tuple[float, float] = (30, 90), speed: float = 1.0
) -> Person:
    """Somebody who stands or walks in the view."""
    size, reach = rng.uniform(*side), rng.uniform(5, 60)
    x, y = rng.uniform(0.2, 0.8) * SIZE[0], rng.uniform(0.3, 0.5) * SIZE[1]
    dx, dy, grow = sway(rng, reach, speed), sway(rng, 0.2 * reach, speed), sway(rng, 0.15)
    return Person(
        sprite(rng), lambda t: x + dx(t), lambda t: y + dy(t), lambda t: size * (1 + grow(t))
    )


@dataclass
class Scene:
    """A place, the camera in it, the people in front of it, and the light."""

    picture: np.ndarray
    camera: Camera
    people: Sequence[Person] = ()
    light: float = 1.0

    def __call__(self, seconds: float) -> np.ndarray:
        """(H, W, 3) float32, without noise."""
        pixels = self.camera.view(self.picture, seconds)
        for one in self.people:
            one.draw(pixels, seconds)
        return pixels * self.light


@lru_cache
def _grain() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (SIZE[1] + 64, SIZE[0] + 64, 3)).astype(np.float32)


def scene(rng: np.random.Generator, picture: np.ndarray | None = None, **motion: float) -> Scene:
    """A random scene; motion: as `handheld` takes it."""
    picture = panorama(rng) if picture is None else picture
    people = [person(rng) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    return Scene(picture, handheld(rng, picture, **motion), people, rng.uniform(0.6, 1.1))


def exposed(pixels: np.ndarray, rng: np.random.Generator, noise: float = 3.0) -> np.ndarray:
    """What the sensor makes of it: noise, and nothing beyond 0 and 255."""
    down, right = rng.integers(0, 65, 2)
    grain = _grain()[down : down + SIZE[1], right : right + SIZE[0]]
    return np.clip(pixels + noise * grain, 0, 255).astype(np.uint8)


def film(
    rng: np.random.Generator, render: Render, seconds: float, noise: float = 3.0
) -> Iterator[Shot]:
    """A single shot."""
    for k in range(round(seconds * FPS)):
        yield exposed(render(k / FPS), rng, noise), k / FPS, False
