"""Place the panel of a face in an annotated image, and choose how much it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

MAX_OVERLAP = 0.1
"""Maximum overlap of a panel with bars; a panel with more overlap shows one line of text instead.

In a video, a panel keeps its layout up to twice this overlap. The limit does not apply to the only
face of an image. `Panel.overlap` defines the overlap.
"""

PANEL_WEIGHT = 5
"""Weight of overlap with another panel, relative to overlap with a face: covering a small part of a
panel already hides text."""

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom."""

Size = tuple[int, int]
"""Width, height."""


class Content(Enum):
    """What a panel shows: a bar for each emotion, one line of text, or nothing if nothing fits."""

    BARS = "bars"
    TEXT = "text"
    NOTHING = "nothing"


MAX_OWN_OVERLAP = {Content.BARS: 0.15, Content.TEXT: 0.5}
"""Maximum fraction of its own face that a panel may cover, so that small faces stay visible."""

MAX_TEXT_OVERLAP = 0.5
"""Maximum overlap of a line of text: half of a face, or a tenth of a panel."""


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """What a panel shows, and the index of its position in `_candidates`."""

    content: Content
    position: int


NO_PANEL = PanelLayout(Content.NOTHING, 0)


@dataclass(frozen=True, slots=True)
class Panel:
    """A candidate for the panel of a face.

    Attributes:
        layout: What it shows, and the index of its position.
        corners: Its corners in pixels.
        own_overlap: Fraction of its own face that it covers.
        overlap: Sum of its overlap with all faces and, times `PANEL_WEIGHT`, with other panels. The
            overlap with a face is the fraction of the face that it covers. The overlap with a panel
            is the larger of the fractions of both panels that overlap.
    """

    layout: PanelLayout
    corners: Corners
    own_overlap: float
    overlap: float


def place_panel(
    image_size: Size,
    box: Sequence[float],
    sizes: Mapping[Content, Size],
    other_faces: Sequence[Corners],
    other_panels: Sequence[Corners],
    previous: PanelLayout | None,
) -> tuple[Corners, PanelLayout]:
    """Choose the position with the least overlap, preferring the previous layout.

    Args:
        image_size: Width and height of the image.
        box: x, y, width and height of the box of the face.
        sizes: Size of the panel with text and, unless the face is too small, with bars.
        other_faces: Corners of the boxes of the other faces.
        other_panels: Corners of the panels that are already placed.
        previous: Layout of the panel in the previous frame; None if there is none.

    Returns:
        The corners of the panel, all 0 if nothing fits, and its layout.
    """
    panels = {
        content: _candidates(content, image_size, box, size, other_faces, other_panels)
        for content, size in sizes.items()
        if size[0] <= image_size[0] and size[1] <= image_size[1]
    }
    best = {c: min(options, key=lambda panel: panel.overlap) for c, options in panels.items()}
    best = {c: panel for c, panel in best.items() if panel.own_overlap <= MAX_OWN_OVERLAP[c]}
    if Content.TEXT in best and best[Content.TEXT].overlap > MAX_TEXT_OVERLAP:
        del best[Content.TEXT]
    bars = best.get(Content.BARS)
    if previous and previous.content in best:
        kept = panels[previous.content][previous.position]
        # A line of text is replaced by bars only if the bars overlap nothing.
        expands = previous.content is Content.TEXT and bars and bars.overlap == 0
        if not expands and kept.overlap <= 2 * MAX_OVERLAP:
            return kept.corners, kept.layout
    if bars and (not (other_faces or other_panels) or bars.overlap <= MAX_OVERLAP):
        return bars.corners, bars.layout
    if text := best.get(Content.TEXT):
        return text.corners, text.layout
    return (0, 0, 0, 0), NO_PANEL


def _candidates(
    content: Content,
    image_size: Size,
    box: Sequence[float],
    size: Size,
    other_faces: Sequence[Corners],
    other_panels: Sequence[Corners],
) -> list[Panel]:
    """Return the candidates beside, below and above a box, all within the image."""
    (x, y, w, h), (width, height) = box, size
    gap = 4  # pixels between the box and the panel
    positions = [
        (x + w + gap, y),
        (x - width - gap, y),
        (x, y + h + gap),
        (x, y - height - gap),
        (x + w + gap, y + h - height),
        (x - width - gap, y + h - height),
    ]
    max_left, max_top = image_size[0] - width, image_size[1] - height
    panels = []
    for k, (left, top) in enumerate(positions):
        left, top = min(max(left, 0), max_left), min(max(top, 0), max_top)
        corners = (left, top, left + width, top + height)
        own_overlap = overlap_fraction(corners, [(x, y, x + w, y + h)])
        panel_overlap = sum(
            max(overlap_fraction(corners, [other]), overlap_fraction(other, [corners]))
            for other in other_panels
        )
        overlap = own_overlap + overlap_fraction(corners, other_faces)
        overlap += PANEL_WEIGHT * panel_overlap
        panels.append(Panel(PanelLayout(content, k), corners, own_overlap, overlap))
    return panels


def overlap_fraction(panel: Corners, obstacles: Sequence[Corners]) -> float:
    """Return the fraction of each obstacle that a panel covers, summed over obstacles."""
    return sum(
        max(0.0, min(panel[2], other[2]) - max(panel[0], other[0]))
        * max(0.0, min(panel[3], other[3]) - max(panel[1], other[1]))
        / max((other[2] - other[0]) * (other[3] - other[1]), 1.0)
        for other in obstacles
    )
