"""The memory for decoding and detection: what an image needs, and who may use it now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mien.errors import UserError
from mien.io import image_file
from mien.server.error_responses import ClientDisconnected

MIB = 2**20

MAX_IMAGE_BYTES = 256 * MIB
"""Of one image, and of all large ones at once."""

MAX_SMALL_BYTES, MAX_ALL_SMALL_BYTES = 64 * MIB, 112 * MIB
"""Images that need less than the first do not wait for larger ones. All of them at once."""

ANALYSIS_BYTES_PER_PIXEL = 7
"""An RGB array, and Pillow's copy of it, from which the detector gets a smaller one."""

DETECTION_BYTES, TILED_DETECTION_BYTES = 20 * MIB, 90 * MIB
"""Of the detector's network for a whole image, and for a tile of 1,280 pixels."""

MAX_UNTILED_SIDE = 2560

DECODING_BYTES_PER_PIXEL = {"AVIF": 16, "HEIF": 16, "JPEG2000": 28, "WEBP": 20}
"""At the peak, measured by `benchmarks/attack/memory.py`; 8 for other formats."""

WIDE_BYTES_PER_PIXEL = {"I;16": 20, "I": 28, "F": 28}
"""The same for Pillow's modes with more than 8 bits, which are scaled as a whole."""

PROGRESSIVE_BYTES_PER_PIXEL = 6
"""The coefficients of a progressive JPEG, in addition."""

ICON = b"\0\0\1\0"


def required_bytes(body: bytes, name: str) -> int:
    """The memory that an image needs at its peak, by its header.

    Args:
        body: the content of the file.
        name: of the file, in errors.

    Raises:
        UserError: it is not an image, or needs more than `MAX_IMAGE_BYTES`.
    """
    if body.startswith(ICON):  # Pillow decodes an icon, of any size, to read its header
        raise UserError(f"Cannot read {name}: this service does not read icons. Send a PNG.")
    header = image_file.read_header(body, name)
    pixels = header.width * header.height
    bytes_per_pixel = DECODING_BYTES_PER_PIXEL.get(header.format, 8)
    bytes_per_pixel = max(bytes_per_pixel, WIDE_BYTES_PER_PIXEL.get(header.mode, 0))
    bytes_per_pixel += PROGRESSIVE_BYTES_PER_PIXEL * header.is_progressive
    is_tiled = max(header.width, header.height) > MAX_UNTILED_SIDE
    detection = TILED_DETECTION_BYTES if is_tiled else DETECTION_BYTES
    needed = max(pixels * bytes_per_pixel, pixels * ANALYSIS_BYTES_PER_PIXEL + detection)
    if needed > MAX_IMAGE_BYTES:
        limit = min(
            MAX_IMAGE_BYTES // bytes_per_pixel,
            (MAX_IMAGE_BYTES - TILED_DETECTION_BYTES) // ANALYSIS_BYTES_PER_PIXEL,
        )
        raise UserError(
            f"Cannot read {name}: it has {header.width} x {header.height} pixels. The limit of "
            f"this service is {limit / 1e6:.0f} million for {header.format} of this kind; send a "
            "smaller copy."
        )
    return needed


class MemoryBudget:
    """Grants memory in the order of requests; small ones do not wait for large ones.

    For the event loop's thread.
    """

    def __init__(self) -> None:
        self._small, self._large = _Lane(MAX_ALL_SMALL_BYTES), _Lane(MAX_IMAGE_BYTES)

    @asynccontextmanager
    async def reserve(
        self, count: int, disconnected: asyncio.Future | None = None
    ) -> AsyncIterator[None]:
        """Wait for `count` bytes, at most `MAX_IMAGE_BYTES`, and hold them in the context.

        Raises:
            ClientDisconnected: `disconnected` was done first.
        """
        lane = self._small if count <= MAX_SMALL_BYTES else self._large
        granted = lane.request(count)
        try:
            events = (granted, disconnected) if disconnected else (granted,)
            await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if not granted.done():
                raise ClientDisconnected
            yield
        finally:
            if not granted.cancel():
                lane.free += count
            lane.grant()


class _Lane:
    """A number of bytes, granted first come, first served."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def request(self, count: int) -> asyncio.Future[None]:
        """A future that is done when `count` bytes are granted."""
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((count, granted))
        self.grant()
        return granted

    def grant(self) -> None:
        """Grant what there is to those that have waited for longest and are still waiting."""
        while self._waiting:
            count, granted = self._waiting[0]
            if not granted.cancelled():
                if count > self.free:
                    return
                self.free -= count
                granted.set_result(None)
            self._waiting.popleft()
