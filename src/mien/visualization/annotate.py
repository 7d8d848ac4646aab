"""Annotated images: a box per face, its dominant emotion, and a bar for each emotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.errors import UserError
from mien.labels import COLORS
from mien.results import Face, scale_box
from mien.visualization.percent import percent

PANEL_COLOR = (16, 20, 24, 205)
MIN_SIDE, MAX_FONT_SIDE = 480, 6400
"""Pixels of the longer side: smaller images are enlarged so that text stays legible; the font grows
with the image up to the second."""

MAX_OCCLUSION = 0.1
"""A panel with bars may cover at most this share of faces and other panels; otherwise the panel is
reduced to one line of text. The panel of a single face always has bars."""

POSITIONS = 6
"""Candidate positions of a panel around a box; see `_candidates`."""

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def draw(pixels: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """Annotate a copy of an image with its faces; `Result.plot` does the same for a result.

    If there are several faces, each is labeled with its `face_id`. A `?` after a percentage marks
    a face with flags, whose emotions are less reliable.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        faces: A `Result`, or any faces of this image.

    Returns:
        (H, W, 3) uint8 RGB. An image whose longer side is below 480 pixels is enlarged so that its
        text is legible, even if it has no faces.

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
            "draw() cannot annotate this; pass RGB pixels, an array (H, W, 3) of uint8."
        )
    return _annotate(pixels, faces, {}, show_ids=len(faces) > 1)


