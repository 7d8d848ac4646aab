"""Clips without cuts in which people are replaced, swapped or dissolve into others, and clips that
resemble them.

for pixels, seconds, replaced in replacements.frames("people", seed=0): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from tests.synthetic.actors import CANVAS_HEIGHT, CANVAS_WIDTH, FACE_LEFT, FACE_SIDE, FACE_TOP
from tests.synthetic.film import FPS, SIZE, Person, add_noise, random_scene, random_sprite, sway
from tests.synthetic.single_shots import Range, random_steps

Frame = tuple[np.ndarray, float, list[float]]
"""(H, W, 3) uint8 RGB pixels, time in seconds, and the horizontal center of each face that is of
another person than in the previous frame."""

INTERVAL: Range = (0.6, 1.6)
"""Seconds between two replacements."""

DISSOLVE_SECONDS: Range = (0.4, 2)
"""Duration of a dissolve in seconds."""

PAUSE: Range = (2.1, 3)
"""Seconds between two dissolves. The pause is longer than the longest dissolve, so the frame two
seconds before the end of a dissolve always shows the old face alone, whatever its duration."""


def people(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """One or two people who are replaced, or exchange their places, between two frames."""
    scene = random_scene(rng)
    side = rng.uniform(40, 100)
    places = [0.5] if rng.random() < 0.5 else [0.28, 0.72]
    scene.people = [_person_at(rng, place * SIZE[0], side) for place in places]
    next_replacement = rng.uniform(*INTERVAL)
    for k in range(round(seconds * FPS)):
        t = k / FPS
        replaced: list[int] = []
        if t >= next_replacement:
            next_replacement = t + rng.uniform(*INTERVAL)
            sprites = [person.sprite for person in scene.people]
            if len(places) == 2 and rng.random() < 0.5:
                replaced, sprites = [0, 1], sprites[::-1]
            else:
                replaced = [int(rng.integers(len(places)))]
                sprites[replaced[0]] = random_sprite(rng)
            scene.people = [
                Person(sprite, person.x, person.y, person.side)
                for sprite, person in zip(sprites, scene.people, strict=True)
            ]
        yield add_noise(scene(t), rng), t, [scene.people[j].x(t) for j in replaced]


def dissolving_people(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """One or two people of whom one at a time dissolves into another person at the same place.

    The face is listed as replaced (`Frame`) in the frame in which its dissolve ends.
    """
    return _dissolves(rng, seconds, lambda t: t)


def dissolving_stills(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Like `dissolving_people`, but neither people nor camera move, as in a slide show."""
    return _dissolves(rng, seconds, lambda _: 0.0)


