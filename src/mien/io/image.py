"""Read an image of any type (file, bytes, array or PIL image) as frames.

`image_file` opens the bytes of a file as a PIL image, `rgb` converts PIL images to pixels, and
`arrays` converts arrays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.io import arrays, jpeg, rgb, tiff
from mien.io.image_file import check_size, damaged_error, open_image
from mien.io.source import record_name
from mien.results import Frame

MAX_BYTES = 256 * 2**20
"""Maximum size of an image file in bytes."""

ANIMATED_FORMATS = frozenset(("AVIF", "GIF", "PNG", "WEBP"))
"""Formats whose frames are moments of an animation, and not pages."""

MAX_IGNORED_DURATION = 10
"""Browsers and players ignore the duration of an animation frame if it is at most this many
milliseconds."""

DEFAULT_DURATION = 100
"""Duration, in milliseconds, for which browsers and players show such a frame."""

ImageInput = str | os.PathLike | bytes | np.ndarray | Image.Image
"""Types that are read as images: the path of a file, its bytes, an array or a PIL image."""


def warm_up() -> None:
    """Import Pillow's common decoders, so that the first image is not delayed."""
    Image.preinit()


def frames(
    source: ImageInput,
    name: str = "",
    max_pixels: int | None = None,
    reduce_above: int | None = None,
) -> Iterator[Frame]:
    """Read all frames of an image: the pages of a TIFF, the frames of an animation, or one frame.

    Pages of a TIFF that are reduced copies are left out, except for the first page.

    Args:
        source: The path of one file, `-` for standard input, the bytes of a file, an array that
            `arrays.to_rgb` accepts, or a PIL image.
        name: Name in frames and error messages. By default, it is the path, `standard input` or
            `bytes`; for arrays and PIL images, it is empty.
        max_pixels: Maximum number of pixels of a frame. By default, it is `image_file.MAX_PIXELS`,
            and JPEGs with more, up to `jpeg.MAX_REDUCED_PIXELS`, are decoded at a reduced size.
        reduce_above: If given, a JPEG with more pixels is decoded at a reduced size. It applies
            only if `source` is the bytes of a file.

    Yields:
        Upright RGB frames; transparent pixels are blended with white. The seconds of a frame are
        the time at which an animation shows it; 0 for pages.

    Raises:
        UserError: The input cannot be read, is not an image, is damaged or is too large.
    """
    if isinstance(source, str | os.PathLike):
        return _read_file(os.fspath(source), name, max_pixels)
    return _decode(source, name, max_pixels, reduce_above)


def first_frame(
    source: ImageInput,
    name: str = "",
    max_pixels: int | None = None,
    reduce_above: int | None = None,
) -> Frame:
    """Read the first frame of an image; the arguments and errors are those of `frames`."""
    return next(frames(source, name, max_pixels, reduce_above))


def _read_file(path: str, name: str, max_pixels: int | None) -> Iterator[Frame]:
    name = name or ("standard input" if path == "-" else record_name(path))
    try:
        if path == "-":
            body = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                body = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"Cannot read {name}: {error.strerror}.") from None
    for frame in _decode(body, name, max_pixels):
        yield replace(frame, location=path)


def _decode(
    source: bytes | np.ndarray | Image.Image,
    name: str = "",
    max_pixels: int | None = None,
    reduce_above: int | None = None,
) -> Iterator[Frame]:
    if isinstance(source, np.ndarray):
        yield Frame(arrays.to_rgb(source), name)
    elif isinstance(source, Image.Image):
        yield from _all_frames(source, name, max_pixels)
    elif isinstance(source, bytes | bytearray | memoryview):
        name = name or "bytes"
        if len(source) > MAX_BYTES:
            raise UserError(
                f"Cannot read {name}: it is larger than {MAX_BYTES >> 20} MiB. Use a smaller file."
            )
        with open_image(bytes(source), name, max_pixels, reduce_above) as image:
            yield from _all_frames(image, name, max_pixels)
    else:
        raise UserError(f"Cannot read an object of type {type(source).__name__} as an image; pass "
                        "a path, bytes, an RGB array or a PIL image.")  # fmt: skip


def _all_frames(image: Image.Image, name: str, max_pixels: int | None) -> Iterator[Frame]:
    # An animated PNG may begin with a still for programs that do not show animations; skip it.
    index = int(getattr(image, "default_image", False))
    number, seconds = 0, 0.0
    while index == 0 or _seek(image, index, name):
        index += 1
        if number and tiff.is_reduced(image):
            continue
        pixels = _pixels(image, name, max_pixels)
        yield Frame(pixels, name, number, seconds, original_size=_original_size(image))
        number, seconds = number + 1, seconds + _frame_duration(image)


def _frame_duration(image: Image.Image) -> float:
    """Return the seconds for which a player shows the frame; 0 in formats without animation."""
    if image.format not in ANIMATED_FORMATS:
        return 0.0
    milliseconds = float(image.info.get("duration") or 0)
    return (milliseconds if milliseconds > MAX_IGNORED_DURATION else DEFAULT_DURATION) / 1000


def _pixels(image: Image.Image, name: str, max_pixels: int | None) -> np.ndarray:
    try:
        check_size(image, name, max_pixels)
        return rgb.to_upright_rgb(image)
    except UserError:
        raise
    except Exception as error:  # decoders raise arbitrary errors for damaged data
        raise damaged_error(name, error) from None


def _original_size(image: Image.Image) -> tuple[int, int] | None:
    """Return the upright width and height before a reduction, or None if there was none."""
    size = image.info.get(jpeg.ORIGINAL_SIZE)
    if size is None:
        return None
    return (size[1], size[0]) if rgb.swaps_width_and_height(image) else size


def _seek(image: Image.Image, index: int, name: str) -> bool:
    """Go to a later frame, and return whether it exists."""
    if image.format in ("MPO", "HEIF"):  # their further images are other views of the same moment
        return False
    try:
        image.seek(index)
    except EOFError:
        return False
    except Exception as error:  # decoders raise arbitrary errors for damaged data
        raise damaged_error(name, error) from None
    return True
