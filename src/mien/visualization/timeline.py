"""What each face of a video showed over its time, as one picture."""

from __future__ import annotations

import io
import math
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mien.errors import UserError
from mien.labels import COLORS, EMOTIONS_AND_CONTEMPT
from mien.results import Write
from mien.visualization.timeline_data import GONE, PALE, Line, Timeline, gathered

MAX_FACES = 16
"""The others, shorter on screen, are only counted."""

WIDE, LEFT, RIGHT = 1400, 150, 30
ROW, GAP, HEAD, FOOT, PORTRAIT = 96, 22, 92, 46, 88
INK, DIM, PAPER, AWAY = "#1c2024", "#5b6570", "#ffffff", "#eef1f3"

FADED, FEWEST = 0.35, 8
"""How much of its colour a face keeps that is not seen for a moment; pixels of the shortest
sighting."""

NOTES = {"smoothed": "shares smoothed over time", "pale": "pale: not seen for a moment"}
"""What a legend says beside the emotions."""

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Seconds between two marks of the axis."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def open_writer(path: Path) -> AbstractContextManager[Write]:
    """Write the timeline of one video as a picture; a `UserError` for a second source."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"A timeline is a picture, such as timeline.png, not {path}.")
    return gathered(path, lambda story, temporary: drawn(story).save(temporary))


def drawn(story: Timeline) -> Image.Image:
    """A strip per face, the longest on screen first: the shares of each moment, stacked."""
    faces = story.summaries.records()
    shown, known = faces[:MAX_FACES], story.known()
    high = HEAD + max(len(shown), 1) * (ROW + GAP) + FOOT
    image = Image.new("RGB", (WIDE, high), PAPER)
    canvas = ImageDraw.Draw(image)
    title = Path(story.source).name or story.source
    canvas.text((LEFT, 16), title, INK, ImageFont.load_default(22))
    _legend(canvas, known, story.smoothed)
    places = np.linspace(story.start, max(story.end, story.start + 1e-3), WIDE - LEFT - RIGHT)
    for number, face in enumerate(shown):
        top, line = HEAD + number * (ROW + GAP), story.lines[face["face_id"]]
        _portrait(image, line, top)
        canvas.text((LEFT - 12, top + ROW / 2), f"{face['face_id']}", INK, _font(16), "rm")
        strip, mostly = _strip(story, line, places, known)
        image.paste(Image.fromarray(strip), (LEFT, top))
        _words(canvas, mostly, top)
    _axis(canvas, story, high)
    if not shown:
        canvas.text((LEFT, HEAD + ROW / 3), "no face", DIM, _font(18))
    elif others := len(faces) - len(shown) + story.forgotten:
        told = f"and {others} more faces, shorter on screen"
        canvas.text((LEFT, high - 6), told, DIM, _font(14), "ls")
    return image


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _legend(canvas: ImageDraw.ImageDraw, known: list[int], smoothed: bool) -> None:
    x, y = float(LEFT), 56
    for k in known:
        name = EMOTIONS_AND_CONTEMPT[k]
        canvas.rectangle((x, y, x + 14, y + 14), COLORS[name])
        canvas.text((x + 20, y - 2), name, INK, _font(15))
        x += 44 + canvas.textlength(name, _font(15))
    notes = [NOTES["smoothed"]] * smoothed + [NOTES["pale"]]
    canvas.text((WIDE - RIGHT, y - 1), "; ".join(notes), DIM, _font(14), "ra")


def _portrait(image: Image.Image, line: Line, top: int) -> None:
    if not line.portrait:
        return
    portrait = Image.open(io.BytesIO(line.portrait))
    portrait.thumbnail((PORTRAIT, PORTRAIT))
    image.paste(portrait, (12 + (PORTRAIT - portrait.width) // 2,
                           top + (ROW - portrait.height) // 2))  # fmt: skip


def _strip(
    story: Timeline, line: Line, places: np.ndarray, known: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The shares over time as pixels, (ROW, W, 3) uint8, and the largest of them, -1 for away.

    The first emotion is at the top.
    """
    nearest, how = story.seen(line, places, FEWEST * np.diff(places[:2])[0])
    shares = np.array(line.shares, np.float64)[nearest][:, known]
    shares /= shares.sum(1, keepdims=True).clip(1e-9)
    edges = shares.cumsum(1).T[:, None, :]  # (K, 1, W)
    level = (np.arange(ROW) + 0.5)[:, None] / ROW
    which = (level > edges).sum(0).clip(max=len(known) - 1)
    colours = np.array([ImageColor.getrgb(COLORS[EMOTIONS_AND_CONTEMPT[k]]) for k in known])
    away = np.array(ImageColor.getrgb(AWAY))
    # How much of the colour there is: (W, 1).
    alpha = np.select([how == GONE, how == PALE], [0, FADED], 1)[:, None]
    pixels = (colours[which] * alpha + away * (1 - alpha)).round().astype(np.uint8)
    return pixels, np.where(how == GONE, -1, np.array(known)[shares.argmax(1)])


def _words(canvas: ImageDraw.ImageDraw, mostly: np.ndarray, top: int) -> None:
    """The name of what is strongest, below each stretch that has room for it."""
    changes = np.flatnonzero(np.diff(mostly)) + 1
    for begin, end in pairwise([0, *changes.tolist(), len(mostly)]):
        if mostly[begin] < 0:
            continue
        name = EMOTIONS_AND_CONTEMPT[mostly[begin]]
        if canvas.textlength(name, _font(13)) + 6 <= end - begin:
            middle = LEFT + (begin + end) / 2
            canvas.text((middle, top + ROW + 1), name, DIM, _font(13), "ma")


def _axis(canvas: ImageDraw.ImageDraw, story: Timeline, high: int) -> None:
    length = max(story.end - story.start, 1e-3)
    tick = next((t for t in TICKS if length / t <= 12), TICKS[-1])
    wide, y = WIDE - LEFT - RIGHT, high - FOOT + 2
    canvas.line((LEFT, y, WIDE - RIGHT, y), DIM)
    for k in range(math.ceil(story.start / tick), math.floor(story.end / tick) + 1):
        x = LEFT + (k * tick - story.start) / length * wide
        canvas.line((x, y, x, y + 5), DIM)
        canvas.text((x, y + 7), _clock(k * tick, tick), DIM, _font(13), "ma")


def _clock(seconds: float, tick: float) -> str:
    """A time as people write it: `0.5`, `1:05`, `1:00:00`."""
    minutes, rest = divmod(round(seconds, 1), 60)
    if tick < 1:
        return f"{minutes:.0f}:{rest:04.1f}"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:02.0f}" if hours else f"{minutes}:{rest:02.0f}"
