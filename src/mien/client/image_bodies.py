"""Encode images as the bodies of requests."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.io.image import ImageInput
from mien.io.source import Source
from mien.results import Frame

LARGE_FILE_BYTES = 2**24
"""Size in bytes from which `frame_as_file` sends a PNG instead of an image file, such as a TIFF, if
the PNG is smaller."""


def input_as_file(image: ImageInput, frame: Frame) -> bytes:
    """Return the content of an image file, or encode another image as PNG.

    Args:
        image: The path or the bytes of an image file, `-` for standard input, pixels or a PIL
            image.
        frame: The decoded image, which is encoded if `image` is not a file or its bytes.

    Raises:
        UserError: If the file cannot be read.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike) and os.fspath(image) != "-":
        source = Source.parse(os.fspath(image))
        if source.kind in ("image", "animation"):
            return _read(Path(source.location))
    return _png(frame.pixels)


def frame_as_png(frame: Frame) -> bytes:
    """Encode the pixels of a frame as PNG."""
    return _png(frame.pixels)


def frame_as_file(frame: Frame) -> bytes:
    """Return the content of a frame's file, or a PNG if the file cannot be sent.

    If the file has at least `LARGE_FILE_BYTES`, return the file or its PNG, whichever is smaller.
    Smaller files are sent as they are, because photographs are several times as large in PNG as in
    JPEG.
    """
    body = b""
    if frame.number == 0:  # later frames are sent as PNG: the server reads only a file's first
        with suppress(OSError):  # standard input, or a file deleted since it was decoded
            body = Path(frame.location).read_bytes()
    if body and len(body) < LARGE_FILE_BYTES:
        return body
    encoded = _png(frame.pixels)
    return body if body and len(body) <= len(encoded) else encoded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
