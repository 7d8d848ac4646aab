"""Open JPEGs, including very large ones (at a reduced size) and those without an end marker."""

from __future__ import annotations

import io
import math

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

MAX_REDUCED_PIXELS = 250_000_000
"""Maximum number of pixels of a JPEG that is decoded at a reduced size. Photos of phones have up to
200 megapixels; decoding more takes too long."""

ORIGINAL_SIZE = "original_size"
"""Key in `Image.info`; the width and height of a JPEG before its reduction."""

START_MARKER, END_MARKER = b"\xff\xd8\xff", b"\xff\xd9"

FILLER = b"\x5a" * 4096
"""Bytes that the decoder interprets as pixels if pixels are missing before them."""


def is_jpeg(body: bytes) -> bool:
    """Return whether a file is a JPEG."""
    return body.startswith(START_MARKER)


def open_jpeg(body: bytes) -> JpegImageFile | None:
    """Open a JPEG or the first image of an MPO; return None if the header is not valid."""
    try:
        return JpegImageFile(io.BytesIO(body))
    except (SyntaxError, IndexError, TypeError):
        return None


def reduce(image: Image.Image, max_pixels: int) -> None:
    """Prepare a JPEG to be decoded at a reduced size, in place.

    The width and height become 1/2, 1/4 or 1/8: the largest of these with which the image has at
    most `max_pixels` pixels, or 1/8 if none is small enough. JPEGs of at most `max_pixels` or of
    more than `MAX_REDUCED_PIXELS` pixels are not changed.
    """
    width, height = image.size
    if max_pixels < width * height <= MAX_REDUCED_PIXELS:
        for factor in (2, 4, 8):
            if math.ceil(width / factor) * math.ceil(height / factor) <= max_pixels:
                break
        image.draft(None, (width // factor, height // factor))
        image.info[ORIGINAL_SIZE] = (width, height)


def load(image: Image.Image, body: bytes, max_pixels: int) -> Image.Image:
    """Decode a JPEG, even if its end marker is missing, but not if pixels are missing.

    Args:
        image: The JPEG, after `open_jpeg` and, if needed, `reduce`.
        body: The content of its file.
        max_pixels: The argument of `reduce`.

    Returns:
        The decoded image: `image`, or a copy with an end marker.

    Raises:
        OSError: Pixels are missing.
    """
    try:
        image.load()
        return image
    except OSError:
        # If pixels are missing, bytes that are appended to the file change the image.
        data = body.rstrip(b"\xff")  # removes the first half of an end marker
        completed, extended = open_jpeg(data + END_MARKER), open_jpeg(data + FILLER + END_MARKER)
        if completed is None or extended is None:
            raise
        if ORIGINAL_SIZE in image.info:
            reduce(completed, max_pixels)
            reduce(extended, max_pixels)
        if completed.tobytes() != extended.tobytes():
            raise
        return completed
