"""Draw explanations as one image: each face as the model receives it, and its importance map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mien.classification.occlusion import Explanation
from mien.visualization.percent import percent

FACE_SIDE, FACE_GAP, TEXT_LEFT, FIGURE_WIDTH = 260, 20, 600, 980
"""Side of a drawn face, gap around it, left edge of the text, and width of the figure in pixels."""

TEXT_COLOR, DIM_COLOR, BACKGROUND = "#1c2024", "#5b6570", "#ffffff"
SUPPORTING_COLOR, OPPOSING_COLOR = "#d95f02", "#2c7fb8"
"""Orange where blurring lowers the share, and blue where it raises the share."""

FULL_COLOR_IMPORTANCE = 0.02
"""Change of a share, 0 to 1, that is drawn in full color. If the largest change in a map is
greater, that change is drawn in full color instead."""

MAX_OPACITY = 0.75
"""Opacity of the full color, so that the face remains visible below it."""

NOTE = "Shows what the prediction of the model depends on, not what a person feels."


def draw_explanations(explanations: Sequence[Explanation]) -> Image.Image:
    """Draw a row per face: its crop, the crop with the importance map, and a description."""
    height = FACE_GAP + max(len(explanations), 1) * (FACE_SIDE + FACE_GAP) + 2 * FACE_GAP
    image = Image.new("RGB", (FIGURE_WIDTH, height), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    for number, explanation in enumerate(explanations):
        top = FACE_GAP + number * (FACE_SIDE + FACE_GAP)
        image.paste(_enlarge(explanation.crop), (FACE_GAP, top))
        image.paste(overlay_importance(explanation), (2 * FACE_GAP + FACE_SIDE, top))
        _draw_description(canvas, explanation, top)
    if not explanations:
        canvas.text(
            (FACE_GAP, height / 2), "no face detected", DIM_COLOR, ImageFont.load_default(18), "lm"
        )
    canvas.text((FACE_GAP, height - FACE_GAP), NOTE, DIM_COLOR, ImageFont.load_default(14), "lm")
    return image


def overlay_importance(explanation: Explanation) -> Image.Image:
    """Draw the importance map over the gray crop, in `SUPPORTING_COLOR` and `OPPOSING_COLOR`."""
    importance = np.asarray(
        Image.fromarray(explanation.importance).resize(
            (FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC
        )
    )
    strength = importance / max(float(np.abs(explanation.importance).max()), FULL_COLOR_IMPORTANCE)
    gray = np.asarray(_enlarge(explanation.crop).convert("L").convert("RGB"), np.float32)
    supporting, opposing = ImageColor.getrgb(SUPPORTING_COLOR), ImageColor.getrgb(OPPOSING_COLOR)
    colors = np.where(strength[..., None] > 0, supporting, opposing)
    alpha = MAX_OPACITY * np.abs(strength[..., None]).clip(0, 1)
    return Image.fromarray((gray * (1 - alpha) + colors * alpha).round().astype(np.uint8))


def _enlarge(crop: np.ndarray) -> Image.Image:
    """Resize a crop, (1 or 3, H, W) uint8, to an RGB image with sides of `FACE_SIDE` pixels."""
    pixels = np.broadcast_to(crop, (3, *crop.shape[1:])).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return image.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC)


def _draw_description(canvas: ImageDraw.ImageDraw, explanation: Explanation, top: int) -> None:
    face, emotion = explanation.face, explanation.emotion
    max_drop = max(0.0, float(explanation.importance.max()))
    max_rise = max(0.0, -float(explanation.importance.min()))
    lines = [
        (f"face {face.face_id}", DIM_COLOR, 15),
        (f"{emotion} {percent(face.emotions[emotion], 1)}", TEXT_COLOR, 26),
        (
            f"orange: share drops by up to {100 * max_drop:.1f} percentage points if blurred",
            SUPPORTING_COLOR,
            16,
        ),
        (
            f"blue: share rises by up to {100 * max_rise:.1f} percentage points if blurred",
            OPPOSING_COLOR,
            16,
        ),
    ]
    y = top + 4
    for text, color, size in lines:
        canvas.text((TEXT_LEFT, y), text, color, ImageFont.load_default(size))
        y += round(size * 1.7)
