"""Estimate the memory that images require, and limit the memory of concurrent analyses."""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from mien.detection.yunet import INPUT_SIDE, TILE_DOWNSCALING
from mien.errors import UserError
from mien.io import image_file, jpeg
from mien.server.error_responses import ClientDisconnected

MIB = 2**20

MAX_IMAGE_BYTES = 256 * MIB
"""Maximum memory for one image, and for all large images together."""

MAX_SMALL_BYTES = 64 * MIB
"""Maximum memory for a small image. Small images do not wait for large ones."""

MAX_ALL_SMALL_BYTES = 80 * MIB
"""Maximum memory for all small images together."""

ANALYSIS_BYTES_PER_PIXEL = 7
"""Memory for an RGB array (3) and for Pillow's copy (4), which is resized for the detector."""

DETECTION_BYTES, TILED_DETECTION_BYTES = 20 * MIB, 90 * MIB
"""Memory for detection in an image that is not tiled, and in a tile of 1,280 x 1,280 pixels."""

MAX_UNTILED_SIDE = INPUT_SIDE * TILE_DOWNSCALING
"""Maximum length in pixels of the longer side of an image for which YuNet uses no tiles."""

DECODING_BYTES_PER_PIXEL = {"AVIF": 16, "HEIF": 16, "JPEG2000": 28, "WEBP": 20}
"""Peak memory for decoding an image, by format, measured by `benchmarks/attack/memory.py`."""

DEFAULT_DECODING_BYTES_PER_PIXEL = 8
"""Peak memory for decoding an image in any other format."""

WIDE_BYTES_PER_PIXEL = {"I;16": 20, "I;16B": 20, "I": 28, "F": 28}
"""Peak memory for an image in one of Pillow's modes with more than 8 bits per channel.

The pixels of the whole image are scaled to 8 bits at once."""

PROGRESSIVE_BYTES_PER_PIXEL = 6
"""Additional memory for the coefficients of a progressive JPEG."""

MAX_JPEG_PIXELS = 24_000_000
"""Larger JPEGs, of up to `jpeg.MAX_REDUCED_PIXELS`, are decoded at a reduced size."""

TRUNCATED_JPEG_BYTES_PER_PIXEL = 20
"""Peak memory for a JPEG without an end marker, which is decoded three times."""

ICON_SIGNATURE = b"\0\0\1\0"

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from `malloc.h` of the GNU C library."""

MAX_MALLOC_ARENAS = 2
"""Maximum number of heaps of `malloc`.

The default is 8 per core, and freed memory can only be reused by the threads of its heap."""

MIN_MAPPED_BYTES = 4 * MIB
"""Larger allocations are returned to the system when they are freed.

Free memory at the end of a heap is also returned if it is larger than this."""


def limit_freed_memory() -> None:
    """Limit the freed memory that the C library keeps, whatever the number of cores.

    Call it before threads are started. C libraries other than GNU's are unaffected.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, MAX_MALLOC_ARENAS)
        mallopt(M_MMAP_THRESHOLD, MIN_MAPPED_BYTES)
        mallopt(M_TRIM_THRESHOLD, MIN_MAPPED_BYTES)


def required_bytes(body: bytes, name: str) -> int:
    """Estimate the peak memory for the analysis of an image, without decoding it.

    Args:
        body: Content of the file.
        name: Name of the file, used in errors.

    Returns:
        Number of bytes, at most `MAX_IMAGE_BYTES`.

    Raises:
        UserError: The file is not an image, is an icon, or requires more than `MAX_IMAGE_BYTES`.
    """
    if body.startswith(ICON_SIGNATURE):
        # To read the header of an icon, Pillow decodes the whole image, which may have any size.
        raise UserError(f"Cannot read {name}: the server does not accept icons. Send a PNG.")
    header = image_file.read_header(body, name)
    factor = _reduction_factor(header)
    width, height = header.width / factor, header.height / factor
    decoding_bytes = width * height * _decoding_bytes_per_pixel(header, body)
    if header.is_progressive:
        # The coefficients are stored at full size even if the image is decoded at a reduced size.
        decoding_bytes += header.width * header.height * PROGRESSIVE_BYTES_PER_PIXEL
    is_tiled = max(width, height) > MAX_UNTILED_SIDE
    detection_bytes = TILED_DETECTION_BYTES if is_tiled else DETECTION_BYTES
    analysis_bytes = width * height * ANALYSIS_BYTES_PER_PIXEL + detection_bytes
    peak_bytes = int(max(decoding_bytes, analysis_bytes))
    if peak_bytes > MAX_IMAGE_BYTES:
        raise UserError(
            f"Cannot read {name}: it has {header.width} x {header.height} pixels. The limit of "
            f"this server for this kind of {header.format} is "
            f"{_max_pixels(header, body) // 1e6:.0f} million; send a smaller copy."
        )
    return peak_bytes


