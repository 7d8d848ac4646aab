"""Scenes in front of a moving camera: photographs, people, light and sensor noise."""

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
"""Width and height of the clips; small, so that compression artifacts are large."""

FPS = 25

Frame = tuple[np.ndarray, float, bool]
"""(H, W, 3) uint8 RGB pixels, time in seconds, and whether the frame is the first of a new shot."""

Render = Callable[[float], np.ndarray]
"""Function from seconds to (H, W, 3) float32 RGB pixels, 0 to 255."""


@lru_cache
def photographs() -> list[np.ndarray]:
    """Photographs of scikit-image with and without people: (480, W, 3) uint8 RGB."""
    photos = scenes.backgrounds()
    for name in ("astronaut", "camera", "retina", "immunohistochemistry"):
        pixels = getattr(skimage.data, name)()
        photos.append(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2))
    return [cv2.resize(p, (round(480 * p.shape[1] / p.shape[0]), 480)) for p in photos]


@lru_cache
def _faces() -> np.ndarray:
    """(100, 48, 48) float32 gray faces: those of LFW that scikit-image contains, enlarged."""
    small = skimage.data.lfw_subset()[:100].astype(np.float32) * 255
    return np.stack(
        [cv2.resize(face, (FACE_SIDE, FACE_SIDE), interpolation=cv2.INTER_CUBIC) for face in small]
    )


def random_panorama(rng: np.random.Generator, count: int = 4) -> np.ndarray:
    """(480, W, 3) uint8: `count` photographs and blurred textures, joined side by side."""
    photos, seam_width = photographs(), 40
    indices = rng.choice(len(photos) + 2, count, replace=False)  # the last two stand for textures
    images = [photos[k] if k < len(photos) else _blurred_texture(rng) for k in indices]
    tint = rng.uniform(0.85, 1.15, 3)  # all parts of a place have the same light
    images = [np.clip(image * tint, 0, 255) for image in images]
    panorama = images[0]
    weight = np.linspace(0, 1, seam_width)[None, :, None]
    for image in images[1:]:
        seam = panorama[:, -seam_width:] * (1 - weight) + image[:, :seam_width] * weight
        panorama = np.hstack([panorama[:, :-seam_width], seam, image[:, seam_width:]])
    return np.roll(panorama, rng.integers(panorama.shape[1]), 1).astype(np.uint8)


def _blurred_texture(rng: np.random.Generator) -> np.ndarray:
    """(480, 640, 3): a smooth texture, similar to a wall or sky that is out of focus."""
    texture = np.zeros((480, 640, 3)) + rng.uniform(60, 180, 3)
    for cell, contrast in ((160, 50), (50, 25), (12, 6)):
        blobs = [smooth_noise(rng, 480, 640, (cell, cell)) for _ in range(4)]
        texture += contrast * (blobs[3][..., None] + 0.4 * np.dstack(blobs[:3]))
    return np.clip(texture, 0, 255)


@dataclass
class Camera:
    """The view of a camera in a panorama; attributes that are functions depend on the seconds.

    Attributes:
        x: Horizontal center of the view in pixels of the panorama.
        y: Vertical center of the view in pixels of the panorama.
        zoom: Pixels of the panorama per pixel of the view.
        roll: Rotation of the view in degrees.
        exposure_time: Seconds over which a frame is exposed; motion blur grows with it.
    """

    x: Callable[[float], float]
    y: Callable[[float], float]
    zoom: Callable[[float], float]
    roll: Callable[[float], float] = lambda _: 0.0
    exposure_time: float = 0.01

    def view(self, panorama: np.ndarray, seconds: float) -> np.ndarray:
        """The view at a time, with motion blur: (H, W, 3) float32."""
        shift = abs(self.x(seconds + self.exposure_time) - self.x(seconds)) / self.zoom(seconds)
        sample_count = int(min(12, max(1, shift / 3)))
        total = np.zeros((SIZE[1], SIZE[0], 3), np.float32)
        for k in range(sample_count):
            total += self._sharp_view(panorama, seconds + self.exposure_time * k / sample_count)
        return total / sample_count

    def _sharp_view(self, panorama: np.ndarray, t: float) -> np.ndarray:
        """The view at a time, without motion blur; a panorama repeats at its ends."""
        angle, zoom = np.deg2rad(self.roll(t)), self.zoom(t)
        a, b = zoom * np.cos(angle), zoom * np.sin(angle)
        half_width, half_height = SIZE[0] / 2, SIZE[1] / 2
        x = self.x(t) % panorama.shape[1]
        matrix = np.array([
            [a, -b, x - a * half_width + b * half_height],
            [b, a, self.y(t) - b * half_width - a * half_height],
        ])  # fmt: skip
        reach = int(zoom * np.hypot(half_width, half_height)) + 4
        left, right = int(x) - reach, int(x) + reach
        if left >= 0 and right <= panorama.shape[1]:
            region = panorama[:, left:right]
        else:
            region = panorama[:, np.arange(left, right) % panorama.shape[1]]
        matrix[0, 2] -= left
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(
            region, matrix, SIZE, flags=flags, borderMode=cv2.BORDER_REFLECT_101
        ).astype(np.float32)


def sway(rng: np.random.Generator, radius: float, speed: float = 1.0) -> Callable[[float], float]:
    """A smooth random function of seconds with values from -radius to radius."""
    speeds, phases = 2 * np.pi * speed * rng.uniform(0.1, 0.5, 3), rng.uniform(0, 2 * np.pi, 3)
    return lambda t: radius * float(np.sin(speeds * t + phases).mean())


