"""Small JPEG images of frames and faces."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mien.results import Face

PORTRAIT_SCALE = 1.2
"""Side of a portrait divided by the longer side of the face's box."""


def encode_jpeg(pixels: np.ndarray, max_side: int) -> bytes:
    """Encode (H, W, 3) uint8 RGB pixels as JPEG, downscaled to at most `max_side` pixels a side."""
    image = Image.fromarray(pixels)
    image.thumbnail((max_side, max_side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()


def encode_portrait(pixels: np.ndarray, face: Face, max_side: int) -> bytes:
    """Encode a square around a face, clipped to the image, as JPEG.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        face: The face.
        max_side: Maximum side of the encoded image in pixels.

    Returns:
        The JPEG file; empty if the square is outside the image.
    """
    x, y, w, h = face.box
    side = PORTRAIT_SCALE * max(w, h)
    left, top = round(x + w / 2 - side / 2), round(y + h / 2 - side / 2)
    right, bottom = left + round(side), top + round(side)
    crop = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    return encode_jpeg(crop, max_side) if crop.size else b""
