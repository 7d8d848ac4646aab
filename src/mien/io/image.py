"""Pictures -> frames: files, bytes, arrays and PIL images."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mien.errors import UserError
from mien.io.source import printable
from mien.results import Frame

MAX_PIXELS = 120_000_000
"""A picture larger than this is refused before it is decoded; 120 megapixels take 360 MB."""

MAX_BYTES = 256 * 2**20

FORMATS = frozenset((
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA",
    "TIFF", "WEBP",
))  # fmt: skip
"""What is decoded. Pillow knows more, and starts Ghostscript for one of them."""

ImageInput = str | os.PathLike | bytes | np.ndarray | Image.Image
"""What `picture` can read: a path, a file's bytes, RGB pixels, a PIL image."""


def warm_up() -> None:
    """Import Pillow's usual decoders now, not with the first picture."""
    Image.preinit()


def _limit(most: int) -> str:
    return f"the limit is {most // 1_000_000} million in all"


def frames(what: ImageInput, name: str = "", max_pixels: int | None = None) -> Iterator[Frame]:
    """The frames of one picture: one, or each page of it with its time.

    Args:
        what: the path of one file, `-` for standard input, a file's bytes, (H, W, 3) uint8 RGB
            pixels or a PIL image.
        name: what to call it in frames and errors, where it is not the path of a file.
        max_pixels: of a page; `MAX_PIXELS` by default.

    Raises:
        UserError: for what is not a picture, is damaged, or is too large.
    """
    if isinstance(what, str | os.PathLike):
        return _opened(os.fspath(what), name, max_pixels)
    return _decoded(what, name, max_pixels)


def first_frame(what: ImageInput, name: str = "", max_pixels: int | None = None) -> Frame:
    """The first frame of `frames`, with its arguments and errors."""
    return next(frames(what, name, max_pixels))


def _opened(path: str, name: str, most: int | None) -> Iterator[Frame]:
    name = name or ("standard input" if path == "-" else printable(path))
    try:
        if path == "-":
            body = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(path, "rb") as file:
                body = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.") from None
    for frame in _decoded(body, name, most):
        yield replace(frame, location=path)


def _decoded(
    what: bytes | np.ndarray | Image.Image, name: str = "", most: int | None = None
) -> Iterator[Frame]:
    if isinstance(what, np.ndarray):
        yield Frame(_checked_array(what), name)
    elif isinstance(what, Image.Image):
        yield from _moving(what, name, most)
    elif isinstance(what, bytes | bytearray | memoryview):
        name = name or "bytes"
        if len(what) > MAX_BYTES:
            raise UserError(f"{name} is larger than {MAX_BYTES >> 20} MiB.")
        if not what:
            raise UserError(f"{name} is empty.")
        with _image(bytes(what), name) as image:
            yield from _moving(image, name, most)
    else:
        raise UserError(
            f"A picture is a path, bytes, an RGB array or a PIL image, not {type(what).__name__}."
        )


def _image(body: bytes, name: str) -> Image.Image:
    try:
        with _quiet():
            image = Image.open(io.BytesIO(body))
        if image.format in FORMATS:
            return image
        raise UserError(f"{name} is a picture in the format {image.format}, which mien leaves.")
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{name} is not a picture in a known format.") from None
    except Image.DecompressionBombError:
        raise UserError(f"{name} has too many pixels; {_limit(MAX_PIXELS)}.") from None
    except Exception as error:  # decoders raise what they like on a damaged header
        raise _damaged(name, error) from None


def _moving(image: Image.Image, name: str, most: int | None) -> Iterator[Frame]:
    yield Frame(_pixels(image, 0, name, most), name, 0, 0.0)
    seconds = _shown_for(image)
    # Who wants the first alone does not wait until all are counted.
    for number in range(1, _length(image, name)):
        yield Frame(_pixels(image, number, name, most), name, number, seconds)
        seconds += _shown_for(image)


def _shown_for(image: Image.Image) -> float:
    """Seconds for which a moving picture shows the frame it is at."""
    return float(image.info.get("duration") or 0) / 1000


def _pixels(image: Image.Image, number: int, name: str, most: int | None) -> np.ndarray:
    most = most or MAX_PIXELS
    try:
        with _quiet():
            if number:
                image.seek(number)
            width, height = image.size
            if width * height > most:
                raise UserError(f"{name} has {width} x {height} pixels; {_limit(most)}.")
            return np.asarray(_rgb(_upright(image)))
    except UserError:
        raise
    except Exception as error:  # decoders raise what they like on damaged data
        raise _damaged(name, error) from None


def _length(image: Image.Image, name: str) -> int:
    """How many frames to read. The second picture in a phone's JPEG (MPO) is not a later moment."""
    if image.format == "MPO":
        return 1
    try:
        with _quiet():
            return getattr(image, "n_frames", 1)
    except Exception as error:  # counting frames reads the file
        raise _damaged(name, error) from None


def _damaged(name: str, error: Exception) -> UserError:
    why, name = " ".join(str(error).split()).rstrip("."), name or "The picture"
    return UserError(f"{name} is damaged: {why}." if why else f"{name} is damaged.")


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        # Asked first, for exif_transpose copies what needs no turning.
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # damaged EXIF data round a good picture
        return image


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings: of large pictures, which are refused here, and of odd headers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        # On white, as a page would show it, not on whatever colour lies below the transparency.
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """16-bit grey as 8-bit; wider integers and floats are stretched over what they span."""
    whole = np.issubdtype(values.dtype, np.integer)
    # In place, as these are the pictures that take most memory.
    kind = np.float32 if values.itemsize <= 2 else np.float64
    scaled: NDArray[np.floating] = values.astype(kind)
    np.nan_to_num(scaled, copy=False, posinf=0, neginf=0)
    low, high = 0.0, 65535.0
    if not whole or scaled.min() < 0 or scaled.max() > high:
        low, high = float(scaled.min()), float(scaled.max())
    scaled -= low
    scaled /= max(high - low, 1e-12)
    scaled *= 255
    return scaled.round(out=scaled).clip(0, 255, out=scaled).astype(np.uint8)


def _checked_array(pixels: Any) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise UserError(
            f"An array must be (H, W, 3) or (H, W) uint8, not {pixels.shape} {pixels.dtype}."
        )
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    if pixels.shape[2] == 4:
        return np.asarray(_rgb(Image.fromarray(pixels)))
    if pixels.shape[2] != 3:
        raise UserError(f"An array must be (H, W, 3) RGB, not {pixels.shape}.")
    return np.ascontiguousarray(pixels)