def random_camera(
    rng: np.random.Generator, panorama: np.ndarray, x: float | None = None, pan: float = 0.0
) -> Camera:
    """A handheld camera, or with a probability of one third one on a tripod.

    Args:
        rng: Random generator.
        panorama: (H, W, 3) pixels.
        x: Initial horizontal center in pixels of the panorama; None for a random one.
        pan: Constant horizontal speed in widths of the view per second.
    """
    motion = 0.02 if rng.random() < 1 / 3 else 1.0
    zoom = rng.uniform(0.9, 2.0)
    start_x = rng.uniform(0, panorama.shape[1]) if x is None else x
    dx, dy = sway(rng, 30 * motion), sway(rng, 20 * motion)
    shake = sway(rng, 3 * motion, 6)
    roll = sway(rng, 2 * motion)
    mean_y = panorama.shape[0] / 2 + rng.uniform(-60, 60)
    return Camera(
        lambda t: start_x + dx(t) + shake(t) + pan * zoom * SIZE[0] * t,
        lambda t: mean_y + dy(t) + shake(t + 7),
        lambda t: zoom,
        roll,
    )


@dataclass(frozen=True)
class Person:
    """A person in front of the camera.

    Attributes:
        sprite: (CANVAS_HEIGHT, CANVAS_WIDTH, 4) float32, premultiplied RGBA.
        x: Seconds -> horizontal center of the face in pixels of the view.
        y: Seconds -> vertical center of the face.
        side: Seconds -> side of the face.
    """

    sprite: np.ndarray
    x: Callable[[float], float]
    y: Callable[[float], float]
    side: Callable[[float], float]

    def draw(self, pixels: np.ndarray, seconds: float) -> None:
        """Draw the person over a view."""
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
        region = pixels[y : y + height, x : x + width]
        region *= 1 - np.clip(layer[..., 3:], 0, 1)
        region += layer[..., :3]


def random_sprite(rng: np.random.Generator) -> np.ndarray:
    """A body with a face: (CANVAS_HEIGHT, CANVAS_WIDTH, 4) float32, premultiplied RGBA."""
    sprite, skin = make_body(rng)
    patch = sprite[FACE_TOP : FACE_TOP + FACE_SIDE, FACE_LEFT : FACE_LEFT + FACE_SIDE]
    patch *= 1 - MASK
    face = _faces()[rng.integers(len(_faces()))]
    patch[..., :3] += MASK * np.minimum(face[..., None] * skin, 255)
    patch[..., 3:] += MASK
    return sprite


def random_person(
    rng: np.random.Generator, side_range: tuple[float, float] = (30, 90), speed: float = 1.0
) -> Person:
    """A person who stands or walks in the view, with a face side within a range of pixels."""
    side, radius = rng.uniform(*side_range), rng.uniform(5, 60)
    x, y = rng.uniform(0.2, 0.8) * SIZE[0], rng.uniform(0.3, 0.5) * SIZE[1]
    dx, dy, growth = sway(rng, radius, speed), sway(rng, 0.2 * radius, speed), sway(rng, 0.15)
    return Person(
        random_sprite(rng),
        lambda t: x + dx(t),
        lambda t: y + dy(t),
        lambda t: side * (1 + growth(t)),
    )


@dataclass
class Scene:
    """A panorama, a camera, and people in front of it.

    Attributes:
        panorama: (H, W, 3) pixels.
        camera: The camera.
        people: The people, the frontmost last.
        brightness: Factor of all pixels.
    """

    panorama: np.ndarray
    camera: Camera
    people: Sequence[Person] = ()
    brightness: float = 1.0

    def __call__(self, seconds: float) -> np.ndarray:
        """The view at a time without noise: (H, W, 3) float32."""
        pixels = self.camera.view(self.panorama, seconds)
        for person in self.people:
            person.draw(pixels, seconds)
        return pixels * self.brightness


def random_scene(
    rng: np.random.Generator, panorama: np.ndarray | None = None, **motion: float
) -> Scene:
    """A random scene with up to three people; `motion` are arguments of `random_camera`."""
    panorama = random_panorama(rng) if panorama is None else panorama
    people = [random_person(rng) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    return Scene(panorama, random_camera(rng, panorama, **motion), people, rng.uniform(0.6, 1.1))


@lru_cache
def _unit_noise() -> np.ndarray:
    """Gaussian noise with standard deviation 1, from which random crops are taken."""
    return np.random.default_rng(0).normal(0, 1, (SIZE[1] + 64, SIZE[0] + 64, 3)).astype(np.float32)


def add_noise(pixels: np.ndarray, rng: np.random.Generator, std: float = 3.0) -> np.ndarray:
    """Add sensor noise with a standard deviation and clip to 0 and 255: (H, W, 3) uint8."""
    top, left = rng.integers(0, 65, 2)
    noise = _unit_noise()[top : top + SIZE[1], left : left + SIZE[0]]
    return np.clip(pixels + std * noise, 0, 255).astype(np.uint8)


def single_shot(
    rng: np.random.Generator, render: Render, seconds: float, noise_std: float = 3.0
) -> Iterator[Frame]:
    """The frames of a clip without a cut."""
    for k in range(round(seconds * FPS)):
        yield add_noise(render(k / FPS), rng, noise_std), k / FPS, False