class Annotator:
    """Annotates successive frames of one video, with face ids.

    The panel of a face keeps its position and size between frames while it covers little.

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
        """Annotate the next frame like `draw`, with smoothed emotions if there are any."""
        smoothed = [replace(face, emotions=face.smoothed or face.emotions) for face in faces]
        self._layouts = {
            face.face_id: self._layouts[face.face_id]
            for face in smoothed
            if face.face_id in self._layouts
        }
        by_id = sorted(smoothed, key=lambda face: face.face_id)
        return _annotate(pixels, by_id, self._layouts, show_ids=True)


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """has_bars: a bar for each emotion, or one line of text. position: index of the candidate."""

    has_bars: bool
    position: int


def _annotate(
    pixels: np.ndarray, faces: Sequence[Face], layouts: dict[int, PanelLayout], *, show_ids: bool
) -> np.ndarray:
    """Draw boxes and panels; `layouts` holds the previous layouts by face id and is updated."""
    image = Image.fromarray(pixels)
    scale = max(1.0, MIN_SIDE / max(image.size))
    if scale > 1:
        image = image.resize([round(n * scale) for n in image.size], Image.Resampling.BICUBIC)
    font_size = round(13 * max(1.0, min(max(image.size), MAX_FONT_SIDE) / 900))
    font = ImageFont.load_default(font_size)
    canvas = ImageDraw.Draw(image, "RGBA")
    boxes = [scale_box(face.box, scale) for face in faces]
    for face, box in zip(faces, boxes, strict=True):
        _draw_box(canvas, box, face, max(2, font_size // 6))
    box_corners = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    panels: list[Corners] = []
    for k, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        # Panels weigh three times: covering a small part of one already hides text.
        obstacles = [*box_corners[:k], *box_corners[k + 1 :], *3 * panels]
        sizes = {
            has_bars: _panel_size(face, font_size, has_bars=has_bars, show_ids=show_ids)
            for has_bars in (True, False)
        }
        corners, layout = _place_panel(
            image.size, box, 5 * font_size, sizes, obstacles, layouts.get(face.face_id)
        )
        layouts[face.face_id] = layout
        prefix = f"{face.face_id}  " if show_ids else ""
        _draw_panel(canvas, corners, face, font, font_size, prefix, has_bars=layout.has_bars)
        panels.append(corners)
    return np.asarray(image)


def _place_panel(
    image_size: tuple[int, int],
    box: Sequence[float],
    min_height: float,
    sizes: Mapping[bool, tuple[int, int]],
    obstacles: Sequence[Corners],
    previous: PanelLayout | None,
) -> tuple[Corners, PanelLayout]:
    """Choose where a panel covers least, preferring its previous layout.

    min_height: pixels of a face from which it gets bars. sizes: of the panel with and without bars.
    """
    x, y, w, h = box
    occupied = [*obstacles, (x, y, x + w, y + h)]
    candidates = {has_bars: _candidates(image_size, box, size) for has_bars, size in sizes.items()}
    covered = {
        has_bars: [_covered_share(corners, occupied) for corners in options]
        for has_bars, options in candidates.items()
    }
    best = {k: min(range(POSITIONS), key=shares.__getitem__) for k, shares in covered.items()}
    bars_fit = h >= min_height and image_size[1] >= sizes[True][1]
    if previous and (bars_fit or not previous.has_bars):
        # Add bars to a line of text only if nothing at all is covered.
        expands = not previous.has_bars and bars_fit and covered[True][best[True]] == 0
        if not expands and covered[previous.has_bars][previous.position] <= 2 * MAX_OCCLUSION:
            return candidates[previous.has_bars][previous.position], previous
    has_bars = bars_fit and (not obstacles or covered[True][best[True]] <= MAX_OCCLUSION)
    return candidates[has_bars][best[has_bars]], PanelLayout(has_bars, best[has_bars])


def _draw_box(canvas: ImageDraw.ImageDraw, box: Sequence[float], face: Face, width: int) -> None:
    x, y, w, h = box
    corners = (x, y, x + max(w, 1), y + max(h, 1))
    # A dark outline around the bright one is visible on any image.
    canvas.rounded_rectangle(corners, width * 2, outline=(0, 0, 0, 160), width=width + 2)
    canvas.rounded_rectangle(corners, width * 2, outline=COLORS[face.dominant_emotion], width=width)


def _panel_size(face: Face, font_size: int, *, has_bars: bool, show_ids: bool) -> tuple[int, int]:
    """Width and height of a panel."""
    rows = len(face.emotions) if has_bars else 0
    width = 12.5 if has_bars else 9.5 + 2.3 * show_ids
    return round(font_size * width), round(font_size * 1.25) * (rows + 1) + 2 * (font_size // 2)


def _draw_panel(
    canvas: ImageDraw.ImageDraw,
    corners: Corners,
    face: Face,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    font_size: int,
    prefix: str,
    *,
    has_bars: bool,
) -> None:
    left, top, right, _ = corners
    line_height, pad = round(font_size * 1.25), font_size // 2
    canvas.rounded_rectangle(corners, pad, fill=PANEL_COLOR)
    dominant = face.dominant_emotion
    header = f"{prefix}{dominant} {percent(face.emotions[dominant])}" + (" ?" if face.flags else "")
    canvas.text((left + pad, top + pad / 2), header, fill=COLORS[dominant], font=font)
    start = left + round(font_size * 5.2)
    full_length = right - pad - start
    for k, (emotion, share) in enumerate(face.emotions.items() if has_bars else (), 1):
        y = top + pad / 2 + line_height * k
        canvas.text((left + pad, y), emotion, fill="white", font=font)
        middle = y + font_size * 0.62
        bar = (start, middle - font_size * 0.25, start + full_length, middle + font_size * 0.25)
        canvas.rectangle(bar, fill=(255, 255, 255, 40))
        if share * full_length >= 1:
            canvas.rectangle((*bar[:2], start + share * full_length, bar[3]), fill=COLORS[emotion])


def _candidates(
    image_size: tuple[int, int], box: Sequence[float], panel_size: tuple[int, int]
) -> list[Corners]:
    """The `POSITIONS` candidates of a panel beside, below and above a box, within the image."""
    (x, y, w, h), (width, height) = box, panel_size
    gap = 4
    positions = [
        (x + w + gap, y),
        (x - width - gap, y),
        (x, y + h + gap),
        (x, y - height - gap),
        (x + w + gap, y + h - height),
        (x - width - gap, y + h - height),
    ]
    max_left, max_top = max(image_size[0] - width, 0), max(image_size[1] - height, 0)
    clipped = [(min(max(a, 0), max_left), min(max(b, 0), max_top)) for a, b in positions]
    return [(left, top, left + width, top + height) for left, top in clipped]


def _covered_share(panel: Corners, obstacles: Sequence[Corners]) -> float:
    """The share of each obstacle that a panel covers, summed over obstacles."""
    return sum(
        max(0.0, min(panel[2], other[2]) - max(panel[0], other[0]))
        * max(0.0, min(panel[3], other[3]) - max(panel[1], other[1]))
        / max((other[2] - other[0]) * (other[3] - other[1]), 1.0)
        for other in obstacles
    )