def _reduction_factor(header: image_file.Header) -> int:
    """Return the divisor of the sides of an image in decoding: 1, or 2 or 4 for large JPEGs."""
    pixels = header.width * header.height
    if header.format != "JPEG" or not MAX_JPEG_PIXELS < pixels <= jpeg.MAX_REDUCED_PIXELS:
        return 1
    # A divisor of 4 is enough for `jpeg.MAX_REDUCED_PIXELS`.
    return 2 if pixels <= 2**2 * MAX_JPEG_PIXELS else 4


def _max_pixels(header: image_file.Header, body: bytes) -> float:
    """Return the number of pixels up to which all images of this kind are accepted."""
    bytes_per_pixel = _decoding_bytes_per_pixel(header, body)
    if header.is_progressive:
        bytes_per_pixel += PROGRESSIVE_BYTES_PER_PIXEL
    if header.format == "JPEG" and bytes_per_pixel == DEFAULT_DECODING_BYTES_PER_PIXEL:
        return jpeg.MAX_REDUCED_PIXELS
    return min(
        MAX_IMAGE_BYTES / bytes_per_pixel,
        (MAX_IMAGE_BYTES - TILED_DETECTION_BYTES) / ANALYSIS_BYTES_PER_PIXEL,
    )


def _decoding_bytes_per_pixel(header: image_file.Header, body: bytes) -> int:
    if header.format == "JPEG" and jpeg.END_MARKER not in body:
        return TRUNCATED_JPEG_BYTES_PER_PIXEL
    format_bytes = DECODING_BYTES_PER_PIXEL.get(header.format, DEFAULT_DECODING_BYTES_PER_PIXEL)
    return max(format_bytes, WIDE_BYTES_PER_PIXEL.get(header.mode, 0))


class MemoryBudget:
    """Grants memory in the order of requests, separately for small and large images.

    Not thread-safe: use it only in the thread of the event loop.
    """

    def __init__(self) -> None:
        self._small, self._large = _MemoryPool(MAX_ALL_SMALL_BYTES), _MemoryPool(MAX_IMAGE_BYTES)

    @asynccontextmanager
    async def reserve(
        self, count: int, disconnected: asyncio.Future | None = None
    ) -> AsyncIterator[None]:
        """Wait until `count` bytes are granted, and release them at the end of the context.

        Args:
            count: Number of bytes, at most `MAX_IMAGE_BYTES`.
            disconnected: Future that is done when the client disconnects; None to wait in any case.

        Raises:
            ClientDisconnected: The client disconnected before the bytes were granted.
        """
        pool = self._small if count <= MAX_SMALL_BYTES else self._large
        granted = pool.request(count)
        try:
            events = (granted, disconnected) if disconnected else (granted,)
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if not granted.done():
                raise ClientDisconnected
            yield
        finally:
            was_granted = not granted.cancel()  # a future that is done cannot be cancelled
            if was_granted:
                pool.free_bytes += count
            pool.grant()


class _MemoryPool:
    """Grants a limited number of bytes in the order of requests."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self._queued: deque[tuple[int, asyncio.Future[None]]] = deque()

    def request(self, count: int) -> asyncio.Future[None]:
        """Return a future that is done when `count` bytes are granted."""
        granted = asyncio.get_running_loop().create_future()
        self._queued.append((count, granted))
        self.grant()
        return granted

    def grant(self) -> None:
        """Grant the free bytes to the queued requests in order, skipping cancelled ones."""
        while self._queued:
            count, granted = self._queued[0]
            if not granted.cancelled():
                if count > self.free_bytes:
                    return
                self.free_bytes -= count
                granted.set_result(None)
            self._queued.popleft()
