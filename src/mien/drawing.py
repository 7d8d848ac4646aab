"""Faces drawn on their picture: a box, the dominant emotion, and a bar for each emotion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.faces import Face, scaled
from mien.labels import COLOURS

GROUND = (16, 20, 24, 205)
SHORTEST, LONGEST = 480, 1600
"""Pixels of the longer side: smaller pictures are enlarged so that text stays legible, and
text grows with the picture up to the second."""


def draw(pixels: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of the picture with its faces drawn on it: (H, W, 3) uint8 RGB -> the same kind.

    Pictures shorter than 480 pixels come back enlarged, for the text would not fit. Without faces
    the copy is the picture as it was.
    """
    if not len(faces):
        return pixels.copy()
    image = Image.fromarray(pixels)
    scale = max(1.0, SHORTEST / max(image.size))
    if scale > 1:
        image = image.resize([round(n * scale) for n in image.size], Image.Resampling.BICUBIC)
    size = round(13 * max(1.0, min(max(image.size), 4 * LONGEST) / 900))
    font = ImageFont.load_default(size)
    canvas = ImageDraw.Draw(image, "RGBA")
    boxes = [scaled(face.box, scale) for face in faces]
    for face, box in zip(faces, boxes, strict=True):
        _box(canvas, box, face, max(2, size // 6))
    taken = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    for face, box in zip(faces, boxes, strict=True):
        taken.append(_panel(canvas, image.size, box, face, font, size, taken))
    return np.asarray(image)


def _box(canvas: ImageDraw.ImageDraw, box: Sequence[float], face: Face, width: int) -> None:
    x, y, w, h = box
    corners = (x, y, x + max(w, 1), y + max(h, 1))
    # A dark line around the bright one shows on any picture.
    canvas.rounded_rectangle(corners, width * 2, outline=(0, 0, 0, 160), width=width + 2)
    canvas.rounded_rectangle(
        corners, width * 2, outline=COLOURS[face.dominant_emotion], width=width
    )


def _panel(
    canvas: ImageDraw.ImageDraw,
    picture: tuple[int, int],
    box: Sequence[float],
    face: Face,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: int,
    taken: list[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """Draw the panel where it hides least; the corners it takes."""
    line, pad = round(size * 1.25), size // 2
    full = box[3] >= 5 * size and picture[1] >= line * (len(face.emotions) + 1) + 2 * pad
    rows = list(face.emotions.items()) if full else []
    width = round(size * (12.5 if full else 9.2))
    height = line * (len(rows) + 1) + 2 * pad
    left, top = _place(picture, box, (width, height), taken)
    corners = (left, top, left + width, top + height)
    canvas.rounded_rectangle(corners, pad, fill=GROUND)
    share = face.emotions[face.dominant_emotion]
    head = f"{face.dominant_emotion} {share:.0%}" + (" ?" if face.flags else "")
    colour = COLOURS[face.dominant_emotion]
    canvas.text((left + pad, top + pad / 2), head, fill=colour, font=font)
    start, full_bar = left + round(size * 5.2), width - round(size * 5.2) - pad
    for k, (name, share) in enumerate(rows, 1):
        y = top + pad / 2 + line * k
        canvas.text((left + pad, y), name, fill="white", font=font)
        middle = y + size * 0.62
        bar = (start, middle - size * 0.25, start + full_bar, middle + size * 0.25)
        canvas.rectangle(bar, fill=(255, 255, 255, 40))
        if share * full_bar >= 1:
            canvas.rectangle((*bar[:2], start + share * full_bar, bar[3]), fill=COLOURS[name])
    return corners


def _place(
    picture: tuple[int, int],
    box: Sequence[float],
    panel: tuple[int, int],
    taken: list[tuple[float, float, float, float]],
) -> tuple[float, float]:
    """The panel's left upper corner: beside, below or above the box, where it covers least."""
    (x, y, w, h), (width, height) = box, panel
    gap = 4
    wanted = [
        (x + w + gap, y),
        (x - width - gap, y),
        (x, y + h + gap),
        (x, y - height - gap),
        (x + w + gap, y + h - height),
        (x - width - gap, y + h - height),
    ]
    most_left, most_top = max(picture[0] - width, 0), max(picture[1] - height, 0)
    inside = [(min(max(a, 0), most_left), min(max(b, 0), most_top)) for a, b in wanted]
    return min(inside, key=lambda at: _covered((*at, at[0] + width, at[1] + height), taken))


def _covered(panel: Sequence[float], taken: list[tuple[float, float, float, float]]) -> float:
    return sum(
        max(0.0, min(panel[2], other[2]) - max(panel[0], other[0]))
        * max(0.0, min(panel[3], other[3]) - max(panel[1], other[1]))
        for other in taken
    )
