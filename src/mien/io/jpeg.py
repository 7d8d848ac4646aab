"""Open JPEGs: very large ones at a reduced size, and complete ones without their end marker."""

from __future__ import annotations

import io

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

MAX_REDUCED_PIXELS = 250_000_000
"""Larger JPEGs are not reduced: phones have up to 200 megapixels, and decoding takes time."""

ORIGINAL_SIZE = "original_size"
"""Key in `Image.info`: width and height of a JPEG that is decoded at a reduced size."""

START, END = b"\xff\xd8\xff", b"\xff\xd9"

FILLER = b"\x5a" * 4096
"""Bytes that are not read if the pixels before them are complete."""


def is_jpeg(body: bytes) -> bool:
    """Whether a file is a JPEG."""
    return body.startswith(START)


def open_jpeg(body: bytes) -> JpegImageFile | None:
    """Open a JPEG, of an MPO the first image; None if it has no valid header."""
    try:
        return JpegImageFile(io.BytesIO(body))
    except (SyntaxError, IndexError, TypeError):
        return None


def reduce(image: Image.Image, max_pixels: int) -> None:
    """Decode a larger JPEG at a half, a quarter or an eighth of its size, in `max_pixels`."""
    width, height = image.size
    if max_pixels < width * height <= MAX_REDUCED_PIXELS:
        fitting = (k for k in (2, 4, 8) if -(-width // k) * -(-height // k) <= max_pixels)
        factor = next(fitting, 8)
        image.draft(None, (width // factor, height // factor))
        image.info[ORIGINAL_SIZE] = (width, height)


def load(image: Image.Image, body: bytes, max_pixels: int) -> Image.Image:
    """Decode a JPEG.

    Args:
        image: The JPEG, opened and perhaps reduced.
        body: The content of its file.
        max_pixels: As in `reduce`, for a reduced image.

    Raises:
        OSError: Pixels are missing.
    """
    try:
        image.load()
        return image
    except OSError:
        is_reduced, end = ORIGINAL_SIZE in image.info, body.rstrip(b"\xff")
        copies = [open_jpeg(end + tail + END) for tail in (b"", FILLER)]
        for copy in copies:
            if copy is None:
                raise
            if is_reduced:
                reduce(copy, max_pixels)
        first, second = (copy.tobytes() for copy in copies if copy)
        if first != second:
            raise
        return copies[0] or image
