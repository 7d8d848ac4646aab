"""Print results as text without rich, which is slow to import."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

import click

from mien.labels import COLORS
from mien.printable import printable
from mien.results import Face, Result
from mien.visualization.percent import percent

BAR_LENGTH = 30
"""Length of the bar of a share of 1, in characters."""

RATE_FRAMES = 30
"""Number of frames over which the frame rate of a live view is averaged."""


def unlisted_faces_note(count: int) -> str:
    """Return a note that `count` faces are not listed because of their short time on screen."""
    return f"and {count} more {'face' if count == 1 else 'faces'} with less time on screen"


def print_faces(result: Result, *, with_bars: bool) -> None:
    """Print the faces of a frame, in one line each or with a bar for each emotion."""
    color = False if os.environ.get("NO_COLOR") else None  # None: color if this is a terminal
    for line in _lines(result, with_bars):
        click.echo(line, color=color)


def _lines(result: Result, with_bars: bool) -> Iterator[str]:
    frame = result.frame
    name = click.style(printable(frame.source) or "image", bold=True)
    if frame.number:
        name += click.style(f" at {frame.seconds:.2f} s", bold=True)
    if not result:
        yield f"{name}: no face detected"
    for face in result:
        x, y, w, h = (round(v) for v in face.scaled(frame.scale).box)
        line = f"{name}  face {face.face_id}"
        line += click.style(f"  {w} x {h} at {x}, {y}", dim=True)
        if not with_bars:
            dominant = face.dominant_emotion
            line += "  " + _colored(f"{dominant} {percent(face.emotions[dominant])}", dominant)
        if face.flags:
            line += click.style("  " + ", ".join(face.flags), fg="yellow")
        yield line
        if with_bars:
            yield from _bars(face)


def _bars(face: Face) -> Iterator[str]:
    for emotion, share in face.emotions.items():
        text = f"  {emotion:<9}{percent(share, 1):>7}"
        styled = click.style(text, bold=emotion == face.dominant_emotion)
        bar = "█" * round(share * BAR_LENGTH)
        yield f"{styled} {_colored(bar, emotion)}" if bar else styled


def _colored(text: str, emotion: str) -> str:
    """Color text in the emotion's color, approximated in the 256-color palette of terminals."""
    # Colors 16 to 231 of the palette are a cube with 6 levels per channel. They are treated as
    # evenly spaced, 51 apart, which they are only approximately.
    red, green, blue = (round(int(COLORS[emotion][k : k + 2], 16) / 51) for k in (1, 3, 5))
    return click.style(text, fg=16 + 36 * red + 6 * green + blue)


class LiveStatus:
    """Computes the rate of the last frames of a live view, and formats it with the delay."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=RATE_FRAMES)

    def __call__(self, seconds: float, delay: float) -> str:
        """Add a frame by its time and delay in seconds, and return the status line."""
        self._times.append(seconds)
        span = self._times[-1] - self._times[0]
        rate = (len(self._times) - 1) / span if span > 0 else 0.0
        return f"{rate:.0f} frames/s, {1000 * delay:.0f} ms delay"
