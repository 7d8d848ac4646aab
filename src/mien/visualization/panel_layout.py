"""Where the panel of a face goes in an annotated image, and how much of it fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

MAX_OCCLUSION = 0.1
"""A panel with bars may cover at most this share of other faces and panels; otherwise the panel is
reduced to one line of text."""

PANEL_WEIGHT = 5
"""Weight of a panel relative to a face."""

POSITIONS = 6
"""Candidate positions of a panel around a box; see `_candidates`."""

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom."""

Size = tuple[int, int]
"""Width, height."""


class Content(Enum):
    """What a panel shows: a bar for each emotion, one line of text, or nothing if nothing fits."""

    BARS = "bars"
    TEXT = "text"
    NOTHING = "nothing"


MAX_OWN_OCCLUSION = {Content.BARS: 0.15, Content.TEXT: 0.5}
"""Share of its own face that a panel may cover; on a small image it would hide the face."""

MAX_TEXT_OCCLUSION = 0.5
"""The same for a line of text and all faces and panels: half a face, or a tenth of a panel."""


@dataclass(frozen=True, slots=True)
class PanelLayout:
    """What a panel shows, and the index of its position among the candidates."""

    content: Content
    position: int


NO_PANEL = PanelLayout(Content.NOTHING, 0)


@dataclass(frozen=True, slots=True)
class Panel:
    """A candidate: its layout, its corners, and what it covers of the own face and of all faces."""

    layout: PanelLayout
    corners: Corners
    own_occlusion: float
    occlusion: float


def place_panel(
    image_size: Size,
    box: Sequence[float],
    sizes: Mapping[Content, Size],
    faces: Sequence[Corners],
    others: Sequence[Corners],
    previous: PanelLayout | None,
) -> tuple[Corners, PanelLayout]:
    """Choose where a panel covers least, preferring its previous layout.

    Args:
        image_size: Of the image.
        box: Of the face: x, y, width, height.
        sizes: Of the panel with bars and with text, unless the face is too small for it.
        faces: The other faces.
        others: The panels that are already placed.
        previous: Layout of the panel in the frame before.

    Returns:
        The corners of the panel, empty if nothing fits, and its layout.
    """
    panels = {
        content: _candidates(content, image_size, box, size, faces, others)
        for content, size in sizes.items()
        if size[0] <= image_size[0] and size[1] <= image_size[1]
    }
    best = {c: min(options, key=lambda panel: panel.occlusion) for c, options in panels.items()}
    best = {c: panel for c, panel in best.items() if panel.own_occlusion <= MAX_OWN_OCCLUSION[c]}
    if Content.TEXT in best and best[Content.TEXT].occlusion > MAX_TEXT_OCCLUSION:
        del best[Content.TEXT]
    bars = best.get(Content.BARS)
    if previous and previous.content in best:
        kept = panels[previous.content][previous.position]
        # Add bars to a line of text only if nothing at all is covered.
        expands = previous.content is Content.TEXT and bars and bars.occlusion == 0
        if not expands and kept.occlusion <= 2 * MAX_OCCLUSION:
            return kept.corners, kept.layout
    if bars and (not (faces or others) or bars.occlusion <= MAX_OCCLUSION):
        return bars.corners, bars.layout
    if text := best.get(Content.TEXT):
        return text.corners, text.layout
    return (0, 0, 0, 0), NO_PANEL


def _candidates(
    content: Content,
    image_size: Size,
    box: Sequence[float],
    size: Size,
    faces: Sequence[Corners],
    others: Sequence[Corners],
) -> list[Panel]:
    """The `POSITIONS` candidates beside, below and above a box, within the image."""
    (x, y, w, h), (width, height) = box, size
    gap = 4
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
    for k, (a, b) in enumerate(positions):
        left, top = min(max(a, 0), max_left), min(max(b, 0), max_top)
        corners = (left, top, left + width, top + height)
        own = covered_share(corners, [(x, y, x + w, y + h)])
        overlap = sum(max(covered_share(corners, [p]), covered_share(p, [corners])) for p in others)
        # Panels weigh more: covering a small part of one already hides text.
        occlusion = own + covered_share(corners, faces) + PANEL_WEIGHT * overlap
        panels.append(Panel(PanelLayout(content, k), corners, own, occlusion))
    return panels


def covered_share(panel: Corners, obstacles: Sequence[Corners]) -> float:
    """The share of each obstacle that a panel covers, summed over obstacles."""
    return sum(
        max(0.0, min(panel[2], other[2]) - max(panel[0], other[0]))
        * max(0.0, min(panel[3], other[3]) - max(panel[1], other[1]))
        / max((other[2] - other[0]) * (other[3] - other[1]), 1.0)
        for other in obstacles
    )
