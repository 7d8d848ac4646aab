"""Decoded video frames as players show them: upright, in display aspect, opaque, and SDR."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from mien.io import tone_mapping

MAX_PIXELS = 134_000_000
"""Default limit for one frame: 16K."""

MAX_PIXEL_ASPECT = 8
"""A pixel stated to be wider or higher than this is a mistake, and counts as square."""

TRANSPARENCY_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these codecs ignore transparency."""


class RgbConverter:
    """Converts the decoded frames of one stream to RGB.

    Args:
        stream: The stream, before its first frame is decoded.
        decoder: Its decoder; `stream.codec_context` by default.
        max_pixels: A frame that would be larger in display aspect keeps its stored size.
    """

    def __init__(self, stream: Any, decoder: Any = None, max_pixels: int = MAX_PIXELS) -> None:
        self._stream, self._max_pixels = stream, max_pixels
        self._decoder = decoder or stream.codec_context
        self._first_aspect = self._decoder.sample_aspect_ratio
        # AVI has no transparency, and its 32-bit frames often have an empty fourth channel.
        self._may_be_empty = stream.container.format.name == "avi"

    def __call__(self, av_frame: Any) -> np.ndarray:
        """A decoded frame as (H, W, 3) uint8 RGB, as a player shows it."""
        width, height = self._display_size(av_frame)
        transparent = has_alpha(av_frame.format)
        rgb = av_frame.reformat(width, height, "rgba" if transparent else "rgb24")
        pixels, matrix = rgb.to_ndarray(), display_matrix(av_frame)
        transfer, primaries = int(av_frame.color_trc), int(av_frame.color_primaries)
        if tone_mapping.is_needed(transfer, primaries):
            pixels = tone_mapping.to_sdr(pixels, transfer, primaries)
        if transparent:
            pixels = on_white(pixels, empty_is_opaque=self._may_be_empty)
        return pixels if matrix is None else oriented(pixels, matrix)

    def _display_size(self, av_frame: Any) -> tuple[int, int]:
        """Width and height with square pixels; the shorter side of a pixel is stretched."""
        width, height, aspect = av_frame.width, av_frame.height, self._pixel_aspect()
        if aspect > 1:
            width = round(width * aspect)
        else:
            height = round(height / aspect)
        is_allowed = width * height <= self._max_pixels
        return (width, height) if is_allowed else (av_frame.width, av_frame.height)

    def _pixel_aspect(self) -> Fraction:
        # The container states the aspect at the start; later the codec may state another one.
        current = self._decoder.sample_aspect_ratio
        if current == self._first_aspect:
            current = self._stream.sample_aspect_ratio
        return valid_aspect(current)


def valid_aspect(aspect: Fraction | None) -> Fraction:
    """Width of a pixel divided by its height; 1 if not stated or not plausible."""
    is_valid = aspect and Fraction(1, MAX_PIXEL_ASPECT) <= aspect <= MAX_PIXEL_ASPECT
    return aspect if is_valid and aspect else Fraction(1)


def display_size(stream: Any) -> tuple[int, int]:
    """Width and height of a stream with square pixels, before rotation, as its header states."""
    context, aspect = stream.codec_context, valid_aspect(stream.sample_aspect_ratio)
    if aspect > 1:
        return round(context.width * aspect), context.height
    return context.width, round(context.height / aspect)


def decoder_for(stream: Any) -> Any:
    """The decoder of a stream: one that decodes its transparency, if it has any."""
    import av

    name = TRANSPARENCY_DECODERS.get(stream.codec_context.name, "")
    if stream.metadata.get("alpha_mode") == "1" and name in av.codecs_available:
        return av.CodecContext.create(name, "r")
    return stream.codec_context


def has_alpha(pixel_format: Any) -> bool:
    """Whether a pixel format, or its palette, has transparency."""
    return pixel_format.name == "pal8" or any(c.is_alpha for c in pixel_format.components)


def on_white(pixels: np.ndarray, *, empty_is_opaque: bool = False) -> np.ndarray:
    """(H, W, 4) uint8 RGBA blended with white, as transparent images are.

    empty_is_opaque: whether a frame in which all alpha is 0 has no transparency.
    """
    colors, alpha = pixels[..., :3], pixels[..., 3:]
    if alpha.min() == 255 or (empty_is_opaque and not alpha.any()):
        return np.ascontiguousarray(colors)
    background = Image.new("RGBA", pixels.shape[1::-1], "white")
    background.alpha_composite(Image.fromarray(pixels))
    return np.asarray(background.convert("RGB"))


def display_matrix(av_frame: Any) -> np.ndarray | None:
    """The linear part of the display matrix, (2, 2); None if the frame is upright."""
    try:
        data = av_frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV reads no side data if it does not know one of its kinds
        return _rotation_matrix(av_frame.rotation)
    if data is None:
        return None
    return np.frombuffer(data, np.int32)[[0, 1, 3, 4]].reshape(2, 2)


def _rotation_matrix(degrees: int) -> np.ndarray | None:
    """The matrix of a rotation by counter-clockwise degrees."""
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]]) if degrees else None


def oriented(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """An image turned and mirrored by the nearest of the eight orientations.

    matrix: (2, 2); a stored position (x, y) is shown at (x, y) @ matrix.
    """
    (a, b), (c, d) = matrix
    if abs(a) + abs(d) < abs(b) + abs(c):  # columns become rows
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
