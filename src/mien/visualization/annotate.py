"""Annotated images: a box per face, its dominant emotion, and a bar for each emotion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.errors import UserError
from mien.labels import COLORS
from mien.results import Face, scale_box
from mien.visualization.panel_layout import Content, Corners, PanelLayout, Size, place_panel
from mien.visualization.percent import percent

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

PANEL_COLOR, BAR_BACKGROUND = (16, 20, 24, 205), (255, 255, 255, 40)
"""Colors of a panel and of the background of a bar: red, green, blue, opacity."""

PREVIEW_SIDE = 480
"""Longer side in pixels to which `enlarge` enlarges images that are smaller."""

MIN_FONT_SIZE, FONT_SIZE = 10, 13
"""Minimum font size, and font size on images of medium size, in pixels."""

MIN_FONT_SCALING_SIDE, MAX_FONT_SCALING_SIDE = 900, 6400
"""Range of the longer side in pixels in which the font size grows in proportion to it.

On smaller images the font size is `FONT_SIZE`, or proportionally smaller below `PREVIEW_SIDE`."""

LINE_HEIGHT, PANEL_PADDING = 1.25, 0.5
TEXT_PANEL_WIDTH, BARS_PANEL_WIDTH = 11.8, 12.5
BAR_LEFT, BAR_MIDDLE, BAR_THICKNESS = 5.2, 0.62, 0.5
"""Dimensions of a panel as multiples of the font size: height of a line, padding, minimum width of
a panel with text, width of a panel with bars, left end of a bar in the panel, middle of a bar in
its line, and thickness of a bar."""

MIN_FACE_HEIGHT_FOR_BARS = 5
"""A face gets bars if the height of its box is at least this multiple of the font size."""


def draw(pixels: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """Annotate a copy of an image with its faces; `Result.plot` does the same for a result.

    If there are several faces, each is labeled with its `face_id`. A `?` marks a face with flags,
    whose emotions are less reliable. The size of the image does not change. If there is too little
    space beside the faces, the bars are left out first; then the text is shortened, and finally
    left out.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        faces: A `Result`, or any faces of this image.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: If `pixels` has another shape or dtype.

    Example:
        ```python
        result = mien.Analyzer().analyze("photo.jpg")
        annotated = mien.draw(result.frame.pixels, result[:1])
        ```
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
        raise UserError(
            "draw() needs RGB pixels; pass an array of shape (H, W, 3) and dtype uint8."
        )
    return _annotate(pixels, faces, {}, show_ids=len(faces) > 1)


class Annotator:
    """Annotates successive frames of one video, with face ids.

    The panel of a face keeps its position relative to the face, and its content, as long as it
    covers little of the faces and of other panels.

    Example:
        ```python
        annotate = Annotator()
        for result in analyzer.stream("clip.mp4"):
            annotated = annotate(result.frame.pixels, result)
        ```
    """

    def __init__(self) -> None:
        self._layouts: dict[int, PanelLayout] = {}

    def __call__(self, pixels: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """Annotate the next frame like `draw`, with smoothed emotions if the faces have them."""
        smoothed = [replace(face, emotions=face.smoothed or face.emotions) for face in faces]
        self._layouts = {
            face.face_id: self._layouts[face.face_id]
            for face in smoothed
            if face.face_id in self._layouts
        }
        by_id = sorted(smoothed, key=lambda face: face.face_id)
        return _annotate(pixels, by_id, self._layouts, show_ids=True)


def enlarge(pixels: np.ndarray, faces: Sequence[Face]) -> tuple[np.ndarray, list[Face]]:
    """Enlarge an image whose longer side is below `PREVIEW_SIDE`, and the boxes of its faces.

    Larger images are returned unchanged. Landmarks are not scaled, since previews do not show them.
    """
    scale = max(1.0, PREVIEW_SIDE / max(pixels.shape[:2]))
    if scale == 1:
        return pixels, list(faces)
    height, width = (max(1, round(n * scale)) for n in pixels.shape[:2])
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image), [replace(face, box=scale_box(face.box, scale)) for face in faces]


