"""Image files in memory: valid ones, animations, and a PNG with a false size."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def encoded(image, file_format, **options):
    """Encode an image; return the bytes of the file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def gradient(width=24, height=16):
    """(height, width, 3) uint8 in which red increases to the right and green downwards."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack(
        [columns * 255 // max(width - 1, 1), rows * 255 // max(height - 1, 1), 128 + 0 * rows], 2
    ).astype(np.uint8)


def animation(file_format, colors=("red", "lime", "blue"), **options):
    """Encode an animation with one uniform frame per color."""
    first, *rest = [Image.new("RGB", (8, 6), color) for color in colors]
    return encoded(first, file_format, save_all=True, append_images=rest, **options)


def png_claiming(width, height):
    """Encode a PNG whose header states a size that its data does not have."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    bit_depth, rgb, compression, filtering, interlacing = 8, 2, 0, 0, 0
    head = struct.pack(
        ">IIBBBBB", width, height, bit_depth, rgb, compression, filtering, interlacing
    )
    pixels = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
