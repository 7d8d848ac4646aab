"""Clips with known shot boundaries: hard cuts, and everything that only looks like one.

Photographs and people in front of a camera that moves, as a video codec leaves them at a low bit
rate. Needs no dataset.

    for pixels, seconds, is_cut in shots.compressed(shots.frames("whip_pan", seed=0)): ...
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import av
import cv2
import numpy as np
import skimage.data

from tests.synthetic import scenes
from tests.synthetic.actors import (
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
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        reach = int(zoom * SIZE[0]) + 4
        columns = np.arange(int(x) - reach, int(x) + reach) % picture.shape[1]
        matrix[0, 2] += reach - int(x)
        return cv2.warpAffine(
            picture[:, columns], matrix, SIZE, flags=flags, borderMode=cv2.BORDER_REFLECT_101
        ).astype(np.float32)


def _sway(rng: np.random.Generator, reach: float, speed: float = 1.0) -> Callable[[float], float]:
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
    dx, dy = _sway(rng, 30 * steady), _sway(rng, 20 * steady)
    shake = _sway(rng, 3 * steady, 6)
    roll = _sway(rng, 2 * steady)
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
        matrix = np.array([[scale, 0, left], [0, scale, top]])
        layer = cv2.warpAffine(self.sprite, matrix, SIZE, flags=cv2.INTER_LINEAR)
        pixels *= 1 - np.clip(layer[..., 3:], 0, 1)
        pixels += layer[..., :3]


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
    dx, dy, grow = _sway(rng, reach, speed), _sway(rng, 0.2 * reach, speed), _sway(rng, 0.15)
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


def _exposed(pixels: np.ndarray, rng: np.random.Generator, noise: float = 3.0) -> np.ndarray:
    """What the sensor makes of it: noise, and nothing beyond 0 and 255."""
    down, right = rng.integers(0, 65, 2)
    grain = _grain()[down : down + SIZE[1], right : right + SIZE[0]]
    return np.clip(pixels + noise * grain, 0, 255).astype(np.uint8)


def _clip(
    rng: np.random.Generator, render: Render, seconds: float, noise: float = 3.0
) -> Iterator[Shot]:
    """A single shot."""
    for k in range(round(seconds * FPS)):
        yield _exposed(render(k / FPS), rng, noise), k / FPS, False


# --- One shot each, however much it looks like more -------------------------------------------


def static(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """People before a camera in the hand or on a tripod."""
    return _clip(rng, scene(rng), seconds)


def fast_pan(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """The camera looks round: up to one and a half widths a second."""
    one = scene(rng)
    swing = _sway(rng, rng.uniform(300, 700), rng.uniform(1, 2))
    x = one.camera.x
    one.camera.x = lambda t: x(t) + swing(t)
    one.camera.exposure_time = rng.uniform(0.004, 0.02)
    return _clip(rng, one, seconds)


def _steps(
    rng: np.random.Generator, seconds: float, size: Callable[[], float], lasts: tuple[float, float],
    pause: tuple[float, float] = (0.6, 2.0),
) -> Callable[[float], float]:  # fmt: skip
    """A function of seconds that moves by `size()` now and then, smoothly, and rests between."""
    begins, ends, levels = [], [], [0.0]
    t = rng.uniform(*pause)
    while t < seconds:
        begins.append(t)
        t += rng.uniform(*lasts)
        ends.append(t)
        levels.append(levels[-1] + size())
        t += rng.uniform(*pause)

    def at(t: float) -> float:
        k = int(np.searchsorted(begins, t, "right"))
        if k == 0:
            return levels[0]
        share = min(1.0, (t - begins[k - 1]) / (ends[k - 1] - begins[k - 1]))
        share = share * share * (3 - 2 * share)
        return levels[k - 1] + share * (levels[k] - levels[k - 1])

    return at


def whip_pan(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """The camera is thrown round: one to three widths in a quarter to half a second, blurred."""
    one = scene(rng)
    width = one.camera.zoom(0) * SIZE[0]
    at = _steps(rng, seconds, lambda: rng.choice([-1, 1]) * rng.uniform(1, 3) * width, (0.25, 0.5))
    x = one.camera.x
    one.camera.x = lambda t: x(t) + at(t)
    one.camera.exposure_time = 0.02
    return _clip(rng, one, seconds)


def zoom(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Crash zooms: two to three times in a quarter to a whole second, in and out."""
    one = scene(rng)
    one.people = []  # they would have to grow as well
    wide = rng.uniform(1.6, 2.2)
    level = [0.0]

    def size() -> float:
        to = 0.0 if level[0] else -float(np.log(rng.uniform(2, 3)))
        step, level[0] = to - level[0], to
        return step

    at = _steps(rng, seconds, size, (0.25, 1.0))
    one.camera.zoom = lambda t: wide * float(np.exp(at(t)))
    return _clip(rng, one, seconds)