def _annotate(
    pixels: np.ndarray, faces: Sequence[Face], layouts: dict[int, PanelLayout], *, show_ids: bool
) -> np.ndarray:
    """Draw boxes and panels; `layouts` (previous layouts by face id) is updated in place."""
    image = Image.fromarray(pixels)
    font_size = _font_size(image.size)
    font = ImageFont.load_default(font_size)
    max_line_width = max(1, max(image.size) // 100)  # on small images, thinner than 2 pixels
    line_width = min(max(2, font_size // 6), max_line_width)
    canvas = ImageDraw.Draw(image, "RGBA")
    for face in faces:
        _draw_box(canvas, face.box, face, line_width)
    box_corners = [(x, y, x + w, y + h) for x, y, w, h in (face.box for face in faces)]
    panels: list[Corners] = []
    for k, face in enumerate(faces):
        other_boxes = [*box_corners[:k], *box_corners[k + 1 :]]
        previous = layouts.get(face.face_id)
        for text in _headers(face, show_id=show_ids):
            sizes = _panel_sizes(face, text, font, font_size, image.size)
            corners, layout = place_panel(
                image.size, face.box, sizes, other_boxes, panels, previous
            )
            if layout.content is not Content.NOTHING:
                break  # this text fits; otherwise, try a shorter one
        layouts[face.face_id] = layout
        if layout.content is not Content.NOTHING:
            bars = face.emotions if layout.content is Content.BARS else {}
            _draw_panel(canvas, corners, face.dominant_emotion, text, bars, font, font_size)
            panels.append(corners)
    return np.asarray(image)


def _font_size(image_size: Size) -> int:
    """Return the font size in pixels, below `FONT_SIZE` on small and on very narrow images."""
    longer, shorter = max(image_size), min(image_size)
    if longer < PREVIEW_SIDE:
        scale = longer / PREVIEW_SIDE
    else:
        scale = max(1.0, min(longer, MAX_FONT_SCALING_SIDE) / MIN_FONT_SCALING_SIDE)
    return max(MIN_FONT_SIZE, min(round(FONT_SIZE * scale), shorter // 4))


def _draw_box(canvas: ImageDraw.ImageDraw, box: Sequence[float], face: Face, width: int) -> None:
    x, y, w, h = box
    corners = (x, y, x + max(w, 1), y + max(h, 1))
    # A bright outline with a dark one inside is visible on any image.
    canvas.rounded_rectangle(corners, width * 2, outline=(0, 0, 0, 160), width=width + 2)
    canvas.rounded_rectangle(corners, width * 2, outline=COLORS[face.dominant_emotion], width=width)


def _headers(face: Face, *, show_id: bool) -> list[str]:
    """Return header texts from the longest to the shortest; the first that fits is drawn."""
    prefix = f"{face.face_id}  " if show_id else ""
    suffix = " ?" if face.flags else ""
    emotion = face.dominant_emotion
    share = percent(face.emotions[emotion])
    headers = [f"{prefix}{emotion} {share}{suffix}", f"{prefix}{emotion}{suffix}"]
    return [*headers, str(face.face_id)] if show_id else headers


def _panel_sizes(
    face: Face, text: str, font: Font, font_size: int, image_size: Size
) -> dict[Content, Size]:
    """Return the size of the panel with text and, if the face is large enough, with bars."""
    line_height, pad = _line_height_and_padding(font_size)
    width = math.ceil(font.getlength(text)) + 2 * pad
    if max(image_size) >= PREVIEW_SIDE:
        # A panel in a video keeps its size when its text changes. Small images lack the space.
        width = max(width, min(round(font_size * TEXT_PANEL_WIDTH), image_size[0]))
    sizes = {Content.TEXT: (width, line_height + pad)}
    if face.box[3] >= MIN_FACE_HEIGHT_FOR_BARS * font_size:
        height = line_height * (len(face.emotions) + 1) + pad
        sizes[Content.BARS] = (round(font_size * BARS_PANEL_WIDTH), height)
    return sizes


def _draw_panel(
    canvas: ImageDraw.ImageDraw,
    corners: Corners,
    dominant: str,
    text: str,
    bars: Mapping[str, float],
    font: Font,
    font_size: int,
) -> None:
    left, top, right, _ = corners
    line_height, pad = _line_height_and_padding(font_size)
    canvas.rounded_rectangle(corners, pad, fill=PANEL_COLOR)
    canvas.text((left + pad, top + pad / 2), text, fill=COLORS[dominant], font=font)
    start = left + round(font_size * BAR_LEFT)
    full_length = right - pad - start
    half_thickness = font_size * BAR_THICKNESS / 2
    for k, (emotion, share) in enumerate(bars.items(), 1):
        y = top + pad / 2 + line_height * k
        canvas.text((left + pad, y), emotion, fill="white", font=font)
        middle = y + font_size * BAR_MIDDLE
        bar_top, bar_bottom = middle - half_thickness, middle + half_thickness
        full_bar = (start, bar_top, start + full_length, bar_bottom)
        canvas.rectangle(full_bar, fill=BAR_BACKGROUND)
        length = share * full_length
        if length >= 1:
            canvas.rectangle((start, bar_top, start + length, bar_bottom), fill=COLORS[emotion])


def _line_height_and_padding(font_size: int) -> tuple[int, int]:
    return round(font_size * LINE_HEIGHT), int(font_size * PANEL_PADDING)
