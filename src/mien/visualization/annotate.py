"""Faces drawn on their picture: a box, the dominant emotion, and a bar for each emotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.errors import UserError
from mien.labels import COLORS
from mien.results import Face, scale_box

GROUND = (16, 20, 24, 205)
SHORTEST, LONGEST = 480, 6400
"""Pixels of the longer side: smaller pictures are enlarged so that text stays legible, and
text grows with the picture up to the second."""


HIDES = 0.1
"""So much of a face, its own or another, or of another's panel may lie under a panel; else it is
only a line of text. A face that is alone has its bars in any case."""

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def draw(pixels: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """A copy of a picture with faces drawn on it; `Result.plot` does it for a whole result.

    Where there are several faces, each has its `face_id`. A `?` behind a share: there are reasons
    to trust it less.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        faces: a `Result`, or any faces of this picture.

    Returns:
        (H, W, 3) uint8 RGB; a picture shorter than 480 pixels is enlarged, with faces or without,
        for its text would not fit.

    Raises:
        UserError: these are no such pixels.

    Example:
        ```python
        result = mien.Analyzer().analyze("photo.jpg")
        drawn = mien.draw(result.frame.pixels, result[:1])
        ```
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
        raise UserError("draw() takes RGB pixels as frames have them: an array (H, W, 3) of uint8.")
    return _drawn(pixels, faces, {}, named=len(faces) > 1)


