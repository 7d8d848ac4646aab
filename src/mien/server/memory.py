"""Estimate the memory that images require, and limit the memory that is used at the same time."""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

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
"""Memory for an RGB array, and for Pillow's copy of it, which is resized for the detector."""

DETECTION_BYTES, TILED_DETECTION_BYTES = 20 * MIB, 90 * MIB
"""Memory for detection in a whole image, and in a tile of 1,280 pixels."""

MAX_UNTILED_SIDE = 2560
"""Longer side in pixels above which the detector uses tiles."""

DECODING_BYTES_PER_PIXEL = {"AVIF": 16, "HEIF": 16, "JPEG2000": 28, "WEBP": 20}
"""Peak memory for decoding by format, measured by `benchmarks/attack/memory.py`."""

DEFAULT_DECODING_BYTES_PER_PIXEL = 8
"""Peak memory for decoding all other formats."""

WIDE_BYTES_PER_PIXEL = {"I;16": 20, "I": 28, "F": 28}
"""Peak memory for modes of Pillow with more than 8 bits, in which the whole image is scaled."""

PROGRESSIVE_BYTES_PER_PIXEL = 6
"""Additional memory for the coefficients of a progressive JPEG."""

MAX_JPEG_PIXELS = 24_000_000
"""Larger JPEGs, of up to `jpeg.MAX_REDUCED_PIXELS`, are decoded at a reduced size."""

TRUNCATED_JPEG_BYTES_PER_PIXEL = 20
"""Peak memory for a JPEG without an end, which is decoded three times."""

ICON_SIGNATURE = b"\0\0\1\0"

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of `mallopt`, from `malloc.h` of the GNU C library."""

MAX_MALLOC_ARENAS = 2
"""Maximum number of heaps; by default 8 per core, and freed memory stays in the heap of its
thread."""

MIN_MAPPED_BYTES = 4 * MIB
"""Larger allocations are returned to the system when they are freed."""


def limit_freed_memory() -> None:
    """Limit the memory that the C library keeps after it is freed, whatever the number of cores.

    Call it before threads are started. C libraries other than GNU's are unaffected.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_ARENA_MAX, MAX_MALLOC_ARENAS)
        mallopt(M_MMAP_THRESHOLD, MIN_MAPPED_BYTES)
        mallopt(M_TRIM_THRESHOLD, MIN_MAPPED_BYTES)


def required_bytes(body: bytes, name: str) -> int:
    """Estimate the peak memory that an image requires from the header of the file.

    Args:
        body: Content of the file.
        name: Name of the file, used in errors.

    Raises:
        UserError: The file is not an image, or requires more than `MAX_IMAGE_BYTES`.
    """
    if body.startswith(ICON_SIGNATURE):
        # To read the header of an icon, Pillow decodes the whole image, which may have any size.
        raise UserError(f"Cannot read {name}: the server does not accept icons. Send a PNG.")
    header = image_file.read_header(body, name)
    factor = _jpeg_factor(header)
    width, height = header.width / factor, header.height / factor
    bytes_per_pixel = _decoding_bytes_per_pixel(header, body)
    # The coefficients of a progressive JPEG are those of the whole image.
    bytes_per_pixel += PROGRESSIVE_BYTES_PER_PIXEL * header.is_progressive * factor**2
    is_tiled = max(width, height) > MAX_UNTILED_SIDE
    detection = TILED_DETECTION_BYTES if is_tiled else DETECTION_BYTES
    analysis = width * height * ANALYSIS_BYTES_PER_PIXEL + detection
    needed = int(max(width * height * bytes_per_pixel, analysis))
    if needed > MAX_IMAGE_BYTES:
        limit = min(
            MAX_IMAGE_BYTES / bytes_per_pixel,
            (MAX_IMAGE_BYTES - TILED_DETECTION_BYTES) / ANALYSIS_BYTES_PER_PIXEL,
        )
        raise UserError(
            f"Cannot read {name}: it has {header.width} x {header.height} pixels. The limit of "
            f"this service is {limit * factor**2 / 1e6:.0f} million for {header.format} of this "
            "kind; send a smaller copy."
        )
    return needed


def _jpeg_factor(header: image_file.Header) -> int:
    """By what the sides of a JPEG are divided when it is decoded."""
    pixels = header.width * header.height
    if header.format != "JPEG" or not MAX_JPEG_PIXELS < pixels <= jpeg.MAX_REDUCED_PIXELS:
        return 1
    return next((k for k in (2, 4) if pixels <= MAX_JPEG_PIXELS * k**2), 8)


def _decoding_bytes_per_pixel(header: image_file.Header, body: bytes) -> int:
    if header.format == "JPEG" and jpeg.END_MARKER not in body:
        return TRUNCATED_JPEG_BYTES_PER_PIXEL
    needed = DECODING_BYTES_PER_PIXEL.get(header.format, DEFAULT_DECODING_BYTES_PER_PIXEL)
    return max(needed, WIDE_BYTES_PER_PIXEL.get(header.mode, 0))


class MemoryBudget:
    """Grants memory in the order of requests, separately for small and large requests.

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
            disconnected: Future that is done when the client disconnects.

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
            if not granted.cancel():
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
