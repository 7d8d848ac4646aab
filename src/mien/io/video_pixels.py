"""Convert decoded video frames to RGB as players show them: upright, with square pixels, in SDR."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from mien.io import tone_mapping

MAX_PIXELS = 134_000_000
"""Default maximum number of pixels of a frame; 16K video has 133 million."""

MAX_PIXEL_ASPECT = 8
"""Pixel aspect ratios above this or below its inverse are implausible; 1 is used instead."""

TRANSPARENCY_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders of these codecs that support transparency; FFmpeg's own decoders ignore it."""


class RgbConverter:
    """Converts the decoded frames of one stream to RGB.

    Args:
        stream: The stream, before its first frame is decoded.
        decoder: The decoder of the stream; by default, `stream.codec_context`.
        max_pixels: A frame that would have more pixels in display aspect keeps its stored size.
    """

    def __init__(self, stream: Any, decoder: Any = None, max_pixels: int = MAX_PIXELS) -> None:
        self._stream, self._max_pixels = stream, max_pixels
        self._decoder = decoder or stream.codec_context
        self._first_aspect = self._decoder.sample_aspect_ratio
        # AVI has no transparency, and its 32-bit frames often have an empty fourth channel.
        self._may_have_unused_alpha = stream.container.format.name == "avi"

    def __call__(self, av_frame: Any) -> np.ndarray:
        """Convert a decoded PyAV frame to (H, W, 3) uint8 RGB."""
        width, height = self._display_size(av_frame)
        transparent = has_alpha(av_frame.format)
        rgb = av_frame.reformat(width, height, "rgba" if transparent else "rgb24")
        pixels, matrix = rgb.to_ndarray(), display_matrix(av_frame)
        transfer, primaries = int(av_frame.color_trc), int(av_frame.color_primaries)
        if tone_mapping.is_needed(transfer, primaries):
            pixels = tone_mapping.to_sdr(pixels, transfer, primaries)
        if transparent:
            pixels = blend_with_white(pixels, zero_alpha_is_opaque=self._may_have_unused_alpha)
        return pixels if matrix is None else orient(pixels, matrix)

    def _display_size(self, av_frame: Any) -> tuple[int, int]:
        """Return width and height with square pixels, or those stored if that is too large."""
        stored = av_frame.width, av_frame.height
        width, height = _with_square_pixels(*stored, self._pixel_aspect())
        return (width, height) if width * height <= self._max_pixels else stored

    def _pixel_aspect(self) -> Fraction:
        # The container's aspect ratio applies until that of the decoder changes within the stream.
        current = self._decoder.sample_aspect_ratio
        if current == self._first_aspect:
            current = self._stream.sample_aspect_ratio
        return valid_aspect(current)


def valid_aspect(aspect: Fraction | None) -> Fraction:
    """Return the width of a pixel divided by its height; 1 if not stated or implausible."""
    if aspect and Fraction(1, MAX_PIXEL_ASPECT) <= aspect <= MAX_PIXEL_ASPECT:
        return aspect
    return Fraction(1)


def display_size(stream: Any) -> tuple[int, int]:
    """Return a stream's stated width and height with square pixels, before rotation."""
    context, aspect = stream.codec_context, valid_aspect(stream.sample_aspect_ratio)
    return _with_square_pixels(context.width, context.height, aspect)


def _with_square_pixels(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Return the size with square pixels; one side may be enlarged, none is reduced."""
    if aspect > 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def create_decoder(stream: Any) -> Any:
    """Return a decoder for a stream; if the stream is transparent, one that keeps transparency."""
    import av

    name = TRANSPARENCY_DECODERS.get(stream.codec_context.name, "")
    if stream.metadata.get("alpha_mode") == "1" and name in av.codecs_available:
        return av.CodecContext.create(name, "r")
    return stream.codec_context


def has_alpha(pixel_format: Any) -> bool:
    """Return whether a pixel format has an alpha channel, or a palette that may have one."""
    return pixel_format.name == "pal8" or any(c.is_alpha for c in pixel_format.components)


def blend_with_white(pixels: np.ndarray, *, zero_alpha_is_opaque: bool = False) -> np.ndarray:
    """Blend RGBA pixels with white, as for transparent images.

    Args:
        pixels: (H, W, 4) uint8.
        zero_alpha_is_opaque: Whether a frame counts as opaque if its alpha is 0 everywhere.

    Returns:
        (H, W, 3) uint8.
    """
    colors, alpha = pixels[..., :3], pixels[..., 3:]
    if alpha.min() == 255 or (zero_alpha_is_opaque and not alpha.any()):
        return np.ascontiguousarray(colors)
    background = Image.new("RGBA", pixels.shape[1::-1], "white")
    background.alpha_composite(Image.fromarray(pixels))
    return np.asarray(background.convert("RGB"))


def display_matrix(av_frame: Any) -> np.ndarray | None:
    """Return the (2, 2) linear part of the display matrix; None for a frame without a matrix."""
    from av.sidedata.sidedata import SideDataContainer

    try:
        # `av_frame.side_data` would store in the frame an object that refers to the frame. This
        # reference cycle would keep the frame in memory until the next garbage collection.
        data = SideDataContainer(av_frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]
    except ValueError:  # PyAV reads none of the side data if it does not know one of their kinds
        return _rotation_matrix(av_frame.rotation)
    return None if data is None else parse_display_matrix(data)


def parse_display_matrix(data: bytes) -> np.ndarray:
    """Return the (2, 2) linear part of a display matrix, given as the bytes of 3 x 3 int32."""
    values = np.frombuffer(data, np.int32)[[0, 1, 3, 4]].reshape(2, 2)
    return values.astype(np.int64)  # so that sums of implausible values do not overflow


def _rotation_matrix(degrees: int) -> np.ndarray | None:
    """Return the matrix of a counter-clockwise rotation, or None for 0 degrees."""
    if not degrees:
        return None
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def orient(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Rotate and mirror an image to the nearest of the eight orientations.

    Args:
        pixels: (H, W, 3).
        matrix: (2, 2); the pixel stored at (x, y) is shown at (x, y) @ matrix.

    Returns:
        The upright image, contiguous.
    """
    (a, b), (c, d) = matrix
    horizontal, vertical = a, d
    if abs(a) + abs(d) < abs(b) + abs(c):  # columns become rows
        pixels = pixels.transpose(1, 0, 2)
        horizontal, vertical = c, b
    if horizontal < 0:
        pixels = pixels[:, ::-1]
    if vertical < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