def roll(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """The camera is turned about its axis, by up to 90 degrees in half a second."""
    one = scene(rng)
    one.people = []
    at = _steps(rng, seconds, lambda: rng.choice([-1, 1]) * rng.uniform(20, 90), (0.4, 1.0))
    one.camera.roll = at
    return _clip(rng, one, seconds)


def _events(
    rng: np.random.Generator, seconds: float, lasts: Callable[[], int], pause: tuple[float, float]
) -> dict[int, tuple[int, int]]:
    """Frame number -> (event, frames since it began), for things that happen now and then."""
    found, k, event = {}, round(rng.uniform(*pause) * FPS), 0
    while k < seconds * FPS:
        for j in range(lasts()):
            found[k + j] = event, j
        k += j + 1 + round(rng.uniform(*pause) * FPS)
        event += 1
    return found


def flash(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Photographers' flashes: one or two frames two to eight times as bright, from one side."""
    one = scene(rng)
    one.light *= rng.uniform(0.4, 1)
    events = _events(rng, seconds, lambda: int(rng.integers(1, 3)), (0.15, 1.5))
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] / SIZE[0]
    for k in range(round(seconds * FPS)):
        pixels = one(k / FPS)
        if k in events:
            event, since = events[k]
            own = np.random.default_rng((7, event))
            middle = own.uniform(0, 1), own.uniform(0, 0.5)
            fall = np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / own.uniform(0.1, 1.5))
            power = own.uniform(1, 7) * (1 if since == 0 else 0.4)
            pixels = pixels * (1 + power * fall[..., None]) + own.uniform(0, 60)
        yield _exposed(pixels, rng), k / FPS, False


