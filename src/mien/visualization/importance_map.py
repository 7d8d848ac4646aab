"""Explanations as one image: each face as the model receives it, and its occlusion map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mien.classification.occlusion import Explanation
from mien.visualization.percent import percent

FACE_SIDE, GAP, TEXT_LEFT, WIDTH = 260, 20, 600, 940
TEXT_COLOR, DIM_COLOR, BACKGROUND = "#1c2024", "#5b6570", "#ffffff"
SUPPORTING, OPPOSING = "#d95f02", "#2c7fb8"

FULL_COLOR_IMPORTANCE = 0.02
"""Effects (differences of share) from here on have full color; weaker maps stay pale."""

NOTE = "Shows what the model relies on, not why a person has this expression."


def draw_explanations(explanations: Sequence[Explanation]) -> Image.Image:
    """Draw a row per face: its crop, the crop with the occlusion map, and a description."""
    height = GAP + max(len(explanations), 1) * (FACE_SIDE + GAP) + 2 * GAP
    image = Image.new("RGB", (WIDTH, height), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    for number, explanation in enumerate(explanations):
        top = GAP + number * (FACE_SIDE + GAP)
        image.paste(_enlarge(explanation.crop), (GAP, top))
        image.paste(overlay_importance(explanation), (2 * GAP + FACE_SIDE, top))
        _draw_description(canvas, explanation, top)
    if not explanations:
        canvas.text((GAP, height / 2), "no face", DIM_COLOR, ImageFont.load_default(18), "lm")
    canvas.text((GAP, height - GAP), NOTE, DIM_COLOR, ImageFont.load_default(14), "lm")
    return image


def overlay_importance(explanation: Explanation) -> Image.Image:
    """The grayscale crop; orange where hiding lowers the emotion's share, blue where it rises."""
    effect = np.asarray(
        Image.fromarray(explanation.importance).resize(
            (FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC
        )
    )
    strength = effect / max(float(np.abs(explanation.importance).max()), FULL_COLOR_IMPORTANCE)
    gray = np.asarray(_enlarge(explanation.crop).convert("L").convert("RGB"), np.float32)
    supporting, opposing = ImageColor.getrgb(SUPPORTING), ImageColor.getrgb(OPPOSING)
    colors = np.where(strength[..., None] > 0, supporting, opposing)
    alpha = 0.75 * np.abs(strength[..., None]).clip(0, 1)
    return Image.fromarray((gray * (1 - alpha) + colors * alpha).round().astype(np.uint8))


def _enlarge(crop: np.ndarray) -> Image.Image:
    pixels = np.broadcast_to(crop, (3, *crop.shape[1:])).transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return image.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC)


def _draw_description(canvas: ImageDraw.ImageDraw, explanation: Explanation, top: int) -> None:
    face, emotion = explanation.face, explanation.emotion
    loss, gain = (
        max(0.0, float(n)) for n in (explanation.importance.max(), -explanation.importance.min())
    )
    lines = [
        (f"face {face.face_id}", DIM_COLOR, 15),
        (f"{emotion} {percent(face.emotions[emotion], 1)}", TEXT_COLOR, 26),
        (f"orange: if hidden, loses up to {100 * loss:.1f} points", SUPPORTING, 16),
        (f"blue: if hidden, gains up to {100 * gain:.1f} points", OPPOSING, 16),
    ]
    y = top + 4
    for text, color, size in lines:
        canvas.text((TEXT_LEFT, y), text, color, ImageFont.load_default(size))
        y += round(size * 1.7)
