"""Scenarios of synthetic clips: movements, absences and expressions of the actors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mien.lab import data
from tests.synthetic.actors import Actor, Position, make_body

REFERENCE_HEIGHT = 360
"""Frame height at which the lengths of the scenarios are in pixels; they scale with the height."""


def sway(rng: np.random.Generator, center: float, radius: float) -> Callable[[float], float]:
    """A smooth random function of seconds with values within `radius` of `center`."""
    speeds = 2 * np.pi * rng.uniform(0.1, 0.3, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    return lambda t: center + radius * float(np.sin(speeds * t + phases).mean())


@dataclass(frozen=True)
class ScenarioInput:
    """Input of a scenario: faces, frame size in pixels, duration and random generator."""

    faces: data.Samples
    width: int
    height: int
    seconds: float
    rng: np.random.Generator

    @cached_property
    def _faces_by_label(self) -> dict[int, Iterator[int]]:
        """Label -> endless iterator over the indices of its faces, shared by all actors."""
        order = self.rng.permutation(len(self.faces))
        return {
            label: itertools.cycle(order[self.faces.labels[order] == label].tolist())
            for label in np.unique(self.faces.labels).tolist()
        }

    def wander(
        self, x: float, y: float, radius: float, side: float, growth: float = 0.2
    ) -> Position:
        """A random motion around a point.

        Args:
            x: Horizontal center, as a fraction of the frame's width.
            y: Vertical center, as a fraction of the frame's height.
            radius: Maximum vertical distance from the center, in pixels at `REFERENCE_HEIGHT`. The
                horizontal one is multiplied by the frame's aspect ratio.
            side: Mean side of the face, in pixels at `REFERENCE_HEIGHT`.
            growth: Maximum change of the side, as a fraction of it.
        """
        pixel = self.height / REFERENCE_HEIGHT
        motions = (
            sway(self.rng, x * self.width, radius * pixel * self.width / self.height),
            sway(self.rng, y * self.height, radius * pixel),
            sway(self.rng, side * pixel, growth * side * pixel),
        )
        return lambda t: (motions[0](t), motions[1](t), motions[2](t))

    def actor(self, identity: int, position: Position, interval: float | None = 2.0) -> Actor:
        """An actor whose emotion changes at an interval, and whose face image twice as often.

        Args:
            identity: Index of the actor.
            position: Position and size of the face over time.
            interval: Seconds between emotions; None for one face image throughout.
        """
        return Actor(identity, *make_body(self.rng), position, tuple(self._cues(interval)))

    def _cues(self, interval: float | None) -> Iterator[tuple[float, int]]:
        """Start in seconds and index of each face image, as for `Actor`."""
        label = -1
        for k in range(1 if interval is None else int(2 * self.seconds / interval) + 1):
            if k % 2 == 0:
                label = int(
                    self.rng.choice([other for other in self._faces_by_label if other != label])
                )
            yield k * (interval or 0) / 2, next(self._faces_by_label[label])


def one(setup: ScenarioInput) -> list[Actor]:
    """One face moves around."""
    return [setup.actor(0, setup.wander(0.5, 0.5, 130, 110))]


def crossing(setup: ScenarioInput) -> list[Actor]:
    """Two faces cross twice; the same one is in front both times."""
    angular_speed, pixel = 2 * np.pi / setup.seconds, setup.height / REFERENCE_HEIGHT
    actors = []
    for identity, (direction, side) in enumerate(((-1, 90), (1, 115))):
        y_motion = sway(setup.rng, 0.5 * setup.height, 15 * pixel)
        size_motion = sway(setup.rng, side * pixel, 6 * pixel)

        def position(
            t: float, direction=direction, y_motion=y_motion, size_motion=size_motion
        ) -> tuple[float, float, float]:
            return (
                setup.width * (0.5 + 0.3 * direction * float(np.cos(angular_speed * t))),
                y_motion(t),
                size_motion(t),
            )

        actors.append(setup.actor(identity, position))
    return actors


def four(setup: ScenarioInput) -> list[Actor]:
    """Four faces, each moving in its quarter of the frame."""
    return grid(setup, 2, radius=35, side=75)


def sixteen(setup: ScenarioInput) -> list[Actor]:
    """Sixteen faces in four rows."""
    return grid(setup, 4, radius=8, side=46)


def grid(setup: ScenarioInput, columns: int, radius: float, side: float) -> list[Actor]:
    """Actors in a square grid; lower rows are in front."""
    centers = (np.arange(columns) + 0.5) / columns
    return [
        setup.actor(k, setup.wander(x, y - 0.02, radius, side, growth=0.15))
        for k, (y, x) in enumerate(itertools.product(centers, centers))
    ]


ABSENCES = ((2.0, 2.7), (5.0, 10.0))
"""Seconds in which one actor of `leaving` is absent."""


def leaving(setup: ScenarioInput) -> list[Actor]:
    """One face stays; another leaves to the right twice, at `ABSENCES`.

    Its image does not change, because the images of an actor are of several persons.
    """
    visible_position = setup.wander(0.68, 0.5, 40, 90)

    def position(t: float) -> tuple[float, float, float]:
        x, y, side = visible_position(t)
        distance = min(max(start - t, t - end, 0) for start, end in ABSENCES)
        fraction = max(0.0, 1 - distance / 0.8) ** 2
        return x + fraction * (setup.width + side / 2 - x), y, side

    return [
        setup.actor(0, setup.wander(0.25, 0.5, 40, 90)),
        setup.actor(1, position, interval=None),
    ]


def growing(setup: ScenarioInput) -> list[Actor]:
    """One face approaches, growing from 40 to 220 pixels."""
    wander = setup.wander(0.5, 0.47, 20, 1)  # only for the center

    def position(t: float) -> tuple[float, float, float]:
        x, y, _ = wander(t)
        return x, y, setup.height / REFERENCE_HEIGHT * 40 * 5.5 ** (t / setup.seconds)

    return [setup.actor(0, position)]


def still(setup: ScenarioInput) -> list[Actor]:
    """Nothing changes except the camera noise."""
    side = 120 * setup.height / REFERENCE_HEIGHT
    return [setup.actor(0, lambda _: (setup.width / 2, setup.height / 2, side), interval=None)]


def none(_: ScenarioInput) -> list[Actor]:
    """No faces."""
    return []


SCENARIOS = {
    make.__name__: make for make in (one, crossing, four, sixteen, leaving, growing, still, none)
}
"""Name -> function that returns the actors, the frontmost last."""
