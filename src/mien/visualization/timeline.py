"""The timeline of a video as one image: a strip of stacked emotions per face."""

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
from mien.results import ResultWriter
from mien.visualization.clock import clock
from mien.visualization.fonts import fit_text
from mien.visualization.timeline_data import (
    ABSENT,
    INTERPOLATED,
    Series,
    Timeline,
    timeline_writer,
)

MAX_FACES = 16
"""Faces with a strip; the others, with less time on screen, are only counted."""

WIDTH, LEFT, RIGHT = 1400, 150, 30
STRIP_HEIGHT, GAP, HEADER, FOOTER, PORTRAIT_SIDE = 96, 22, 92, 46, 88
TEXT_COLOR, DIM_COLOR, BACKGROUND, ABSENT_COLOR = "#1c2024", "#5b6570", "#ffffff", "#eef1f3"

INTERPOLATED_OPACITY, MIN_VISIBLE_PIXELS = 0.35, 8
"""Opacity of interpolated times; pixels to which a shorter visible interval is widened."""

NOTES = {
    "smoothed": "shares smoothed over time",
    "interpolated": "pale: interpolated, not detected for a moment",
}
"""Notes of the legend."""

TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Possible intervals of the time axis in seconds."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def open_writer(path: Path) -> AbstractContextManager[ResultWriter]:
    """Open a writer for the timeline of one video.

    Args:
        path: An image: `.png`, `.jpg` or `.webp`.

    Raises:
        UserError: If the suffix is not that of an image, or for results of a second source.

    Example:
        ```python
        with timeline.open_writer(Path("timeline.png")) as write:
            for result in analyzer.stream("clip.mp4"):
                write(result)
        ```
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"Cannot write a timeline to {path}. Use an image, such as timeline.png.")
    return timeline_writer(
        path, lambda timeline, temporary: draw_timeline(timeline).save(temporary)
    )


def draw_timeline(timeline: Timeline) -> Image.Image:
    """Draw a strip of stacked shares per face, longest on screen first."""
    faces = timeline.summaries.records()
    drawn_faces, emotions = faces[:MAX_FACES], timeline.emotion_indices()
    height = HEADER + max(len(drawn_faces), 1) * (STRIP_HEIGHT + GAP) + FOOTER
    image = Image.new("RGB", (WIDTH, height), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    title, font = fit_text(Path(timeline.source).name or timeline.source, 22, WIDTH - LEFT - RIGHT)
    canvas.text((LEFT, 16), title, TEXT_COLOR, font)
    _draw_legend(canvas, emotions, timeline.smoothed)
    end = max(timeline.end, timeline.start + 1e-3)
    times = np.linspace(timeline.start, end, WIDTH - LEFT - RIGHT)
    for number, face in enumerate(drawn_faces):
        top, series = HEADER + number * (STRIP_HEIGHT + GAP), timeline.series[face["face_id"]]
        _paste_portrait(image, series, top)
        label_position = (LEFT - 12, top + STRIP_HEIGHT / 2)
        canvas.text(label_position, f"{face['face_id']}", TEXT_COLOR, _font(16), "rm")
        strip, dominant = _strip(timeline, series, times, emotions)
        image.paste(Image.fromarray(strip), (LEFT, top))
        _draw_dominant_emotions(canvas, dominant, top)
    _draw_axis(canvas, timeline, height)
    if not drawn_faces:
        canvas.text((LEFT, HEADER + STRIP_HEIGHT / 3), "no face", DIM_COLOR, _font(18))
    elif others := len(faces) - len(drawn_faces) + timeline.dropped_faces:
        note = f"and {others} more faces, shorter on screen"
        canvas.text((LEFT, height - 6), note, DIM_COLOR, _font(14), "ls")
    return image


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _draw_legend(canvas: ImageDraw.ImageDraw, emotions: list[int], smoothed: bool) -> None:
    x, y = float(LEFT), 56
    for k in emotions:
        name = EMOTIONS_AND_CONTEMPT[k]
        canvas.rectangle((x, y, x + 14, y + 14), COLORS[name])
        canvas.text((x + 20, y - 2), name, TEXT_COLOR, _font(15))
        x += 44 + canvas.textlength(name, _font(15))
    notes = [NOTES["smoothed"]] * smoothed + [NOTES["interpolated"]]
    canvas.text((WIDTH - RIGHT, y - 1), "; ".join(notes), DIM_COLOR, _font(14), "ra")


def _paste_portrait(image: Image.Image, series: Series, top: int) -> None:
    if not series.portrait:
        return
    portrait = Image.open(io.BytesIO(series.portrait))
    portrait.thumbnail((PORTRAIT_SIDE, PORTRAIT_SIDE))
    left = 12 + (PORTRAIT_SIDE - portrait.width) // 2
    image.paste(portrait, (left, top + (STRIP_HEIGHT - portrait.height) // 2))


def _strip(
    timeline: Timeline, series: Series, times: np.ndarray, emotions: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The stacked shares at (W,) times, the first emotion at the top.

    Returns pixels, (STRIP_HEIGHT, W, 3) uint8, and the dominant emotion, (W,), -1 if absent.
    """
    min_duration = MIN_VISIBLE_PIXELS * np.diff(times[:2])[0]
    nearest, status = timeline.sample(series, times, min_duration)
    shares = np.array(series.shares, np.float64)[nearest][:, emotions]
    shares /= shares.sum(1, keepdims=True).clip(1e-9)
    edges = shares.cumsum(1).T[:, None, :]  # (K, 1, W)
    level = (np.arange(STRIP_HEIGHT) + 0.5)[:, None] / STRIP_HEIGHT
    emotion_at = (level > edges).sum(0).clip(max=len(emotions) - 1)
    colors = np.array([ImageColor.getrgb(COLORS[EMOTIONS_AND_CONTEMPT[k]]) for k in emotions])
    absent = np.array(ImageColor.getrgb(ABSENT_COLOR))
    opacities = [0, INTERPOLATED_OPACITY]
    alpha = np.select([status == ABSENT, status == INTERPOLATED], opacities, 1)[:, None]  # (W, 1)
    pixels = (colors[emotion_at] * alpha + absent * (1 - alpha)).round().astype(np.uint8)
    return pixels, np.where(status == ABSENT, -1, np.array(emotions)[shares.argmax(1)])


