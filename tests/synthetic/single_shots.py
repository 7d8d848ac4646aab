"""Clips without cuts, many of them with changes that resemble cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from tests.synthetic.film import (
    FPS,
    SIZE,
    Frame,
    Person,
    Render,
    add_noise,
    random_scene,
    random_sprite,
    single_shot,
    sway,
)

Range = tuple[float, float]
"""Lower and upper bound of a random number."""


def static(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """People in front of a handheld camera or one on a tripod."""
    return single_shot(rng, random_scene(rng), seconds)


def fast_pan(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """The camera pans to and fro, at up to 1 to 8 widths of the view per second in most clips."""
    scene = random_scene(rng)
    swing = sway(rng, rng.uniform(300, 700), rng.uniform(1, 2))
    x = scene.camera.x
    scene.camera.x = lambda t: x(t) + swing(t)
    scene.camera.exposure_time = rng.uniform(0.004, 0.02)
    return single_shot(rng, scene, seconds)


def random_steps(
    rng: np.random.Generator,
    seconds: float,
    draw_step: Callable[[], float],
    duration_range: Range,
    pause_range: Range = (0.6, 2.0),
) -> Callable[[float], float]:
    """A function of seconds that starts at 0 and changes by smooth steps with pauses between them.

    Args:
        rng: Random generator.
        seconds: Duration of the clip.
        draw_step: Function that returns the size of the next step.
        duration_range: Duration of a step in seconds.
        pause_range: Duration of a pause in seconds.
    """
    starts, ends, levels = [], [], [0.0]
    t = rng.uniform(*pause_range)
    while t < seconds:
        starts.append(t)
        t += rng.uniform(*duration_range)
        ends.append(t)
        levels.append(levels[-1] + draw_step())
        t += rng.uniform(*pause_range)

    def level_at(t: float) -> float:
        k = int(np.searchsorted(starts, t, "right"))
        if k == 0:
            return levels[0]
        fraction = min(1.0, (t - starts[k - 1]) / (ends[k - 1] - starts[k - 1]))
        fraction = fraction * fraction * (3 - 2 * fraction)
        return levels[k - 1] + fraction * (levels[k] - levels[k - 1])

    return level_at


def whip_pan(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """The camera pans by one to three widths in a quarter to half a second, with motion blur."""
    scene = random_scene(rng)
    width = scene.camera.zoom(0) * SIZE[0]
    offset = random_steps(
        rng, seconds, lambda: rng.choice([-1, 1]) * rng.uniform(1, 3) * width, (0.25, 0.5)
    )
    x = scene.camera.x
    scene.camera.x = lambda t: x(t) + offset(t)
    scene.camera.exposure_time = 0.02
    return single_shot(rng, scene, seconds)


def zoom(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """The camera zooms in and out by a factor of two to three in a quarter to a whole second."""
    scene = random_scene(rng)
    scene.people = []  # their size does not depend on the zoom
    initial_zoom = rng.uniform(1.6, 2.2)
    level = 0.0

    def draw_step() -> float:
        nonlocal level
        previous = level
        level = 0.0 if level else -float(np.log(rng.uniform(2, 3)))
        return level - previous

    log_zoom = random_steps(rng, seconds, draw_step, (0.25, 1.0))
    scene.camera.zoom = lambda t: initial_zoom * float(np.exp(log_zoom(t)))
    return single_shot(rng, scene, seconds)


def roll(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """The camera rotates about its axis by 20 to 90 degrees in 0.4 to 1 second."""
    scene = random_scene(rng)
    scene.people = []  # they would not rotate
    scene.camera.roll = random_steps(
        rng, seconds, lambda: rng.choice([-1, 1]) * rng.uniform(20, 90), (0.4, 1.0)
    )
    return single_shot(rng, scene, seconds)


def _random_events(
    rng: np.random.Generator, seconds: float, length_range: tuple[int, int], pause_range: Range
) -> dict[int, tuple[np.random.Generator, int]]:
    """Random events of several frames each, with pauses between them.

    Args:
        rng: Random generator.
        seconds: Duration of the clip.
        length_range: Number of frames of an event; the upper bound is excluded.
        pause_range: Duration of a pause in seconds.

    Returns:
        Frame index -> random generator and number of frames since the start of the event. Each
        frame of an event has a new generator with the same seed, and thus the same random numbers.
    """
    events = {}
    k = round(rng.uniform(*pause_range) * FPS)
    while k < seconds * FPS:
        seed = int(rng.integers(2**32))
        length = int(rng.integers(*length_range))
        events |= {k + j: (np.random.default_rng(seed), j) for j in range(length)}
        k += length + round(rng.uniform(*pause_range) * FPS)
    return events


Change = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]
"""Function from pixels, random generator and frames since the start of an event to pixels."""


def _with_events(
    rng: np.random.Generator,
    seconds: float,
    render: Render,
    length_range: tuple[int, int],
    pause_range: Range,
    change: Change,
) -> Iterator[Frame]:
    """A shot whose pixels change during the events of `_random_events`."""
    events = _random_events(rng, seconds, length_range, pause_range)
    for k in range(round(seconds * FPS)):
        pixels = render(k / FPS)
        if k in events:
            pixels = change(pixels, *events[k])
        yield add_noise(pixels, rng), k / FPS, False


def flash(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Camera flashes that light a part of one or two frames up to eight times as brightly."""
    scene = random_scene(rng)
    scene.brightness *= rng.uniform(0.4, 1)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]] / SIZE[0]

    def change(pixels: np.ndarray, event_rng: np.random.Generator, frames_since: int) -> np.ndarray:
        center = event_rng.uniform(0, 1), event_rng.uniform(0, 0.5)
        squared_distance = (x - center[0]) ** 2 + (y - center[1]) ** 2
        falloff = np.exp(-squared_distance / event_rng.uniform(0.1, 1.5))
        power = event_rng.uniform(1, 7) * (1 if frames_since == 0 else 0.4)
        return pixels * (1 + power * falloff[..., None]) + event_rng.uniform(0, 60)

    return _with_events(rng, seconds, scene, (1, 3), (0.15, 1.5), change)


