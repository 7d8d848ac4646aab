"""Convert arrays to RGB pixels; the error for an unsupported array says how to convert it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.io import rgb

CHANNEL_COUNTS = (1, 3, 4)
"""Supported numbers of channels: gray, RGB and RGBA."""


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """Convert a gray, RGB or RGBA array to RGB.

    Args:
        pixels: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8.

    Returns:
        (H, W, 3) uint8, contiguous; transparent pixels are blended with white.

    Raises:
        UserError: The array has another shape or dtype, is empty, or is an `np.matrix`.
    """
    if problem := _problem(pixels):
        raise UserError(f"Cannot read {type(pixels).__name__} of shape {pixels.shape} and type "
                        f"{pixels.dtype} as an image: {problem}.")  # fmt: skip
    pixels = np.asarray(pixels)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] == 4:
        return rgb.to_upright_rgb(Image.fromarray(pixels))
    return np.ascontiguousarray(pixels)


def _problem(pixels: np.ndarray) -> str:
    """Return what is wrong with an array and how to convert it, or "" for a supported array."""
    if isinstance(pixels, np.matrix):
        return "convert the matrix with np.asarray"
    if 0 in pixels.shape:
        return "it is empty; pass an array with pixels"
    if pixels.ndim == 4:
        return "it is a batch; pass one image at a time, such as pixels[0]"
    if pixels.ndim not in (2, 3):
        return "use (H, W, 3) RGB or (H, W) gray"
    if pixels.ndim == 3 and pixels.shape[2] not in CHANNEL_COUNTS:
        if pixels.shape[0] in CHANNEL_COUNTS:
            return "its channels come first; use pixels.transpose(1, 2, 0)"
        return f"it has {pixels.shape[2]} channels; use (H, W, 3) RGB or (H, W) gray"
    return _conversion_advice(pixels) if pixels.dtype != np.uint8 else ""


def _conversion_advice(pixels: np.ndarray) -> str:
    """Return how to convert an array of another dtype to a uint8 image."""
    if pixels.dtype == bool:
        return "use uint8: pixels.astype(np.uint8) * 255"
    if pixels.dtype.kind not in "fiu":
        return "use (H, W, 3) uint8 RGB"
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 255):  # also true for NaN
        return "scale it to 0 to 255 and convert it to uint8"
    if pixels.dtype.kind == "f" and high <= 1:
        return "use uint8: (pixels * 255).round().astype(np.uint8)"
    return "use uint8: pixels.astype(np.uint8)"
