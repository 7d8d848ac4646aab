"""Picture files, made in memory: sound ones, animations, and one that lies about its size."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(image, form, **options):
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def gradient(width=24, height=16):
    """Red grows to the right, green downwards: (height, width, 3) uint8."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack(
        [columns * 255 // max(width - 1, 1), rows * 255 // max(height - 1, 1), 128 + 0 * rows], 2
    ).astype(np.uint8)


def animation(form, colours=("red", "lime", "blue"), **options):
    """Bytes of an animation of plain frames."""
    first, *rest = [Image.new("RGB", (8, 6), colour) for colour in colours]
    return encoded(first, form, save_all=True, append_images=rest, **options)


def png_claiming(width, height):
    """Bytes of a PNG whose header claims a size that its data does not have."""

    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