def lightning(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """A dark scene that flickers for three to twelve frames at a time."""
    one = scene(rng)
    one.light *= 0.25
    events = _events(rng, seconds, lambda: int(rng.integers(3, 13)), (0.3, 2))
    for k in range(round(seconds * FPS)):
        gain = rng.uniform(0.8, 6) if k in events else 1.0
        blue = np.array([0.95, 1, 1.1]) if k in events else 1.0
        yield _exposed(one(k / FPS) * gain * blue, rng), k / FPS, False


def blank_frame(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """One to three frames of plain white, black or a colour within a scene."""
    one = scene(rng)
    events = _events(rng, seconds, lambda: int(rng.integers(1, 4)), (0.3, 2))
    for k in range(round(seconds * FPS)):
        pixels = one(k / FPS)
        if k in events:
            own = np.random.default_rng((8, events[k][0]))
            pixels[:] = [(255, 255, 255), (0, 0, 0), tuple(own.uniform(0, 255, 3))][own.integers(3)]
        yield _exposed(pixels, rng), k / FPS, False


def exposure(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Automatic exposure: up to three times as bright or dark within a fifth to a whole second."""
    one = scene(rng)
    logs = [0.0]

    def size() -> float:
        to = float(rng.uniform(-1.1, 1.1))
        step = to - logs[-1]
        logs.append(to)
        return step

    level = _steps(rng, seconds, size, (0.2, 1.0), (0.3, 1.5))
    return _clip(rng, lambda t: one(t) * np.exp(level(t)), seconds)


def light_switch(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Lights that go on and off from one frame to the next, of other colour."""
    one = scene(rng)
    events = _events(rng, seconds, lambda: int(rng.integers(10, 40)), (0.5, 2))
    for k in range(round(seconds * FPS)):
        pixels = one(k / FPS)
        if k in events:
            own = np.random.default_rng((9, events[k][0]))
            pixels = pixels * own.uniform(0.35, 2.5) * own.uniform(0.7, 1.3, 3)
        yield _exposed(pixels, rng), k / FPS, False


def fade(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """To black or white and back within the same scene; half a second to two each way."""
    one = scene(rng)
    colour = rng.choice([0.0, 0.0, 255.0])
    steps = [rng.uniform(0.5, 2) for _ in range(100)]
    ends = np.cumsum(steps)

    def at(t: float) -> np.ndarray:
        k = int(np.searchsorted(ends, t, "right"))
        share = (t - (ends[k - 1] if k else 0)) / steps[k]
        shown = (1.0, 1 - share, 0.0, share)[k % 4]
        return one(t) * shown + colour * (1 - shown)

    return _clip(rng, at, seconds)


def _mixed(
    rng: np.random.Generator, seconds: float, lasts: tuple[float, float], through: float | None
) -> Iterator[Shot]:
    """Scenes that turn into each other, directly or through a colour."""
    pieces, t = [(0.0, 0.0, scene(rng))], 0.0
    while t < seconds:
        t += rng.uniform(1, 3)
        pieces.append((t, rng.uniform(*lasts), scene(rng)))
        t += pieces[-1][1]

    def at(t: float) -> np.ndarray:
        k = max(k for k, piece in enumerate(pieces) if piece[0] <= t)
        begins, length, now = pieces[k]
        share = min(1.0, (t - begins) / length) if length else 1.0
        if share == 1:
            return now(t)
        before = pieces[k - 1][2]
        if through is None:
            return (1 - share) * before(t) + share * now(t)
        if share < 0.5:
            return before(t) * (1 - 2 * share) + through * 2 * share
        return now(t) * (2 * share - 1) + through * (2 - 2 * share)

    return _clip(rng, at, seconds)


def dissolve(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Scenes that fade into each other within 0.4 to two seconds."""
    return _mixed(rng, seconds, (0.4, 2), None)


def fade_between(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Scenes that follow each other through black or white, within one to three seconds."""
    return _mixed(rng, seconds, (1, 3), float(rng.choice([0.0, 0.0, 255.0])))


def passer_by(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """People close to the lens, who cover a third of the view to all of it, cross it."""
    one = scene(rng)
    speeds = [rng.choice([-1, 1]) * rng.uniform(0.6, 2.5) for _ in range(60)]
    sizes = [rng.uniform(60, 280) for _ in speeds]
    sprites = [sprite(rng) for _ in speeds[:6]]
    ends, starts = [], []
    t = 0.5
    for speed, size in zip(speeds, sizes, strict=True):
        starts.append(t)
        t += (SIZE[0] + 2.4 * size) / (abs(speed) * SIZE[0])
        ends.append(t)
        t += rng.uniform(0.3, 1.5)

    def at(t: float) -> np.ndarray:
        pixels = one(t)
        k = int(np.searchsorted(ends, t))
        if k < len(starts) and t >= starts[k]:
            way = (t - starts[k]) * speeds[k] * SIZE[0]
            first = -1.2 * sizes[k] if speeds[k] > 0 else SIZE[0] + 1.2 * sizes[k]
            middle = SIZE[1] / 2
            size = sizes[k]
            mover = Person(
                cv2.GaussianBlur(sprites[k % 6], (0, 0), 1.5),
                lambda _: first + way,
                lambda _: middle,
                lambda _: size,
            )
            mover.draw(pixels, t)
        return pixels

    return _clip(rng, at, seconds)


def dropped_frames(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """A connection that stalls for 0.1 to 0.6 seconds while things move, and jumps on."""
    one = scene(rng, pan=rng.choice([-1, 1]) * rng.uniform(0.05, 0.35))
    events = _events(rng, seconds, lambda: int(rng.integers(3, 16)), (0.3, 1.5))
    last = _exposed(one(0), rng)
    for k in range(round(seconds * FPS)):
        if k not in events:
            last = _exposed(one(k / FPS), rng)
        yield last, k / FPS, False


def low_rate(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Every tenth frame only, of people who move and a camera that is turned slowly."""
    one = scene(rng, pan=rng.choice([-1, 1]) * rng.uniform(0, 0.3))
    for k in range(round(seconds * FPS / 10)):
        t = 10 * k / FPS
        yield _exposed(one(t), rng), t, False


def noise(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """A dark scene, with the noise of a sensor at its limit."""
    one = scene(rng)
    one.light *= rng.uniform(0.1, 0.4)
    return _clip(rng, one, seconds, noise=rng.uniform(8, 20))


def still(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """One picture again and again."""
    pixels = _exposed(scene(rng)(0), rng)
    for k in range(round(seconds * FPS)):
        yield pixels, k / FPS, False


def caption(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Captions and name plates that come and go from one frame to the next."""
    one = scene(rng)
    events = _events(rng, seconds, lambda: int(rng.integers(15, 60)), (0.3, 1.5))
    for k in range(round(seconds * FPS)):
        pixels = one(k / FPS)
        if k in events:
            own = np.random.default_rng((11, events[k][0]))
            top = int(own.uniform(0.6, 0.8) * SIZE[1])
            pixels[top : top + int(own.uniform(20, 40)), 16 : int(own.uniform(120, 304))] = (
                own.uniform(0, 255, 3)
            )
            text = np.zeros(pixels.shape[:2], np.uint8)  # OpenCV 5 writes on 8 bits only
            cv2.putText(text, "Good evening", (24, top + 18), 0, 0.6, 255, 2)
            pixels[text > 0] = 255
        yield _exposed(pixels, rng), k / FPS, False


# --- Hard cuts --------------------------------------------------------------------------------


def _shots(
    rng: np.random.Generator, seconds: float, make: Callable[[], Render],
    lasts: tuple[float, float] = (0.8, 3), noise: float = 3.0, step: int = 1, blank: int = 0,
) -> Iterator[Shot]:  # fmt: skip
    """Shots one behind the other. step: every how many frames are shown; blank: black ones."""
    k, first = 0, True
    while k < seconds * FPS / step:
        one = make()
        for j in range(max(2, round(rng.uniform(*lasts) * FPS / step))):
            t = k * step / FPS
            yield _exposed(one(t), rng, noise), t, j == 0 and not first
            k += 1
        first = False
        for _ in range(rng.integers(1, blank) if blank else 0):
            yield _exposed(np.zeros((SIZE[1], SIZE[0], 3)), rng), k * step / FPS, False
            k += 1


def cut(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """To another place."""
    return _shots(rng, seconds, lambda: scene(rng))


def cut_in_place(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """To another view in the same place and light, as in a dialogue."""
    picture = panorama(rng)
    x, zoomed = [0.0], rng.uniform(0.9, 1.5)

    def make() -> Scene:
        x[0] += rng.uniform(1.2, 3) * SIZE[0] * zoomed
        one = scene(rng, picture, x=x[0])
        one.camera.zoom, one.light = (lambda _: zoomed), 0.9
        return one

    return _shots(rng, seconds, make)


def cut_in_motion(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """From a fast pan into another."""
    return _shots(rng, seconds, lambda: scene(rng, pan=rng.choice([-1, 1]) * rng.uniform(0.3, 1.2)))


def cut_in_the_dark(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Between dark, noisy scenes."""

    def make() -> Scene:
        one = scene(rng)
        one.light *= rng.uniform(0.15, 0.4)
        return one

    return _shots(rng, seconds, make, noise=rng.uniform(4, 10))


def short_shots(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Shots of a fifth of a second to 0.6, as in trailers."""
    return _shots(rng, seconds, lambda: scene(rng), (0.2, 0.6))


def cut_at_low_rate(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Every tenth frame only."""
    return _shots(rng, seconds, lambda: scene(rng), (2, 6), step=10)


def cut_through_black(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """One to nine black frames between the shots."""
    return _shots(rng, seconds, lambda: scene(rng), blank=10)


def person_replaced(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """The same place through the same camera, with another person in the middle of it."""
    one = scene(rng)
    one.camera = handheld(rng, one.picture)
    size = rng.uniform(60, 120)

    def make() -> Scene:
        who = person(rng, (size, size))
        middle = 0.5 * SIZE[0]
        here = Person(who.sprite, lambda t: middle, lambda t: 0.45 * SIZE[1], who.side)
        return Scene(one.picture, one.camera, [here], one.light)

    return _shots(rng, seconds, make)


CUTS = {
    make.__name__: make
    for make in (cut, cut_in_place, cut_in_motion, cut_in_the_dark, short_shots, cut_at_low_rate,
                 cut_through_black, person_replaced)
}  # fmt: skip
"""Kinds of clips with hard cuts."""

NO_CUTS = {
    make.__name__: make
    for make in (static, fast_pan, whip_pan, zoom, roll, flash, lightning, blank_frame, exposure,
                 light_switch, fade, passer_by, dropped_frames, low_rate, noise, still, caption)
}  # fmt: skip
"""Kinds of clips without one."""

GRADUAL = {make.__name__: make for make in (dissolve, fade_between)}
"""Kinds of clips whose scenes follow each other without a hard cut."""

KINDS = CUTS | NO_CUTS | GRADUAL


def frames(kind: str, seed: int = 0, seconds: float = 20.0) -> Iterator[Shot]:
    """The frames of a clip, their times, and whether a new shot begins with each."""
    return KINDS[kind](np.random.default_rng((seed, list(KINDS).index(kind))), seconds)


def compressed(clip: Iterable[Shot], bit_rate: int = 150_000) -> Iterator[Shot]:
    """The same clip as H.264 leaves it at a low bit rate, with all its artefacts."""
    file, times = io.BytesIO(), []
    tick = Fraction(1, 1000)
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("libx264", FPS, {"preset": "veryfast"}, width=SIZE[0],
                                   height=SIZE[1], pix_fmt="yuv420p", bit_rate=bit_rate,
                                   thread_count=1, gop_size=250)  # fmt: skip
        for number, (pixels, seconds, is_cut) in enumerate(clip):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = 40 * number, tick
            output.mux(stream.encode(frame))
            times.append((seconds, is_cut))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        for frame, (seconds, is_cut) in zip(source.decode(video=0), times, strict=True):
            yield frame.to_ndarray(format="rgb24"), seconds, is_cut
