"""Explanations as one picture: each face as the model was shown it, and what speaks for what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mien.classification.occlusion import Explanation

FACE_SIDE, GAP, WORDS, WIDTH = 260, 20, 600, 940
INK, DIM, PAPER = "#1c2024", "#5b6570", "#ffffff"
FOR, AGAINST = "#d95f02", "#2c7fb8"

LEAST = 0.02
"""The share from which on an effect is shown in full colour; what is weaker stays pale."""

NOTE = "What the model goes by, not why anybody would look like this."


def draw_explanations(explanations: Sequence[Explanation]) -> Image.Image:
    """A row per face: its crop, the same with what speaks for the emotion and against, in words."""
    high = GAP + max(len(explanations), 1) * (FACE_SIDE + GAP) + 2 * GAP
    image = Image.new("RGB", (WIDTH, high), PAPER)
    canvas = ImageDraw.Draw(image)
    for number, explanation in enumerate(explanations):
        top = GAP + number * (FACE_SIDE + GAP)
        image.paste(_enlarged(explanation.crop), (GAP, top))
        image.paste(overlay_effect(explanation), (2 * GAP + FACE_SIDE, top))
        _words(canvas, explanation, f"face {explanation.face.face_id}", top)
    if not explanations:
        canvas.text((GAP, high / 2), "no face", DIM, ImageFont.load_default(18), "lm")
    canvas.text((GAP, high - GAP), NOTE, DIM, ImageFont.load_default(14), "lm")
    return image


def overlay_effect(explanation: Explanation) -> Image.Image:
    """The crop in grey, orange where hiding it takes from the emotion, blue where it gives."""
    effect = np.asarray(
        Image.fromarray(explanation.importance).resize(
            (FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC
        )
    )
    strength = effect / max(float(np.abs(explanation.importance).max()), LEAST)
    grey = np.asarray(_enlarged(explanation.crop).convert("L").convert("RGB"), np.float32)
    colours = np.where(strength[..., None] > 0, ImageColor.getrgb(FOR), ImageColor.getrgb(AGAINST))
    alpha = 0.75 * np.abs(strength[..., None]).clip(0, 1)
    return Image.fromarray((grey * (1 - alpha) + colours * alpha).round().astype(np.uint8))


def _enlarged(crop: np.ndarray) -> Image.Image:
    pixels = np.broadcast_to(crop, (3, *crop.shape[1:])).transpose(1, 2, 0)
    whole = Image.fromarray(np.ascontiguousarray(pixels))
    return whole.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC)


def _words(canvas: ImageDraw.ImageDraw, explanation: Explanation, title: str, top: int) -> None:
    face, emotion = explanation.face, explanation.emotion
    lost, gained = (
        max(0.0, float(n)) for n in (explanation.importance.max(), -explanation.importance.min())
    )
    lines = [
        (title, DIM, 15), (f"{emotion} {face.emotions[emotion]:.1%}", INK, 26),
        (f"orange: hidden, it loses up to {100 * lost:.1f} points", FOR, 16),
        (f"blue: hidden, it gains up to {100 * gained:.1f} points", AGAINST, 16),
    ]  # fmt: skip
    y = top + 4
    for text, colour, size in lines:
        canvas.text((WORDS, y), text, colour, ImageFont.load_default(size))
        y += round(size * 1.7)
