"""Read images as frames: files, bytes, arrays and PIL images."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mien.errors import UserError
from mien.io.file_kind import is_heif
from mien.io.source import printable
from mien.results import Frame

MAX_PIXELS = 120_000_000
"""Larger images are rejected before they are decoded; 120 megapixels take 360 MB."""

MAX_BYTES = 256 * 2**20

FORMATS = frozenset((
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA",
    "TIFF", "WEBP",
))  # fmt: skip
"""Supported formats. Pillow supports more, and starts Ghostscript for one of them."""

ALPHA_MODES = frozenset(("LA", "La", "PA", "RGBA", "RGBa"))

ANIMATED_FORMATS = frozenset(("AVIF", "GIF", "PNG", "WEBP"))

MAX_IGNORED_DURATION, DEFAULT_DURATION = 10, 100
"""Milliseconds: like browsers and players, frames of an animation with at most the first duration
are shown for the second."""

STRIP_PIXELS = 2**20
"""Pixels that are converted to RGB at once; of a large image, some modes take several copies."""

ImageInput = str | os.PathLike | bytes | np.ndarray | Image.Image
"""An image: a path, the bytes of a file, RGB pixels or a PIL image."""


class Header(NamedTuple):
    """Format, Pillow's mode, size in pixels, and whether a JPEG is progressive."""

    format: str
    mode: str
    width: int
    height: int
    is_progressive: bool


def warm_up() -> None:
    """Import Pillow's common decoders in advance, so that the first image is not delayed."""
    Image.preinit()


def frames(source: ImageInput, name: str = "", max_pixels: int | None = None) -> Iterator[Frame]:
    """Read all frames of one image: one, or each frame of an animation and each page of a TIFF.

    Args:
        source: The path of one file, `-` for standard input, the bytes of a file, (H, W, 3) uint8
            RGB pixels or a PIL image.
        name: Name in frames and error messages; the path by default.
        max_pixels: Limit for each frame; `MAX_PIXELS` by default.

    Yields:
        Upright RGB frames; transparent pixels are blended with white.

    Raises:
        UserError: The input is not an image, is damaged or is too large.
    """
    if isinstance(source, str | os.PathLike):
        return _read_file(os.fspath(source), name, max_pixels)
    return _decode(source, name, max_pixels)


def first_frame(source: ImageInput, name: str = "", max_pixels: int | None = None) -> Frame:
    """Read the first frame of an image; arguments and errors as in `frames`."""
    return next(frames(source, name, max_pixels))


def read_header(body: bytes, name: str) -> Header:
    """Read what the header of an image file says, without decoding the image.

    Raises:
        UserError: The file is not an image, or its header is damaged.
    """
    with _open(body, name) as image:
        is_progressive = bool(image.info.get("progressive"))
        return Header(image.format or "", image.mode, *image.size, is_progressive)


def _read_file(path: str, name: str, max_pixels: int | None) -> Iterator[Frame]:
    name = name or ("standard input" if path == "-" else printable(path))
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
    source: bytes | np.ndarray | Image.Image, name: str = "", max_pixels: int | None = None
) -> Iterator[Frame]:
    if isinstance(source, np.ndarray):
        yield Frame(_checked_array(source), name)
    elif isinstance(source, Image.Image):
        yield from _all_frames(source, name, max_pixels)
    elif isinstance(source, bytes | bytearray | memoryview):
        name = name or "bytes"
        if len(source) > MAX_BYTES:
            raise UserError(
                f"Cannot read {name}: it is larger than {MAX_BYTES >> 20} MiB. Use a smaller file."
            )
        with _open(bytes(source), name) as image:
            yield from _all_frames(image, name, max_pixels)
    else:
        raise UserError(f"Cannot read an object of type {type(source).__name__} as an image; pass "
                        "a path, bytes, an RGB array or a PIL image.")  # fmt: skip


def _open(body: bytes, name: str) -> Image.Image:
    if not body:
        raise UserError(f"Cannot read {name}: it is empty.")
    if is_heif(body):
        return _open_heif(body, name)
    try:
        with _without_pillow_warnings():
            image = Image.open(io.BytesIO(body))
        if image.format in FORMATS:
            return image
        raise UserError(f"Cannot read {name}: the image format {image.format} is not supported. "
                        "Save it as JPEG or PNG.")  # fmt: skip
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"Cannot read {name}: it is not an image in a supported format. "
                        "Save it as JPEG or PNG.") from None  # fmt: skip
    except Image.DecompressionBombError:
        raise _too_large(name, "too many", MAX_PIXELS) from None
    except Exception as error:  # decoders raise arbitrary errors for a damaged header
        raise _damaged(name, error) from None