def absent_and_replaced(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """A person who disappears for 0.4 to 1.2 seconds, after which another one is at the place."""
    return _absences(rng, seconds, returns=False)


def absent_and_returned(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Like `absent_and_replaced`, but the same person is back."""
    return _absences(rng, seconds, returns=True)


def hand(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """A hand that moves in front of a face, stays for up to a second or passes, and leaves."""
    scene = random_scene(rng)
    side = rng.uniform(50, 100)
    person = _person_at(rng, SIZE[0] / 2, side)
    scene.people = [person]
    color = rng.uniform(60, 200) * np.array([1, 0.75, 0.6])
    shading = cv2.resize(rng.uniform(0.6, 1.2, (6, 10)), SIZE, interpolation=cv2.INTER_CUBIC)
    start, end = 0.5, 0.5
    for k in range(round(seconds * FPS)):
        t = k / FPS
        if t >= end:
            start = t + rng.uniform(0.2, 1)
            angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(2, 10) * side
            offset_x, offset_y = rng.uniform(-0.3, 0.5, 2) * side
            width = rng.uniform(0.3, 0.9) * side
            travel_seconds, stay_seconds = 2 * side / speed, max(0.0, rng.uniform(-1, 1))
            end = start + 2 * travel_seconds + stay_seconds
        pixels = scene(t)
        if t >= start:
            elapsed = t - start
            # Distance from the target: the hand approaches, stays, and leaves on the other side.
            distance = speed * (
                travel_seconds
                - min(elapsed, travel_seconds)
                - max(0.0, elapsed - travel_seconds - stay_seconds)
            )
            center = (
                person.x(t) + offset_x + np.cos(angle) * distance,
                person.y(t) + offset_y + np.sin(angle) * distance,
            )
            mask = np.zeros(SIZE[::-1], np.float32)
            cv2.ellipse(mask, (center, (width, 1.6 * width), np.rad2deg(angle)), 1, -1)
            is_moving = elapsed < travel_seconds or elapsed > travel_seconds + stay_seconds
            blur = 1 + 2 * int(speed / FPS / 4) if is_moving else 1
            mask = cv2.GaussianBlur(mask, (blur, blur), 0)[..., None]
            pixels += mask * (shading[..., None] * color * scene.brightness - pixels)
        yield add_noise(pixels, rng), t, []


def head_turn(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """A head that turns to the left and right by up to 60 degrees, in 0.12 to 0.5 seconds."""
    scene = random_scene(rng)
    side = rng.uniform(50, 100)
    front = _person_at(rng, SIZE[0] / 2, side)
    yaw = random_steps(rng, seconds, lambda: rng.uniform(-60, 60), (0.12, 0.5), (0.2, 0.6))
    for k in range(round(seconds * FPS)):
        t = k / FPS
        sprite = _turned(front.sprite, float(np.clip(yaw(t), -60, 60)))
        scene.people = [Person(sprite, front.x, front.y, front.side)]
        yield add_noise(scene(t), rng), t, []


def expression(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """A face that is deformed smoothly, as by expressions, under light from a changing side."""
    scene = random_scene(rng)
    person = _person_at(rng, SIZE[0] / 2, rng.uniform(50, 100))
    y, x = np.mgrid[0:CANVAS_HEIGHT, 0:CANVAS_WIDTH].astype(np.float32)
    across, down = (x - FACE_LEFT) / FACE_SIDE * 2 - 1, (y - FACE_TOP) / FACE_SIDE * 2 - 1
    in_face = np.exp(-(across**4) - down**4)[..., None]
    size = CANVAS_WIDTH, CANVAS_HEIGHT
    deformations = [
        3 * in_face * cv2.resize(rng.normal(0, 1, (5, 5, 2)), size, interpolation=cv2.INTER_CUBIC)
        for _ in range(3)
    ]
    *strengths, side_light, light = (
        random_steps(rng, seconds, lambda: rng.uniform(-1, 1), (0.2, 1.2), (0.1, 0.8))
        for _ in range(5)
    )
    angle = rng.uniform(0, 2 * np.pi)
    from_side = np.clip(across * np.cos(angle) + down * np.sin(angle), -1, 1)
    for k in range(round(seconds * FPS)):
        t = k / FPS
        shift = sum(
            np.tanh(strength(t)) * field
            for strength, field in zip(strengths, deformations, strict=True)
        )
        sprite = cv2.remap(
            person.sprite,
            x + shift[..., 0].astype(np.float32),
            y + shift[..., 1].astype(np.float32),
            cv2.INTER_LINEAR,
        )
        brightness = 1 + 0.5 * np.tanh(side_light(t)) * from_side + 0.3 * np.tanh(light(t))
        sprite[..., :3] *= brightness[..., None]
        scene.people = [Person(sprite, person.x, person.y, person.side)]
        yield add_noise(scene(t), rng), t, []


def focus_pull(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """A camera that loses and finds the focus, in 0.3 to 1.5 seconds."""
    scene = random_scene(rng)
    side = rng.uniform(50, 100)
    scene.people = [_person_at(rng, SIZE[0] / 2, side)]
    blur = random_steps(
        rng, seconds, lambda: rng.uniform(-side / 8, side / 8), (0.3, 1.5), (0.1, 0.8)
    )
    for k in range(round(seconds * FPS)):
        t = k / FPS
        sigma = np.clip(abs(blur(t)), 0.1, side / 8)
        yield add_noise(cv2.GaussianBlur(scene(t), (0, 0), sigma), rng), t, []


def _absences(rng: np.random.Generator, seconds: float, *, returns: bool) -> Iterator[Frame]:
    scene = random_scene(rng)
    person = _person_at(rng, SIZE[0] / 2, rng.uniform(40, 100))
    gone, back = (float(t) for t in np.cumsum(rng.uniform((0.6, 0.4), (1.6, 1.2))))
    for k in range(round(seconds * FPS)):
        t = k / FPS
        replaced = []
        if t >= back:
            gone, back = (float(t) for t in t + np.cumsum(rng.uniform((0.6, 0.4), (1.6, 1.2))))
            if not returns:
                person = Person(random_sprite(rng), person.x, person.y, person.side)
                replaced = [person.x(t)]
        scene.people = [person] if t < gone else []
        yield add_noise(scene(t), rng), t, replaced


def _dissolves(
    rng: np.random.Generator, seconds: float, scene_time: Callable[[float], float]
) -> Iterator[Frame]:
    """Frames of dissolves; `scene_time` maps the time of the clip to that of the scene."""
    scene = random_scene(rng)
    side = rng.uniform(40, 100)
    places = [0.5] if rng.random() < 0.5 else [0.28, 0.72]
    people = [_person_at(rng, place * SIZE[0], side) for place in places]
    start, duration, index = rng.uniform(*PAUSE), rng.uniform(*DISSOLVE_SECONDS), 0
    following = people
    for k in range(round(seconds * FPS)):
        t = k / FPS
        replaced: list[int] = []
        if t >= start and following is people:
            index = int(rng.integers(len(places)))
            old = people[index]
            new = Person(random_sprite(rng), old.x, old.y, old.side)
            following = [*people[:index], new, *people[index + 1 :]]
        if t >= start + duration:
            people, replaced = following, [index]
            start, duration = t + rng.uniform(*PAUSE), rng.uniform(*DISSOLVE_SECONDS)
        weight = max(0.0, (t - start) / duration)
        scene.people = people
        pixels = (1 - weight) * scene(scene_time(t))
        scene.people = following
        pixels += weight * scene(scene_time(t))
        yield add_noise(pixels, rng), t, [people[j].x(scene_time(t)) for j in replaced]


def _person_at(rng: np.random.Generator, x: float, side: float) -> Person:
    """A person who sways around a horizontal position."""
    dx, dy = sway(rng, 8), sway(rng, 5)
    return Person(
        random_sprite(rng), lambda t: x + dx(t), lambda t: 0.45 * SIZE[1] + dy(t), lambda t: side
    )


def _turned(sprite: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate the head of a sprite around its vertical axis, as if it were a cylinder."""
    radius, bottom = 0.75 * FACE_SIDE, FACE_TOP + FACE_SIDE + 10
    center = FACE_LEFT + FACE_SIDE / 2
    columns = np.arange(CANVAS_WIDTH) - center
    angles = np.arcsin(np.clip(columns / radius, -1, 1)) + np.deg2rad(degrees)
    # The back of the head is not in the sprite: its edge is repeated.
    source = center + radius * np.sin(np.clip(angles, -1.4, 1.4))
    source = np.where(abs(columns) < radius, source, np.arange(CANVAS_WIDTH))
    map_x = np.tile(source.astype(np.float32), (CANVAS_HEIGHT, 1))
    map_y = np.repeat(np.arange(CANVAS_HEIGHT, dtype=np.float32)[:, None], CANVAS_WIDTH, 1)
    turned = sprite.copy()
    turned[:bottom] = cv2.remap(sprite, map_x, map_y, cv2.INTER_LINEAR)[:bottom]
    return turned


KINDS: dict[str, Callable[[np.random.Generator, float], Iterator[Frame]]] = {
    make.__name__: make
    for make in (people, hand, head_turn, dissolving_people, dissolving_stills, expression,
                 focus_pull, absent_and_replaced, absent_and_returned)
}  # fmt: skip
"""Kind of clip -> function from random generator and seconds to its frames."""


def frames(kind: str, seed: int = 0, seconds: float = 20.0) -> Iterator[Frame]:
    """Render a clip of a kind in `KINDS`; equal seeds give equal clips."""
    # From 100 on, so that the random numbers differ from those of the clips in `shots`.
    return KINDS[kind](np.random.default_rng((seed, 100 + list(KINDS).index(kind))), seconds)
