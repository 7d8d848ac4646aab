"""Open the bytes of an image file as a PIL image, and reject unsupported and damaged files.

`Image.open` is not used: it warns about images above 89 megapixels and rejects those above 179,
and these limits can be changed only for the whole process.
"""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import NamedTuple

from PIL import Image

from mien.errors import UserError
from mien.io import jpeg, tiff
from mien.io.file_kind import is_heif

FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP",
    "TGA",  # the last one, because it has no signature
)  # fmt: skip
"""Supported formats besides HEIF. Pillow's other formats are rejected, because one of them, EPS,
runs Ghostscript."""

NO_ALPHA = "no_alpha"
"""Key in `Image.info`; true if the fourth channel of an image is not alpha."""

TGA_DESCRIPTOR, TGA_ALPHA_BITS = 17, 0x0F
"""Offset of the descriptor byte in a TGA file, and its mask for the number of alpha bits."""

MAX_PIXELS = 120_000_000
"""Default maximum number of pixels of an image; in RGB, they take 360 MB. Larger JPEGs, up to
`jpeg.MAX_REDUCED_PIXELS`, are decoded at a reduced size. Other larger images are rejected."""


class Header(NamedTuple):
    """Properties that the header of an image file states; `format` and `mode` are Pillow's."""

    format: str
    mode: str
    width: int
    height: int
    is_progressive: bool


def read_header(body: bytes, name: str) -> Header:
    """Read the header of an image file, without decoding the image.

    Args:
        body: The content of the file.
        name: Name in error messages.

    Raises:
        UserError: The file is not a supported image, or its header is damaged.
    """
    with _open(body, name) as image:
        is_progressive = bool(image.info.get("progressive"))
        return Header(image.format or "", image.mode, *image.size, is_progressive)


def open_image(
    body: bytes, name: str, max_pixels: int | None = None, reduce_above: int | None = None
) -> Image.Image:
    """Open an image file without decoding its pixels, except those of a JPEG.

    Args:
        body: The content of the file.
        name: Name in error messages.
        max_pixels: Maximum number of pixels. By default, it is `MAX_PIXELS`, and JPEGs with more,
            up to `jpeg.MAX_REDUCED_PIXELS`, are decoded at a reduced size.
        reduce_above: If given, a JPEG with more pixels is decoded at a reduced size, even if
            `max_pixels` allows its full size.

    Returns:
        The image; its `info` may have the keys `NO_ALPHA` and `jpeg.ORIGINAL_SIZE`.

    Raises:
        UserError: The file is not a supported image, is damaged, or is too large.
    """
    image = _open(body, name)
    if image.format != "JPEG":
        check_size(image, name, max_pixels)
        return image
    reduction_limit = reduce_above or MAX_PIXELS
    if reduce_above or max_pixels is None:
        jpeg.reduce(image, reduction_limit)
    check_size(image, name, max_pixels)
    try:
        return jpeg.load(image, body, reduction_limit)
    except Exception as error:  # decoders raise arbitrary errors for damaged data
        raise damaged_error(name, error) from None


def _open(body: bytes, name: str) -> Image.Image:
    if not body:
        raise UserError(f"Cannot read {name}: it is empty.")
    try:
        image = _open_heif(body, name) if is_heif(body) else _identify(body)
        if image is None:
            raise _unsupported_error(body, name)
        if image.format == "TIFF":
            tiff.check(image, body, name)
        image.info[NO_ALPHA] = image.format == "TGA" and not body[TGA_DESCRIPTOR] & TGA_ALPHA_BITS
        return image
    except UserError:
        raise
    except Exception as error:  # decoders raise arbitrary errors for a damaged header
        raise damaged_error(name, error) from None


def check_size(image: Image.Image, name: str, max_pixels: int | None) -> None:
    """Raise `UserError` if an image has more than `max_pixels` pixels (default: `MAX_PIXELS`)."""
    limit = max_pixels or MAX_PIXELS
    width, height = image.size
    if width * height > limit:
        raise UserError(f"Cannot read {name or 'the image'}: it has {width} x {height} pixels. The "
                        f"limit is {limit // 1_000_000} million; use a smaller copy.")  # fmt: skip


def damaged_error(name: str, error: Exception) -> UserError:
    """Create the `UserError` for an image that cannot be decoded, with the decoder's reason."""
    reason = " ".join(str(error).split()).rstrip(".")
    detail = f" ({reason})" if reason else ""
    return UserError(f"Cannot read {name or 'the image'}: it is damaged{detail}. Use another "
                     "copy, or export the image again.")  # fmt: skip


def _identify(body: bytes) -> Image.Image | None:
    """Open the file in the first format that accepts it; return None if no format does."""
    if jpeg.is_jpeg(body):
        return jpeg.open_jpeg(body)
    tried: set[str] = set()
    # Loading all plugins takes longer, so those of common formats are tried first.
    for load_plugins in (Image.preinit, Image.init):
        load_plugins()
        for image_format in FORMATS:
            if image_format not in Image.OPEN or image_format in tried:
                continue
            tried.add(image_format)
            # Pillow's classes raise these errors if the file is of another format.
            with suppress(SyntaxError, IndexError, TypeError, struct.error):
                if _accepts(image_format, body, default=True):
                    image_class = Image.OPEN[image_format][0]
                    return image_class(io.BytesIO(body), "")
    return None


def _unsupported_error(body: bytes, name: str) -> UserError:
    if tiff.is_tiff(body):
        return UserError(f"Cannot read {name}: mien does not support this TIFF's bits per sample "
                         "or number of channels. Save it as JPEG or PNG.")  # fmt: skip
    Image.init()
    for image_format in Image.OPEN:
        if image_format not in FORMATS and _accepts(image_format, body, default=False):
            return UserError(f"Cannot read {name}: the image format {image_format} is not "
                             "supported. Save it as JPEG or PNG.")  # fmt: skip
    return UserError(f"Cannot read {name}: it is not an image in a supported format. "
                     "Save it as JPEG or PNG.")  # fmt: skip


def _accepts(image_format: str, body: bytes, *, default: bool) -> bool:
    """Return whether a file has a format's signature, or `default` if the format has none."""
    accept = Image.OPEN[image_format][1]
    try:
        # For a format whose decoder is not installed, `accept` returns a message.
        return default if accept is None else accept(body[:16]) is True
    except (IndexError, struct.error):  # the file is shorter than the signature
        return False


def _open_heif(body: bytes, name: str) -> Image.Image:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        raise UserError(f"Cannot read {name}: it is an HEIC (HEIF) image, and pillow-heif is not "
                        "installed. In the mien repository, run pip install '.[heic]'; or save "
                        "the image as JPEG.") from None  # fmt: skip
    return HeifImageFile(io.BytesIO(body))
