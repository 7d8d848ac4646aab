"""Draw the timeline of a video as one image, with a strip of stacked emotion shares per face."""

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
from mien.visualization.fonts import fit_text
from mien.visualization.text import unlisted_faces_note
from mien.visualization.time_format import format_time
from mien.visualization.timeline_data import (
    ABSENT,
    INTERPOLATED,
    Series,
    Timeline,
    timeline_writer,
)

MAX_STRIPS = 16
"""Maximum number of strips; faces with less time on screen are only counted."""

TIMELINE_WIDTH, LEFT_MARGIN, RIGHT_MARGIN = 1400, 150, 30
STRIP_WIDTH = TIMELINE_WIDTH - LEFT_MARGIN - RIGHT_MARGIN
STRIP_HEIGHT, STRIP_GAP, HEADER_HEIGHT, FOOTER_HEIGHT, DRAWN_PORTRAIT_SIDE = 96, 22, 92, 46, 88
"""Dimensions in pixels."""

TEXT_COLOR, DIM_COLOR, BACKGROUND, ABSENT_COLOR = "#1c2024", "#5b6570", "#ffffff", "#eef1f3"

MIN_SHOT_LABEL_GAP = 6
"""Minimum gap between the labels of two shots in pixels; a label with a smaller gap is left out."""

INTERPOLATED_OPACITY, MIN_VISIBLE_PIXELS = 0.35, 8
"""Opacity of interpolated intervals, and minimum drawn width, in pixels, of intervals in which
a face is present."""

SMOOTHED_NOTE = "shares smoothed over time"
INTERPOLATED_NOTE = "pale: interpolated between detections"
SHOTS_NOTE = "lines: cuts to another shot"
"""Notes in the legend, for smoothed shares, interpolated intervals, and shots on an HTML page."""

TICK_INTERVALS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
"""Possible intervals between the ticks of the time axis in seconds."""