def _draw_dominant_emotions(canvas: ImageDraw.ImageDraw, dominant: np.ndarray, top: int) -> None:
    """Write the dominant emotion below every interval that is wide enough."""
    changes = np.flatnonzero(np.diff(dominant)) + 1
    for begin, end in pairwise([0, *changes.tolist(), len(dominant)]):
        if dominant[begin] < 0:
            continue
        name = EMOTIONS_AND_CONTEMPT[dominant[begin]]
        if canvas.textlength(name, _font(13)) + 6 <= end - begin:
            middle = LEFT + (begin + end) / 2
            canvas.text((middle, top + STRIP_HEIGHT + 1), name, DIM_COLOR, _font(13), "ma")


def _draw_axis(canvas: ImageDraw.ImageDraw, timeline: Timeline, height: int) -> None:
    length = max(timeline.end - timeline.start, 1e-3)
    tick = next((t for t in TICKS if length / t <= 12), TICKS[-1])
    axis_width, y = WIDTH - LEFT - RIGHT, height - FOOTER + 2
    canvas.line((LEFT, y, WIDTH - RIGHT, y), DIM_COLOR)
    for k in range(math.ceil(timeline.start / tick), math.floor(timeline.end / tick) + 1):
        x = LEFT + (k * tick - timeline.start) / length * axis_width
        canvas.line((x, y, x, y + 5), DIM_COLOR)
        canvas.text((x, y + 7), clock(k * tick, tick), DIM_COLOR, _font(13), "ma")
