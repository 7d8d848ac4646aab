"""The faces of a picture, and the pace of a video, in words; without rich, slow to import."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

import click

from mien.labels import COLORS
from mien.results import Face, Result

BAR = 30
"""Letters of a bar that stands for all."""


def show(result: Result, *, bars: bool) -> None:
    """Print a frame's faces: with a bar for each emotion, or in one line each."""
    colour = False if os.environ.get("NO_COLOR") else None  # else, if it is a terminal
    for line in _lines(result, bars):
        click.echo(line, color=colour)


def _lines(result: Result, bars: bool) -> Iterator[str]:
    frame = result.frame
    name = click.style(frame.source or "picture", bold=True)
    if frame.number:
        name += click.style(f" at {frame.seconds:.2f} s", bold=True)
    if not result:
        yield f"{name}: no face found"
    for face in result:
        x, y, w, h = (round(v) for v in face.box)
        line = f"{name}  face {face.face_id}"
        line += click.style(f"  {w} x {h} at {x}, {y}", dim=True)
        if not bars:
            dominant = face.dominant_emotion
            line += "  " + _painted(f"{dominant} {face.emotions[dominant]:.0%}", dominant)
        if face.flags:
            line += click.style("  " + ", ".join(face.flags), fg="yellow")
        yield line
        if bars:
            yield from _bars(face)


def _bars(face: Face) -> Iterator[str]:
    for emotion, share in face.emotions.items():
        text = click.style(f"  {emotion:<9}{share:>6.1%}", bold=emotion == face.dominant_emotion)
        bar = "█" * round(share * BAR)
        yield f"{text} {_painted(bar, emotion)}" if bar else text


def _painted(text: str, emotion: str) -> str:
    """In the emotion's colour, by the palette of 256 that every terminal has."""
    red, green, blue = (round(int(COLORS[emotion][k : k + 2], 16) / 51) for k in (1, 3, 5))
    return click.style(text, fg=16 + 36 * red + 6 * green + blue)


class Pace:
    """How fast frames come and how late they are, in words."""

    def __init__(self) -> None:
        self._shown: deque[float] = deque(maxlen=30)

    def __call__(self, seconds: float, delay: float) -> str:
        """The words after a frame of that time, so many seconds late."""
        self._shown.append(seconds)
        span = self._shown[-1] - self._shown[0]
        rate = (len(self._shown) - 1) / span if span > 0 else 0.0
        return f"{rate:.0f} frames a second, {1000 * delay:.0f} ms behind"