def lightning(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """A dark scene that flickers for three to twelve frames at a time."""
    scene = random_scene(rng)
    scene.brightness *= 0.25

    def change(pixels: np.ndarray, _: np.random.Generator, __: int) -> np.ndarray:
        return pixels * rng.uniform(0.8, 6) * np.array([0.95, 1, 1.1])

    return _with_events(rng, seconds, scene, (3, 13), (0.3, 2), change)


def blank_frame(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """One to three uniform frames at a time: white, black or a random color."""

    def change(pixels: np.ndarray, event_rng: np.random.Generator, _: int) -> np.ndarray:
        colors = [(255, 255, 255), (0, 0, 0), tuple(event_rng.uniform(0, 255, 3))]
        return np.zeros_like(pixels) + colors[event_rng.integers(3)]

    return _with_events(rng, seconds, random_scene(rng), (1, 4), (0.3, 2), change)


def light_switch(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Brightness and color of the light change from one frame to the next, and back."""

    def change(pixels: np.ndarray, event_rng: np.random.Generator, _: int) -> np.ndarray:
        return pixels * event_rng.uniform(0.35, 2.5) * event_rng.uniform(0.7, 1.3, 3)

    return _with_events(rng, seconds, random_scene(rng), (10, 40), (0.5, 2), change)


def caption(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Captions that appear and disappear from one frame to the next."""

    def change(pixels: np.ndarray, event_rng: np.random.Generator, _: int) -> np.ndarray:
        top, height = int(event_rng.uniform(0.6, 0.8) * SIZE[1]), int(event_rng.uniform(20, 40))
        right = int(event_rng.uniform(120, 304))
        pixels[top : top + height, 16:right] = event_rng.uniform(0, 255, 3)
        text = np.zeros(pixels.shape[:2], np.uint8)  # OpenCV 5 draws text only on 8-bit images
        cv2.putText(text, "Good evening", (24, top + 18), 0, 0.6, 255, 2)
        pixels[text > 0] = 255
        return pixels

    return _with_events(rng, seconds, random_scene(rng), (15, 60), (0.3, 1.5), change)


def exposure(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Automatic exposure: within 0.2 to 1 second, the brightness changes, by a factor of 1/3 to 3
    of the initial one."""
    scene = random_scene(rng)
    level = 0.0

    def draw_step() -> float:
        nonlocal level
        previous, level = level, float(rng.uniform(-1.1, 1.1))
        return level - previous

    log_brightness = random_steps(rng, seconds, draw_step, (0.2, 1.0), (0.3, 1.5))
    return single_shot(rng, lambda t: scene(t) * np.exp(log_brightness(t)), seconds)


def fade(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Fades of a scene to black or white and back, each within 0.5 to 2 seconds."""
    scene = random_scene(rng)
    color = rng.choice([0.0, 0.0, 255.0])
    durations = [rng.uniform(0.5, 2) for _ in range(100)]
    ends = np.cumsum(durations)

    def render(t: float) -> np.ndarray:
        k = int(np.searchsorted(ends, t, "right"))
        fraction = (t - (ends[k - 1] if k else 0)) / durations[k]
        opacity = (1.0, 1 - fraction, 0.0, fraction)[k % 4]
        return scene(t) * opacity + color * (1 - opacity)

    return single_shot(rng, render, seconds)


def passer_by(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """People cross the view close to the lens and cover a third of it to all of it."""
    scene = random_scene(rng)
    speeds = [rng.choice([-1, 1]) * rng.uniform(0.6, 2.5) for _ in range(60)]
    sides = [rng.uniform(60, 280) for _ in speeds]
    sprites = [random_sprite(rng) for _ in range(6)]
    starts, ends = [], []
    t = 0.5
    for speed, side in zip(speeds, sides, strict=True):
        starts.append(t)
        t += (SIZE[0] + 2.4 * side) / (abs(speed) * SIZE[0])
        ends.append(t)
        t += rng.uniform(0.3, 1.5)

    def render(t: float) -> np.ndarray:
        pixels = scene(t)
        k = int(np.searchsorted(ends, t))
        if k < len(starts) and t >= starts[k]:
            distance = (t - starts[k]) * speeds[k] * SIZE[0]
            start_x = -1.2 * sides[k] if speeds[k] > 0 else SIZE[0] + 1.2 * sides[k]
            person = Person(
                cv2.GaussianBlur(sprites[k % len(sprites)], (0, 0), 1.5),
                lambda _: start_x + distance,
                lambda _: SIZE[1] / 2,
                lambda _: sides[k],
            )
            person.draw(pixels, t)
        return pixels

    return single_shot(rng, render, seconds)


def dropped_frames(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """A connection that repeats one frame for 0.1 to 0.6 seconds while the scene moves on."""
    scene = random_scene(rng, pan=rng.choice([-1, 1]) * rng.uniform(0.05, 0.35))
    stalls = _random_events(rng, seconds, (3, 16), (0.3, 1.5))
    last = add_noise(scene(0), rng)
    for k in range(round(seconds * FPS)):
        if k not in stalls:
            last = add_noise(scene(k / FPS), rng)
        yield last, k / FPS, False


def low_rate(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Every tenth frame of people who move, while the camera pans slowly."""
    scene = random_scene(rng, pan=rng.choice([-1, 1]) * rng.uniform(0, 0.3))
    for k in range(round(seconds * FPS / 10)):
        t = 10 * k / FPS
        yield add_noise(scene(t), rng), t, False


def noise(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """A dark scene with strong sensor noise."""
    scene = random_scene(rng)
    scene.brightness *= rng.uniform(0.1, 0.4)
    return single_shot(rng, scene, seconds, noise_std=rng.uniform(8, 20))


def still(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """The same frame throughout."""
    pixels = add_noise(random_scene(rng)(0), rng)
    for k in range(round(seconds * FPS)):
        yield pixels, k / FPS, False
