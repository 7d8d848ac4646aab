"""Scenarios of synthetic clips: who moves where, leaves, comes back, and shows what when."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mien.lab import data
from tests.synthetic.actors import Actor, Place, body

HEIGHT = 360
"""The picture for which sizes of faces are stated below; in another they grow with it."""


def sway(dice: np.random.Generator, middle: float, reach: float) -> Callable[[float], float]:
    """A function of seconds: a number about `middle`, smoothly at most `reach` away from it."""
    speeds = 2 * np.pi * dice.uniform(0.1, 0.3, 3)
    phases = dice.uniform(0, 2 * np.pi, 3)
    return lambda t: middle + reach * float(np.sin(speeds * t + phases).mean())


@dataclass(frozen=True)
class Stage:
    """What a scenario is made of: faces to show, the picture's size, seconds, and dice."""

    faces: data.Samples
    width: int
    height: int
    seconds: float
    dice: np.random.Generator

    @cached_property
    def _decks(self) -> dict[int, Iterator[int]]:
        """Label -> its faces, dealt in turn: hardly ever do two actors show the same one."""
        order = self.dice.permutation(len(self.faces))
        return {
            label: itertools.cycle(order[self.faces.labels[order] == label].tolist())
            for label in np.unique(self.faces.labels).tolist()
        }

    def wander(self, x: float, y: float, reach: float, side: float, growth: float = 0.2) -> Place:
        """Somewhere about (x, y), shares of the picture; reach and side in pixels at `HEIGHT`."""
        pixel = self.height / HEIGHT
        parts = (
            sway(self.dice, x * self.width, reach * pixel * self.width / self.height),
            sway(self.dice, y * self.height, reach * pixel),
            sway(self.dice, side * pixel, growth * side * pixel),
        )
        return lambda t: (parts[0](t), parts[1](t), parts[2](t))

    def actor(self, identity: int, place: Place, every: float | None = 2.0) -> Actor:
        """Somebody who changes emotion `every` so many seconds, and picture twice as often."""
        return Actor(identity, *body(self.dice), place, tuple(self._cues(every)))

    def _cues(self, every: float | None) -> Iterator[tuple[float, int]]:
        label = -1
        for k in range(1 if every is None else int(2 * self.seconds / every) + 1):
            if k % 2 == 0:
                label = int(self.dice.choice([other for other in self._decks if other != label]))
            yield k * (every or 0) / 2, next(self._decks[label])


def one(stage: Stage) -> list[Actor]:
    """A face wanders about."""
    return [stage.actor(0, stage.wander(0.5, 0.5, 130, 110))]


def crossing(stage: Stage) -> list[Actor]:
    """Two pass each other twice, the same one in front."""
    step, pixel = 2 * np.pi / stage.seconds, stage.height / HEIGHT
    actors = []
    for identity, (way, side) in enumerate(((-1, 90), (1, 115))):
        low = sway(stage.dice, 0.5 * stage.height, 15 * pixel)
        large = sway(stage.dice, side * pixel, 6 * pixel)

        def place(t: float, way=way, low=low, large=large) -> tuple[float, float, float]:
            return stage.width * (0.5 + 0.3 * way * float(np.cos(step * t))), low(t), large(t)

        actors.append(stage.actor(identity, place))
    return actors


def four(stage: Stage) -> list[Actor]:
    """Four wander about their quarters."""
    return grid(stage, 2, reach=35, side=75)


def sixteen(stage: Stage) -> list[Actor]:
    """Four rows of four, as in a theatre."""
    return grid(stage, 4, reach=8, side=46)


def grid(stage: Stage, across: int, reach: float, side: float) -> list[Actor]:
    """Actors in rows, the nearer before the farther."""
    middles = (np.arange(across) + 0.5) / across
    return [
        stage.actor(k, stage.wander(x, y - 0.02, reach, side, growth=0.15))
        for k, (y, x) in enumerate(itertools.product(middles, middles))
    ]


AWAY = ((2.0, 2.7), (5.0, 10.0))
"""Seconds in which one of those of `leaving` is not to be seen."""


def leaving(stage: Stage) -> list[Actor]:
    """One stays, and one leaves at the right for a moment and then for long (`AWAY`)."""
    inside = stage.wander(0.68, 0.5, 40, 90)

    def place(t: float) -> tuple[float, float, float]:
        x, y, side = inside(t)
        apart = min(max(begins - t, t - ends, 0) for begins, ends in AWAY)
        gone = max(0.0, 1 - apart / 0.8) ** 2
        return x + gone * (stage.width + side / 2 - x), y, side

    return [stage.actor(0, stage.wander(0.25, 0.5, 40, 90)), stage.actor(1, place)]


def growing(stage: Stage) -> list[Actor]:
    """One comes near: from 40 to 220 pixels."""
    about = stage.wander(0.5, 0.47, 20, 1)

    def place(t: float) -> tuple[float, float, float]:
        x, y, _ = about(t)
        return x, y, stage.height / HEIGHT * 40 * 5.5 ** (t / stage.seconds)

    return [stage.actor(0, place)]


def still(stage: Stage) -> list[Actor]:
    """Nothing moves and nothing changes but the noise of the camera."""
    side = 120 * stage.height / HEIGHT
    return [stage.actor(0, lambda _: (stage.width / 2, stage.height / 2, side), every=None)]


def none(_: Stage) -> list[Actor]:
    """Nobody."""
    return []


SCENARIOS = {
    make.__name__: make for make in (one, crossing, four, sixteen, leaving, growing, still, none)
}
