"""Clips of one shot each, however much some of them look like more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from tests.synthetic.film import (
    FPS,
    SIZE,
    Person,
    Render,
    Shot,
    exposed,
    film,
    scene,
    sprite,
    sway,
)


def static(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """People before a camera in the hand or on a tripod."""
    return film(rng, scene(rng), seconds)


def fast_pan(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """The camera looks round: up to one and a half widths a second."""
    one = scene(rng)
    swing = sway(rng, rng.uniform(300, 700), rng.uniform(1, 2))
    x = one.camera.x
    one.camera.x = lambda t: x(t) + swing(t)
    one.camera.exposure_time = rng.uniform(0.004, 0.02)
    return film(rng, one, seconds)


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
    return film(rng, one, seconds)


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
    return film(rng, one, seconds)


def roll(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """The camera is turned about its axis, by up to 90 degrees in half a second."""
    one = scene(rng)
    one.people = []
    at = _steps(rng, seconds, lambda: rng.choice([-1, 1]) * rng.uniform(20, 90), (0.4, 1.0))
    one.camera.roll = at
    return film(rng, one, seconds)


def _events(
    rng: np.random.Generator, seconds: float, lengths: tuple[int, int], pause: tuple[float, float]
) -> dict[int, tuple[np.random.Generator, int]]:
    """Frame number -> (generator of the event, frames since it began), for sudden events.

    The generator starts anew in each frame, so that all frames of an event draw the same numbers.
    """
    events = {}
    k = round(rng.uniform(*pause) * FPS)
    while k < seconds * FPS:
        seed = int(rng.integers(2**32))
        length = int(rng.integers(*lengths))
        events |= {k + j: (np.random.default_rng(seed), j) for j in range(length)}
        k += length + round(rng.uniform(*pause) * FPS)
    return events


Change = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]
"""Pixels, generator of the event, frames since it began -> pixels."""


def _interrupted(
    rng: np.random.Generator, seconds: float, render: Render, lengths: tuple[int, int],
    pause: tuple[float, float], change: Change,
) -> Iterator[Shot]:  # fmt: skip
    """A shot whose pixels change during events of some frames, with a pause in seconds between."""
    events = _events(rng, seconds, lengths, pause)
    for k in range(round(seconds * FPS)):
        pixels = render(k / FPS)
        yield exposed(change(pixels, *events[k]) if k in events else pixels, rng), k / FPS, False


def flash(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Photographers' flashes: one or two frames two to eight times as bright, from one side."""
    one = scene(rng)
    one.light *= rng.uniform(0.4, 1)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] / SIZE[0]

    def change(pixels: np.ndarray, own: np.random.Generator, since: int) -> np.ndarray:
        middle = own.uniform(0, 1), own.uniform(0, 0.5)
        fall = np.exp(-((x - middle[0]) ** 2 + (y - middle[1]) ** 2) / own.uniform(0.1, 1.5))
        power = own.uniform(1, 7) * (1 if since == 0 else 0.4)
        return pixels * (1 + power * fall[..., None]) + own.uniform(0, 60)

    return _interrupted(rng, seconds, one, (1, 3), (0.15, 1.5), change)


def lightning(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """A dark scene that flickers for three to twelve frames at a time."""
    one = scene(rng)
    one.light *= 0.25

    def change(pixels: np.ndarray, _: np.random.Generator, __: int) -> np.ndarray:
        return pixels * rng.uniform(0.8, 6) * np.array([0.95, 1, 1.1])

    return _interrupted(rng, seconds, one, (3, 13), (0.3, 2), change)


def blank_frame(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """One to three frames of plain white, black or a colour within a scene."""

    def change(pixels: np.ndarray, own: np.random.Generator, _: int) -> np.ndarray:
        colour = [(255, 255, 255), (0, 0, 0), tuple(own.uniform(0, 255, 3))][own.integers(3)]
        return np.zeros_like(pixels) + colour

    return _interrupted(rng, seconds, scene(rng), (1, 4), (0.3, 2), change)


def light_switch(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Lights that go on and off from one frame to the next, of other colour."""

    def change(pixels: np.ndarray, own: np.random.Generator, _: int) -> np.ndarray:
        return pixels * own.uniform(0.35, 2.5) * own.uniform(0.7, 1.3, 3)

    return _interrupted(rng, seconds, scene(rng), (10, 40), (0.5, 2), change)


def caption(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Captions and name plates that come and go from one frame to the next."""

    def change(pixels: np.ndarray, own: np.random.Generator, _: int) -> np.ndarray:
        top, height = int(own.uniform(0.6, 0.8) * SIZE[1]), int(own.uniform(20, 40))
        right = int(own.uniform(120, 304))
        pixels[top : top + height, 16:right] = own.uniform(0, 255, 3)
        text = np.zeros(pixels.shape[:2], np.uint8)  # OpenCV 5 writes on 8 bits only
        cv2.putText(text, "Good evening", (24, top + 18), 0, 0.6, 255, 2)
        pixels[text > 0] = 255
        return pixels

    return _interrupted(rng, seconds, scene(rng), (15, 60), (0.3, 1.5), change)


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
    return film(rng, lambda t: one(t) * np.exp(level(t)), seconds)


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

    return film(rng, at, seconds)


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

    return film(rng, at, seconds)


def dropped_frames(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """A connection that stalls for 0.1 to 0.6 seconds while things move, and jumps on."""
    one = scene(rng, pan=rng.choice([-1, 1]) * rng.uniform(0.05, 0.35))
    events = _events(rng, seconds, (3, 16), (0.3, 1.5))
    last = exposed(one(0), rng)
    for k in range(round(seconds * FPS)):
        if k not in events:
            last = exposed(one(k / FPS), rng)
        yield last, k / FPS, False


def low_rate(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Every tenth frame only, of people who move and a camera that is turned slowly."""
    one = scene(rng, pan=rng.choice([-1, 1]) * rng.uniform(0, 0.3))
    for k in range(round(seconds * FPS / 10)):
        t = 10 * k / FPS
        yield exposed(one(t), rng), t, False


def noise(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """A dark scene, with the noise of a sensor at its limit."""
    one = scene(rng)
    one.light *= rng.uniform(0.1, 0.4)
    return film(rng, one, seconds, noise=rng.uniform(8, 20))


def still(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """One picture again and again."""
    pixels = exposed(scene(rng)(0), rng)
    for k in range(round(seconds * FPS)):
        yield pixels, k / FPS, False
