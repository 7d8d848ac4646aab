"""Convert a PIL image of any mode to upright 8-bit RGB pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from mien.io import tiff
from mien.io.image_file import NO_ALPHA

STRIP_PIXELS = 2**20
"""Number of pixels that are converted at once, because some modes need several copies of them."""

ALPHA_MODES = frozenset(("LA", "La", "PA", "RGBA", "RGBa"))
"""Pillow's modes with transparency."""

PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}
"""Modes with premultiplied alpha, and the corresponding modes with straight alpha."""

FORMATS_WITH_UNUSED_ALPHA = frozenset(("BMP", "DIB", "ICO", "TGA"))
"""Formats in which images are opaque if alpha is 0 everywhere."""

UPRIGHT_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that makes an image upright, for each EXIF orientation except 1 (upright)."""

INTEGER_WHITE_LEVELS = (65535, 2**24 - 1, 2**32 - 1)
"""Possible white levels of integers, if the file does not determine white. The smallest that is not
below the image's maximum is used; for signed integers, only the first is possible. If all are below
the maximum, the minimum becomes black and the maximum white."""

FLOAT_WHITE_LEVELS = (1.0, 255.0, 65535.0)
"""Possible white levels of floats, used as those of integers, unless the image has highlights
(`MAX_HIGHLIGHT`)."""

MAX_HIGHLIGHT = 16.0
"""A float image with a maximum between 1 and this value is assumed to have the range 0 to 1, and
highlights above it. The maximum then becomes white."""


def to_upright_rgb(image: Image.Image) -> np.ndarray:
    """Convert an image to (H, W, 3) uint8 RGB pixels, upright and blended with white.

    Raises:
        Exception: Any error of Pillow's decoder if the image is damaged.
    """
    image.load()
    transpose = UPRIGHT_TRANSPOSES.get(_orientation(image))
    if image.mode.startswith("I") or image.mode == "F" or tiff.is_signed_byte(image):
        image, is_transparent = Image.fromarray(_gray(image)), False
    else:
        image = tiff.with_8_bit_palette(image)
        is_transparent = _is_transparent(image)
    if transpose is not None:
        image = image.transpose(transpose)
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.asarray(_to_rgb(strip, is_transparent))
    return pixels


def swaps_width_and_height(image: Image.Image) -> bool:
    """Return whether making the image upright swaps its width and height."""
    return _orientation(image) in (5, 6, 7, 8)


def _to_rgb(image: Image.Image, is_transparent: bool) -> Image.Image:
    if is_transparent:
        # Blend with white, as on a web page; the colors of transparent pixels are arbitrary.
        image = image.convert(PREMULTIPLIED.get(image.mode, "RGBA")).convert("RGBA")
        background = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(background, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data in an otherwise intact image
        return 1


def _is_transparent(image: Image.Image) -> bool:
    """Return whether some pixels may be transparent."""
    # Pillow's `has_transparency_data` is not used: it fails for GIF frames without a palette.
    palette_mode = image.palette.mode if image.mode == "P" and image.palette else ""
    has_channel = image.mode in ALPHA_MODES or palette_mode.endswith("A")
    if image.info.get(NO_ALPHA) or not (has_channel or "transparency" in image.info):
        return False
    may_be_unused = image.format in FORMATS_WITH_UNUSED_ALPHA and image.mode in ("LA", "RGBA")
    return not may_be_unused or image.getchannel("A").getextrema() != (0, 0)


def _gray(image: Image.Image) -> np.ndarray:
    """Convert an image of floats, signed bytes or integers above 8 bits to uint8 gray values."""
    values = np.asarray(image)
    if tiff.is_signed_byte(image):
        values = values.view(np.int8)
    white = tiff.max_value(image)
    if values.dtype == np.int32 and white == 2**32 - 1:
        # Pillow reads uint32 as int32. The image's maximum determines white, because such files may
        # hold fewer bits.
        values, white = values.view(np.uint32), 0
    gray = _to_8_bits(values, white)
    return 255 - gray if tiff.is_white_zero(image) else gray


def _to_8_bits(values: np.ndarray, white: int) -> np.ndarray:
    """Scale gray values so that `white` becomes 255.

    For floats, and if `white` is 0 or below the maximum, the white level is chosen by the maximum
    instead. If there are negative values, the minimum becomes 0 and the maximum 255.
    """
    # Operate in place, because these images need the most memory.
    dtype = np.float32 if values.itemsize <= 2 else np.float64
    scaled: NDArray[np.floating] = values.astype(dtype)
    np.nan_to_num(scaled, copy=False, posinf=0, neginf=0)
    minimum, maximum = float(scaled.min()), float(scaled.max())
    black, white_level = _black_and_white_levels(minimum, maximum, white, values.dtype)
    scaled -= black
    scaled /= max(white_level - black, 1e-12)  # the levels of a constant image may be equal
    scaled *= 255
    return scaled.round(out=scaled).clip(0, 255, out=scaled).astype(np.uint8)


def _black_and_white_levels(
    minimum: float, maximum: float, white: int, dtype: np.dtype
) -> tuple[float, float]:
    """Return the input values that become 0 and 255."""
    if minimum < 0:
        return minimum, maximum
    if white and maximum <= white and dtype.kind != "f":
        return 0.0, float(white)
    if dtype.kind == "f" and FLOAT_WHITE_LEVELS[0] < maximum < MAX_HIGHLIGHT:
        return 0.0, maximum
    white_levels: tuple[float, ...] = INTEGER_WHITE_LEVELS
    if dtype.kind == "f":
        white_levels = FLOAT_WHITE_LEVELS
    elif dtype == np.int32:  # Pillow's mode I, which usually holds 16-bit values
        white_levels = INTEGER_WHITE_LEVELS[:1]
    for level in white_levels:
        if maximum <= level:
            return 0.0, float(level)
    return minimum, maximum