def _open_heif(body: bytes, name: str) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise UserError(f"Cannot read {name}: it is an HEIC (HEIF) image, and pillow-heif is not "
                        "installed. In mien's folder, run pip install '.[heic]'; or save the image "
                        "as JPEG.") from None  # fmt: skip
    try:
        return HeifImageFile(io.BytesIO(body))
    except Exception as error:  # the decoder raises arbitrary errors for a damaged header
        raise _damaged(name, error) from None


def _all_frames(image: Image.Image, name: str, max_pixels: int | None) -> Iterator[Frame]:
    # The image for programs that cannot show a PNG's animation may not be part of it.
    first, seconds = int(getattr(image, "default_image", False)), 0.0
    for number in count(first):
        if number and not _seek(image, number, name):
            return
        yield Frame(_pixels(image, name, max_pixels), name, number - first, seconds)
        seconds += _frame_duration(image)


def _frame_duration(image: Image.Image) -> float:
    """Seconds for which a player shows the current frame of an animation; 0 for a page."""
    if image.format not in ANIMATED_FORMATS:
        return 0.0
    milliseconds = float(image.info.get("duration") or 0)
    return (milliseconds if milliseconds > MAX_IGNORED_DURATION else DEFAULT_DURATION) / 1000


def _pixels(image: Image.Image, name: str, max_pixels: int | None) -> np.ndarray:
    max_pixels = max_pixels or MAX_PIXELS
    try:
        with _without_pillow_warnings():
            width, height = image.size
            if width * height > max_pixels:
                raise _too_large(name, f"{width} x {height}", max_pixels)
            return _to_rgb_pixels(_to_upright(image))
    except UserError:
        raise
    except Exception as error:  # decoders raise arbitrary errors for damaged data
        raise _damaged(name, error) from None


def _seek(image: Image.Image, number: int, name: str) -> bool:
    """Go to a frame; whether there is one."""
    if image.format in ("MPO", "HEIF"):  # the other images of a phone are not later moments
        return False
    try:
        with _without_pillow_warnings():
            image.seek(number)
    except EOFError:
        return False
    except Exception as error:  # decoders raise arbitrary errors for damaged data
        raise _damaged(name, error) from None
    return True


def _too_large(name: str, size: str, limit: int) -> UserError:
    return UserError(f"Cannot read {name or 'the image'}: it has {size} pixels. The limit is "
                     f"{limit // 1_000_000} million; use a smaller copy.")  # fmt: skip


def _damaged(name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split()).rstrip(".")
    detail = f" ({reason})" if reason else ""
    return UserError(f"Cannot read {name or 'the image'}: it is damaged{detail}. Save it again.")


def _to_upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        # exif_transpose also copies images that are upright already.
        rotated = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if rotated else image
    except Exception:  # damaged EXIF data in an otherwise good image
        return image


@contextmanager
def _without_pillow_warnings() -> Iterator[None]:
    """Silence Pillow's warnings about large images, which are rejected here, and odd headers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _to_rgb_pixels(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":  # scaled to the range of the whole image
        return np.asarray(_to_rgb(image))
    width, height = image.size
    pixels, rows = np.empty((height, width, 3), np.uint8), max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = np.asarray(_to_rgb(image.crop((0, top, width, bottom))))
    return pixels


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if _has_transparency(image):
        # Blended with white, as on a web page; the colors below the transparency are arbitrary.
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(background, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _has_transparency(image: Image.Image) -> bool:
    # Image.has_transparency_data fails for some frames of GIFs, whose palette is not set.
    palette_mode = image.palette.mode if image.mode == "P" and image.palette else ""
    return image.mode in ALPHA_MODES or "transparency" in image.info or palette_mode.endswith("A")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Convert 16-bit gray to 8 bits; wider integers and floats are scaled to their range."""
    is_integer = np.issubdtype(values.dtype, np.integer)
    # In place, because these images take most memory.
    dtype = np.float32 if values.itemsize <= 2 else np.float64
    scaled: NDArray[np.floating] = values.astype(dtype)
    np.nan_to_num(scaled, copy=False, posinf=0, neginf=0)
    low, high = 0.0, 65535.0
    if not is_integer or scaled.min() < 0 or scaled.max() > high:
        low, high = float(scaled.min()), float(scaled.max())
    scaled -= low
    scaled /= max(high - low, 1e-12)
    scaled *= 255
    return scaled.round(out=scaled).clip(0, 255, out=scaled).astype(np.uint8)


def _checked_array(pixels: Any) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise _wrong_array(pixels)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] == 4:
        return np.asarray(_to_rgb(Image.fromarray(pixels)))
    if pixels.shape[2] != 3:
        raise _wrong_array(pixels)
    return np.ascontiguousarray(pixels)


def _wrong_array(pixels: Any) -> UserError:
    return UserError(f"Cannot read an array of shape {pixels.shape} and type {pixels.dtype} as an "
                     "image; use (H, W, 3) or (H, W) uint8.")  # fmt: skip
