"""Reject TIFFs that Pillow reads incorrectly, and interpret the pixel values of the others."""

from __future__ import annotations

from PIL import Image

from mien.errors import UserError

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files, each in both byte orders."""

SUBFILE_TYPE = 254
BITS = 258
PHOTOMETRIC = 262
MAX_SAMPLE = 281
PLANAR = 284
COLOR_MAP = 320
SUB_IFDS = 330
SAMPLE_FORMAT = 339
"""Numbers of TIFF tags."""

DNG_VERSION, CANON_RAW = 50706, b"CR"
"""The tag that identifies Adobe's raw files (DNG), and bytes 8 and 9 of Canon's raw files (CR2)."""

REDUCED = 1  # a bit of SUBFILE_TYPE
WHITE_IS_ZERO = 0  # PHOTOMETRIC
SEPARATE = 2  # PLANAR
SIGNED = 2  # SAMPLE_FORMAT
"""Values of these tags."""


def is_tiff(body: bytes) -> bool:
    """Return whether a file is a TIFF."""
    return body.startswith(SIGNATURES)


def check(image: Image.Image, body: bytes, name: str) -> None:
    """Raise `UserError` for a TIFF that Pillow reads incorrectly, and for a camera raw file."""
    tags = _tags(image)
    # In raw files such as Nikon's NEF, the first page is a preview, and the raw data are in a
    # subdirectory of it.
    has_preview = is_reduced(image) and SUB_IFDS in tags
    if has_preview or DNG_VERSION in tags or body[8:10] == CANON_RAW:
        raise UserError(f"Cannot read {name}: it is a camera raw file. Export it as JPEG.")
    # Pillow 13 does not swap the bytes of compressed big-endian values in modes I and F.
    is_compressed = any(tile[0] == "libtiff" for tile in getattr(image, "tile", ()))
    if image.mode in ("I", "F") and is_compressed and body.startswith(b"MM"):
        raise UserError(f"Cannot read {name}: big-endian compressed TIFFs of {_bits(tags)} bits "
                        "are not supported. Save it as JPEG or PNG.")  # fmt: skip
    if tags.get(PLANAR) == SEPARATE and _bits(tags) > 8:
        raise UserError(f"Cannot read {name}: TIFFs with separate planes of {_bits(tags)} bits are "
                        "not supported. Save it as JPEG or PNG.")  # fmt: skip


def is_reduced(image: Image.Image) -> bool:
    """Return whether a page is a reduced copy of another page."""
    return bool(_tags(image).get(SUBFILE_TYPE, 0) & REDUCED)


def is_white_zero(image: Image.Image) -> bool:
    """Return whether larger values are darker, which Pillow corrects only in modes 1 and L."""
    return _tags(image).get(PHOTOMETRIC) == WHITE_IS_ZERO


def is_signed_byte(image: Image.Image) -> bool:
    """Return whether each pixel is a signed byte."""
    tags = _tags(image)
    return image.mode == "L" and _bits(tags) == 8 and _first(tags.get(SAMPLE_FORMAT)) == SIGNED


def max_value(image: Image.Image) -> int:
    """Return the largest sample value that the tags of an integer TIFF allow, or 0 if unknown."""
    tags = _tags(image)
    bits = _bits(tags)
    is_signed = _first(tags.get(SAMPLE_FORMAT)) == SIGNED
    if not bits or (is_signed and bits > 16):  # 32-bit signed values rarely use their full range
        return 0
    largest = 2 ** (bits - is_signed) - 1
    stated = _first(tags.get(MAX_SAMPLE))
    return stated if 1 < stated < largest else largest


def with_8_bit_palette(image: Image.Image) -> Image.Image:
    """Correct a palette whose 16-bit entries hold 8-bit values; Pillow reads only high bytes."""
    colors = _tags(image).get(COLOR_MAP) if image.mode == "P" else None
    if not colors or max(colors) > 255:
        return image
    image = image.copy()
    image.putpalette(bytes(colors), "RGB;L")
    return image


def _tags(image: Image.Image) -> dict:
    return getattr(image, "tag_v2", {})


def _bits(tags: dict) -> int:
    return _first(tags.get(BITS)) if tags else 0


def _first(value: object) -> int:
    return int(value[0]) if isinstance(value, tuple) and value else int(value or 0)  # type: ignore[call-overload]
