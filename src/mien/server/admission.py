"""Admission control: bounds the images in progress and the request bodies in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mien.server.error_responses import RequestError, service_unavailable

SMOOTHING_FACTOR = 0.1
"""Weight of the newest request in the moving average of request durations."""


class Admission:
    """Counts images in progress and bytes held. Not thread-safe: for the event loop's thread.

    Args:
        max_images: images that may wait or be analyzed at once.
        max_body_bytes: size of all request bodies together, including those still arriving.
    """

    def __init__(self, max_images: int, max_body_bytes: int) -> None:
        self.max_images, self.max_body_bytes = max_images, max_body_bytes
        self.images = 0
        self.body_bytes = 0
        self._mean_duration_seconds = 0.1

    @contextmanager
    def admit(self) -> Iterator[Ticket]:
        """Admit a request; what its ticket reserves is released at the end of the context.

        Images are counted only once the body has arrived, so that slow uploads block nobody.

        Raises:
            RequestError: 503 if no further image is admitted.
        """
        ticket = Ticket(self)
        self.require_capacity(1)
        began = time.monotonic()
        try:
            yield ticket
            duration = time.monotonic() - began
            self._mean_duration_seconds += SMOOTHING_FACTOR * (
                duration - self._mean_duration_seconds
            )
        finally:
            ticket.release()

    def require_capacity(self, images: int) -> None:
        """Raise a 503 `RequestError` if `images` more would exceed the limit."""
        if self.images + images > self.max_images:
            raise self.full("Too many images are waiting")

    def full(self, reason: str) -> RequestError:
        """A 503 error that suggests a retry after the mean duration of recent requests."""
        return service_unavailable(reason, self._mean_duration_seconds)


class Ticket:
    """The images and bytes that one admitted request has reserved."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._images = 0
        self._bytes = 0

    def reserve_images(self, count: int) -> None:
        """Reserve capacity for `count` images.

        Raises:
            RequestError: 413 if `count` exceeds the limit by itself, 503 if it does so together
                with other requests.
        """
        if count > self._admission.max_images:
            raise RequestError(
                413,
                f"A request of {count} images is too large; "
                f"send at most {self._admission.max_images} images at once.",
            )
        self._admission.require_capacity(count)
        self._admission.images += count
        self._images += count

    def weigh(self, units: int) -> None:
        """Reserve as much as for `units` images, as large ones need more memory and time.

        Raises:
            RequestError: 503 if that exceeds the limit together with other requests.
        """
        more = min(units, self._admission.max_images) - self._images
        if more > 0:
            self.reserve_images(more)

    def reserve_bytes(self, count: int) -> None:
        """Reserve memory for `count` bytes of a body; a 503 `RequestError` if none is left."""
        if self._admission.body_bytes + count > self._admission.max_body_bytes:
            raise self._admission.full("The memory for request bodies is full")
        self._admission.body_bytes += count
        self._bytes += count

    def release(self) -> None:
        """Release everything that was reserved."""
        self._admission.images -= self._images
        self._admission.body_bytes -= self._bytes
        self._images = self._bytes = 0
