"""Clips with known shot boundaries: hard cuts, gradual transitions, and shots that look like cuts.

Photographs and people in front of a moving camera, compressed by a video codec at a low bit rate.
Needs no dataset.

    for pixels, seconds, is_cut in shots.compressed(shots.frames("whip_pan", seed=0)): ...
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from tests.synthetic import single_shots
from tests.synthetic.film import (
    FPS,
    SIZE,
    Person,
    Render,
    Scene,
    Shot,
    exposed,
    handheld,
    panorama,
    person,
    scene,
)


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
            yield exposed(one(t), rng, noise), t, j == 0 and not first
            k += 1
        first = False
        for _ in range(rng.integers(1, blank) if blank else 0):
            yield exposed(np.zeros((SIZE[1], SIZE[0], 3)), rng), k * step / FPS, False
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


def _mixed(
    rng: np.random.Generator, seconds: float, lasts: tuple[float, float], through: float | None
) -> Iterator[Shot]:
    """Scenes that turn into each other, directly or through a colour.

    The first frame after a transition is marked as the first frame of a shot.
    """
    before, now, begins, ends = scene(rng), scene(rng), rng.uniform(1, 3), 0.0
    ends = begins + rng.uniform(*lasts)
    for k in range(round(seconds * FPS)):
        t = k / FPS
        is_over = t >= ends
        if is_over:
            before, now, begins = now, scene(rng), ends + rng.uniform(1, 3)
            ends = begins + rng.uniform(*lasts)
        share = max(0.0, (t - begins) / (ends - begins))
        yield exposed(_blend(before, now, t, share, through), rng), t, is_over


def _blend(
    before: Render, now: Render, t: float, share: float, through: float | None
) -> np.ndarray:
    """A frame of a transition. share: how much of it has passed, 0 to 1."""
    if share == 0:
        return before(t)
    if through is None:
        return (1 - share) * before(t) + share * now(t)
    if share < 0.5:
        return before(t) * (1 - 2 * share) + through * 2 * share
    return now(t) * (2 * share - 1) + through * (2 - 2 * share)


def dissolve(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Scenes that fade into each other within 0.4 to two seconds."""
    return _mixed(rng, seconds, (0.4, 2), None)


def fade_between(rng: np.random.Generator, seconds: float) -> Iterator[Shot]:
    """Scenes that follow each other through black or white, within one to three seconds."""
    return _mixed(rng, seconds, (1, 3), float(rng.choice([0.0, 0.0, 255.0])))


CUTS = {
    make.__name__: make
    for make in (cut, cut_in_place, cut_in_motion, cut_in_the_dark, short_shots, cut_at_low_rate,
                 cut_through_black, person_replaced)
}  # fmt: skip
"""Kinds of clips with hard cuts."""

NO_CUTS = {
    name: getattr(single_shots, name)
    for name in ("static", "fast_pan", "whip_pan", "zoom", "roll", "flash", "lightning",
                 "blank_frame", "exposure", "light_switch", "fade", "passer_by", "dropped_frames",
                 "low_rate", "noise", "still", "caption")
}  # fmt: skip
"""Kinds of clips without one."""

GRADUAL = {make.__name__: make for make in (dissolve, fade_between)}
"""Kinds of clips whose scenes follow each other without a hard cut."""

KINDS = CUTS | NO_CUTS | GRADUAL


def frames(kind: str, seed: int = 0, seconds: float = 20.0) -> Iterator[Shot]:
    """The frames of a clip, their times, and whether a new shot begins with each.

    A shot after a gradual transition begins when the transition has ended.
    """
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
