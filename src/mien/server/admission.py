"""Limits for the number of images in progress and for the memory of request bodies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mien.server.error_responses import RequestError, service_unavailable

SMOOTHING_FACTOR = 0.1
"""Weight of the newest request in the exponential moving average of request durations."""

INITIAL_DURATION_SECONDS = 0.1
"""Initial value of the average of request durations."""


class Admission:
    """Limits the images in progress and the memory for request bodies of all requests together.

    Not thread-safe: use it only in the thread of the event loop.

    Args:
        max_images_in_progress: Maximum number of images that are queued or being analyzed.
        max_total_body_bytes: Maximum memory for all request bodies together, including their copies
            and those that are still arriving.

    Attributes:
        images_in_progress: Number of images that are queued or being analyzed.
        total_body_bytes: Reserved memory for request bodies, in bytes.
    """

    def __init__(self, max_images_in_progress: int, max_total_body_bytes: int) -> None:
        self.max_images_in_progress = max_images_in_progress
        self.max_total_body_bytes = max_total_body_bytes
        self.images_in_progress = 0
        self.total_body_bytes = 0
        self._mean_duration_seconds = INITIAL_DURATION_SECONDS

    @contextmanager
    def admit(self) -> Iterator[Reservation]:
        """Admit a request, and release its reservation at the end of the context.

        Yields:
            The reservation, which is empty. Add images to it only after the body has arrived, so
            that slow uploads do not block other clients.

        Raises:
            RequestError: 503 if the maximum number of images is in progress.
        """
        reservation = Reservation(self)
        self.require_capacity(1)
        started_at = time.monotonic()
        try:
            yield reservation
            duration = time.monotonic() - started_at
            self._mean_duration_seconds += SMOOTHING_FACTOR * (
                duration - self._mean_duration_seconds
            )
        finally:
            reservation.release()

    def require_capacity(self, count: int) -> None:
        """Raise a 503 `RequestError` if `count` more images would exceed the limit."""
        if self.images_in_progress + count > self.max_images_in_progress:
            raise self.capacity_error("Too many images are queued")

    def capacity_error(self, reason: str) -> RequestError:
        """Return a 503 error.

        Its `Retry-After` is the mean duration of recent requests, rounded and limited to 1 to 30 s.
        """
        return service_unavailable(reason, self._mean_duration_seconds)


class Reservation:
    """The images and bytes that one admitted request has reserved."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._images = 0
        self._bytes = 0

    def add_images(self, count: int) -> None:
        """Reserve capacity for `count` more images.

        Raises:
            RequestError: 413 if `count` alone exceeds the limit, 503 if `count` and the images that
                are already in progress exceed it.
        """
        if count > self._admission.max_images_in_progress:
            raise RequestError(
                413,
                f"A request of {count} images is too large; "
                f"send at most {self._admission.max_images_in_progress} images at once.",
            )
        self._admission.require_capacity(count)
        self._admission.images_in_progress += count
        self._images += count

    def extend_images(self, total: int) -> None:
        """Increase the reservation to `total` images, or to the limit of all requests if lower.

        A large image counts as several, so its reservation is increased once its size is known.

        Raises:
            RequestError: 503 if the increased reservation and the images of other requests exceed
                the limit.
        """
        additional = min(total, self._admission.max_images_in_progress) - self._images
        if additional > 0:
            self.add_images(additional)

    def add_bytes(self, count: int) -> None:
        """Reserve `count` more bytes for a body.

        Raises:
            RequestError: 503 if the memory for request bodies is full.
        """
        if self._admission.total_body_bytes + count > self._admission.max_total_body_bytes:
            raise self._admission.capacity_error("The memory for request bodies is full")
        self._admission.total_body_bytes += count
        self._bytes += count

    def is_memory_scarce(self) -> bool:
        """Return whether less than half of the memory for request bodies is free."""
        return 2 * self._admission.total_body_bytes > self._admission.max_total_body_bytes

    def release(self) -> None:
        """Release all reserved images and bytes."""
        self._admission.images_in_progress -= self._images
        self._admission.total_body_bytes -= self._bytes
        self._images = self._bytes = 0