MAX_TICK_INTERVALS = 12
"""Maximum number of intervals between ticks; for very long videos, there are more."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def open_writer(path: Path) -> AbstractContextManager[ResultWriter]:
    """Open a writer for the timeline of one video.

    Args:
        path: Image file to write: `.png`, `.jpg`, `.jpeg` or `.webp`.

    Raises:
        UserError: If the suffix is not one of these, a result of a second source is written, or the
            file cannot be written.

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
    """Draw one strip of stacked shares per face, starting with the face longest on screen."""
    summaries, emotion_indices = timeline.summaries.records(), timeline.emotion_indices()
    drawn = summaries[:MAX_STRIPS]
    height = HEADER_HEIGHT + max(len(drawn), 1) * (STRIP_HEIGHT + STRIP_GAP) + FOOTER_HEIGHT
    image = Image.new("RGB", (TIMELINE_WIDTH, height), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    title, font = fit_text(Path(timeline.source).name or timeline.source, 22, STRIP_WIDTH)
    canvas.text((LEFT_MARGIN, 16), title, TEXT_COLOR, font)
    _draw_legend(canvas, emotion_indices, timeline.smoothed)
    times = np.linspace(timeline.start, timeline.start + _duration(timeline), STRIP_WIDTH)
    for number, summary in enumerate(drawn):
        top = HEADER_HEIGHT + number * (STRIP_HEIGHT + STRIP_GAP)
        face_id = summary["face_id"]
        series = timeline.series[face_id]
        _paste_portrait(image, series, top)
        label_position = (LEFT_MARGIN - 12, top + STRIP_HEIGHT / 2)
        canvas.text(label_position, f"{face_id}", TEXT_COLOR, _font(16), "rm")
        strip, dominant = _strip(timeline, series, times, emotion_indices)
        image.paste(Image.fromarray(strip), (LEFT_MARGIN, top))
        _draw_dominant_emotions(canvas, dominant, top)
    _draw_shots(canvas, timeline, height)
    _draw_axis(canvas, timeline, height)
    if not drawn:
        position = (LEFT_MARGIN, HEADER_HEIGHT + STRIP_HEIGHT / 3)
        canvas.text(position, "no face detected", DIM_COLOR, _font(18))
    undrawn_count = len(summaries) - len(drawn) + timeline.dropped_faces
    if undrawn_count:
        note = unlisted_faces_note(undrawn_count)
        canvas.text((LEFT_MARGIN, height - 6), note, DIM_COLOR, _font(14), "ls")
    return image


def legend_notes(*, smoothed: bool, interpolated: bool = True) -> list[str]:
    """Return the notes that explain smoothed shares and interpolated times in a legend."""
    notes = []
    if smoothed:
        notes.append(SMOOTHED_NOTE)
    if interpolated:
        notes.append(INTERPOLATED_NOTE)
    return notes


def _duration(timeline: Timeline) -> float:
    """Return the seconds from the first to the last frame; above 0 even for a single frame."""
    return max(timeline.end - timeline.start, 1e-3)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _draw_legend(canvas: ImageDraw.ImageDraw, emotion_indices: list[int], smoothed: bool) -> None:
    x, y = float(LEFT_MARGIN), 56
    for k in emotion_indices:
        name = EMOTIONS_AND_CONTEMPT[k]
        canvas.rectangle((x, y, x + 14, y + 14), COLORS[name])
        canvas.text((x + 20, y - 2), name, TEXT_COLOR, _font(15))
        x += 44 + canvas.textlength(name, _font(15))
    notes = "; ".join(legend_notes(smoothed=smoothed))
    canvas.text((TIMELINE_WIDTH - RIGHT_MARGIN, y - 1), notes, DIM_COLOR, _font(14), "ra")


def _paste_portrait(image: Image.Image, series: Series, top: int) -> None:
    if not series.portrait:
        return
    portrait = Image.open(io.BytesIO(series.portrait))
    portrait.thumbnail((DRAWN_PORTRAIT_SIDE, DRAWN_PORTRAIT_SIDE))
    left = 12 + (DRAWN_PORTRAIT_SIDE - portrait.width) // 2
    image.paste(portrait, (left, top + (STRIP_HEIGHT - portrait.height) // 2))


def _strip(
    timeline: Timeline, series: Series, times: np.ndarray, emotion_indices: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Stack the shares of a face at each time, with the first emotion at the top.

    Args:
        timeline: The timeline.
        series: The series of the face.
        times: (W,) seconds, one for each column of pixels.
        emotion_indices: Indices of the drawn emotions in `EMOTIONS_AND_CONTEMPT`.

    Returns:
        (STRIP_HEIGHT, W, 3) uint8 pixels, and the (W,) indices of the dominant emotions in
        `EMOTIONS_AND_CONTEMPT`, -1 where the face is absent.
    """
    min_duration = MIN_VISIBLE_PIXELS * (times[1] - times[0])
    nearest, status = timeline.sample(series, times, min_duration)
    shares = np.array(series.shares, np.float64)[nearest][:, emotion_indices]
    shares /= shares.sum(1, keepdims=True).clip(1e-9)
    edges = shares.cumsum(1).T[:, None, :]  # (K, 1, W)
    heights = (np.arange(STRIP_HEIGHT) + 0.5)[:, None] / STRIP_HEIGHT
    emotion_at = (heights > edges).sum(0).clip(max=len(emotion_indices) - 1)
    colors = np.array(
        [ImageColor.getrgb(COLORS[EMOTIONS_AND_CONTEMPT[k]]) for k in emotion_indices]
    )
    absent = np.array(ImageColor.getrgb(ABSENT_COLOR))
    opacities = [0, INTERPOLATED_OPACITY]
    alpha = np.select([status == ABSENT, status == INTERPOLATED], opacities, 1)[:, None]  # (W, 1)
    pixels = (colors[emotion_at] * alpha + absent * (1 - alpha)).round().astype(np.uint8)
    return pixels, np.where(status == ABSENT, -1, np.array(emotion_indices)[shares.argmax(1)])


def _draw_dominant_emotions(canvas: ImageDraw.ImageDraw, dominant: np.ndarray, top: int) -> None:
    """Write the dominant emotion below every interval that is wide enough."""
    changes = np.flatnonzero(np.diff(dominant)) + 1
    for begin, end in pairwise([0, *changes.tolist(), len(dominant)]):
        if dominant[begin] < 0:
            continue
        name = EMOTIONS_AND_CONTEMPT[dominant[begin]]
        if canvas.textlength(name, _font(13)) + 6 <= end - begin:
            middle = LEFT_MARGIN + (begin + end) / 2
            canvas.text((middle, top + STRIP_HEIGHT + 1), name, DIM_COLOR, _font(13), "ma")


def _draw_shots(canvas: ImageDraw.ImageDraw, timeline: Timeline, height: int) -> None:
    """Draw a line across all strips at the start of each shot, labeled where there is space."""
    duration, min_label_x = _duration(timeline), float(LEFT_MARGIN)
    for seconds, shot in timeline.marked_shots():
        x = LEFT_MARGIN + (seconds - timeline.start) / duration * STRIP_WIDTH
        canvas.line((x, HEADER_HEIGHT - 4, x, height - FOOTER_HEIGHT + 2), TEXT_COLOR)
        label = f"shot {shot}"
        if x >= min_label_x and x + canvas.textlength(label, _font(12)) <= TIMELINE_WIDTH:
            canvas.text((x + 2, HEADER_HEIGHT - 4), label, DIM_COLOR, _font(12), "ls")
            min_label_x = x + canvas.textlength(label, _font(12)) + MIN_SHOT_LABEL_GAP


def _draw_axis(canvas: ImageDraw.ImageDraw, timeline: Timeline, height: int) -> None:
    duration = _duration(timeline)
    few_enough = (t for t in TICK_INTERVALS if duration / t <= MAX_TICK_INTERVALS)
    tick = next(few_enough, TICK_INTERVALS[-1])
    y = height - FOOTER_HEIGHT + 2
    canvas.line((LEFT_MARGIN, y, TIMELINE_WIDTH - RIGHT_MARGIN, y), DIM_COLOR)
    for k in range(math.ceil(timeline.start / tick), math.floor(timeline.end / tick) + 1):
        x = LEFT_MARGIN + (k * tick - timeline.start) / duration * STRIP_WIDTH
        canvas.line((x, y, x, y + 5), DIM_COLOR)
        canvas.text((x, y + 7), format_time(k * tick, tick), DIM_COLOR, _font(13), "ma")
