"""Small JPEG images of frames and faces."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mien.results import Face

MARGIN = 1.2
"""Side of a portrait, relative to the longer side of the face's box."""


def jpeg(pixels: np.ndarray, max_side: int) -> bytes:
    """(H, W, 3) uint8 RGB as JPEG bytes, resized to at most `max_side` pixels."""
    image = Image.fromarray(pixels)
    image.thumbnail((max_side, max_side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def portrait(pixels: np.ndarray, face: Face, max_side: int) -> bytes:
    """A square around a face as JPEG bytes; empty if the face lies outside the image."""
    x, y, w, h = face.box
    side = MARGIN * max(w, h)
    left, top = max(0, round(x + w / 2 - side / 2)), max(0, round(y + h / 2 - side / 2))
    crop = pixels[top : top + round(side), left : left + round(side)]
    return jpeg(crop, max_side) if crop.size else b""