class Annotator:
    """Draws the faces of successive frames of one video, each with its id.

    A panel stays on its side of the face, and as large as it was, for as long as it hides little.
    """

    def __init__(self) -> None:
        self._manners: dict[int, PanelLayout] = {}

    def __call__(self, pixels: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        """As `draw`, for the next frame; smoothed emotions where there are any."""
        shown = [replace(face, emotions=face.smoothed or face.emotions) for face in faces]
        self._manners = {
            face.face_id: self._manners[face.face_id]
            for face in shown
            if face.face_id in self._manners
        }
        return _drawn(pixels, sorted(shown, key=lambda f: f.face_id), self._manners, named=True)


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """How a face's panel is drawn: with a bar for each emotion or not, and on which side."""

    full: bool
    side: int


def _drawn(
    pixels: np.ndarray, faces: Sequence[Face], manners: dict[int, PanelLayout], *, named: bool
) -> np.ndarray:
    image = Image.fromarray(pixels)
    scale = max(1.0, SHORTEST / max(image.size))
    if scale > 1:
        image = image.resize([round(n * scale) for n in image.size], Image.Resampling.BICUBIC)
    size = round(13 * max(1.0, min(max(image.size), LONGEST) / 900))
    font = ImageFont.load_default(size)
    canvas = ImageDraw.Draw(image, "RGBA")
    boxes = [scale_box(face.box, scale) for face in faces]
    for face, box in zip(faces, boxes, strict=True):
        _box(canvas, box, face, max(2, size // 6))
    own = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    panels: list[Corners] = []
    for k, (face, box) in enumerate(zip(faces, boxes, strict=True)):
        # What hides a little of a panel hides its words.
        others = [*own[:k], *own[k + 1 :], *3 * panels]
        sizes = {full: _measures(face, size, full=full, named=named) for full in (True, False)}
        before = manners.get(face.face_id)
        corners, manner = _placed(image.size, box, 5 * size, sizes, others, before)
        manners[face.face_id] = manner
        name = f"{face.face_id}  " if named else ""
        _panel(canvas, corners, face, font, size, name, full=manner.full)
        panels.append(corners)
    return np.asarray(image)


def _placed(
    picture: tuple[int, int],
    box: Sequence[float],
    tall: float,
    sizes: Mapping[bool, tuple[int, int]],
    others: Sequence[Corners],
    before: PanelLayout | None,
) -> tuple[Corners, PanelLayout]:
    """Where the panel hides least, and how it is drawn there; as before, if it can be.

    tall: pixels from which a face has all its bars. sizes: of a panel with them, and without.
    """
    x, y, w, h = box
    taken = [*others, (x, y, x + w, y + h)]
    places = {full: _beside(picture, box, size) for full, size in sizes.items()}
    hidden = {full: [_covered(place, taken) for place in some] for full, some in places.items()}
    best = {full: min(range(SIDES), key=some.__getitem__) for full, some in hidden.items()}
    roomy = h >= tall and picture[1] >= sizes[True][1]
    if before and (roomy or not before.full):
        # From a line of text to all bars only when nothing at all is in the way.
        grows = not before.full and roomy and hidden[True][best[True]] == 0
        if not grows and hidden[before.full][before.side] <= 2 * HIDES:
            return places[before.full][before.side], before
    full = roomy and (not others or hidden[True][best[True]] <= HIDES)
    return places[full][best[full]], PanelLayout(full, best[full])


def _box(canvas: ImageDraw.ImageDraw, box: Sequence[float], face: Face, width: int) -> None:
    x, y, w, h = box
    corners = (x, y, x + max(w, 1), y + max(h, 1))
    # A dark line around the bright one shows on any picture.
    canvas.rounded_rectangle(corners, width * 2, outline=(0, 0, 0, 160), width=width + 2)
    canvas.rounded_rectangle(corners, width * 2, outline=COLORS[face.dominant_emotion], width=width)


def _measures(face: Face, size: int, *, full: bool, named: bool) -> tuple[int, int]:
    """Width and height of a panel."""
    rows = len(face.emotions) if full else 0
    wide = 12.5 if full else 9.2 + 2.3 * named
    return round(size * wide), round(size * 1.25) * (rows + 1) + 2 * (size // 2)


def _panel(
    canvas: ImageDraw.ImageDraw,
    corners: Corners,
    face: Face,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: int,
    name: str,
    *,
    full: bool,
) -> None:
    left, top, right, _ = corners
    line, pad = round(size * 1.25), size // 2
    canvas.rounded_rectangle(corners, pad, fill=GROUND)
    share = face.emotions[face.dominant_emotion]
    head = f"{name}{face.dominant_emotion} {share:.0%}" + (" ?" if face.flags else "")
    colour = COLORS[face.dominant_emotion]
    canvas.text((left + pad, top + pad / 2), head, fill=colour, font=font)
    start = left + round(size * 5.2)
    full_bar = right - pad - start
    for k, (emotion, share) in enumerate(face.emotions.items() if full else (), 1):
        y = top + pad / 2 + line * k
        canvas.text((left + pad, y), emotion, fill="white", font=font)
        middle = y + size * 0.62
        bar = (start, middle - size * 0.25, start + full_bar, middle + size * 0.25)
        canvas.rectangle(bar, fill=(255, 255, 255, 40))
        if share * full_bar >= 1:
            canvas.rectangle((*bar[:2], start + share * full_bar, bar[3]), fill=COLORS[emotion])


SIDES = 6


def _beside(
    picture: tuple[int, int], box: Sequence[float], panel: tuple[int, int]
) -> list[Corners]:
    """The `SIDES` places of a panel beside, below and above the box, all within the picture."""
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
    max_left, max_top = max(picture[0] - width, 0), max(picture[1] - height, 0)
    inside = [(min(max(a, 0), max_left), min(max(b, 0), max_top)) for a, b in wanted]
    return [(left, top, left + width, top + height) for left, top in inside]


def _covered(panel: Corners, taken: Sequence[Corners]) -> float:
    """How much of what is taken lies under a panel: the sum of the shares of each."""
    return sum(
        max(0.0, min(panel[2], other[2]) - max(panel[0], other[0]))
        * max(0.0, min(panel[3], other[3]) - max(panel[1], other[1]))
        / max((other[2] - other[0]) * (other[3] - other[1]), 1.0)
        for other in taken
    )
