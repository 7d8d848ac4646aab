"""Prometheus metrics, and middleware that counts requests and measures their duration."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.server.error_responses import ClientDisconnected

DURATION_BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FACE_COUNT_BUCKETS = (1, 2, 4, 8, 16, 32)

CLIENT_CLOSED_REQUEST = 499
"""Status of requests whose client has disconnected, as in nginx. It is only used in the metrics."""


# Otherwise each metric also has a series `..._created` with the time of its creation.
prometheus_client.disable_created_metrics()


class Metrics:
    """Counters, histograms and gauges of one application. Thread-safe.

    Each instance has its own registry, so that several applications can share a process.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        counter = partial(Counter, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        seconds = partial(histogram, buckets=DURATION_BUCKETS_SECONDS)
        self.requests = counter("mien_requests_total", "HTTP requests.", ["route", "status"])
        self.request_seconds = seconds(
            "mien_request_duration_seconds", "Time to respond to a request.", ["route"]
        )
        self.images = counter("mien_images_total", "Analyzed images.")
        self.faces = counter("mien_faces_total", "Faces detected in images and live frames.")
        self.batch_faces = histogram(
            "mien_batch_faces",
            "Number of faces in a batch of the classifier.",
            buckets=FACE_COUNT_BUCKETS,
        )
        self.videos = counter(
            "mien_videos_total", "Videos whose analysis has ended, by final state.", ["state"]
        )
        self.live_frame_seconds = seconds(
            "mien_live_frame_duration_seconds", "Time to respond to a live frame."
        )
        self.live_frames_dropped = counter(
            "mien_live_frames_dropped_total", "Live frames dropped because a newer one arrived."
        )

    def add_gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a gauge; `read` returns its value whenever the metrics are collected."""
        Gauge(name, description, registry=self._registry).set_function(read)

    def text(self) -> str:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry).decode()


class RequestMetricsMiddleware:
    """Outermost of mien's middleware: counts and measures requests, and aborts unread responses.

    If a client does not accept a part of a response within `timeout_seconds`, the response is
    aborted, and the request is counted with the status `CLIENT_CLOSED_REQUEST`.

    Args:
        app: Application to wrap.
        metrics: Metrics in which requests are counted.
        timeout_seconds: Maximum time for the client to accept each part of a response.
        shutdown_event: Event that is set when the server shuts down.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, timeout_seconds: float, shutdown_event: asyncio.Event
    ) -> None:
        self._app, self._metrics, self._timeout_seconds = app, metrics, timeout_seconds
        self._shutdown_event = shutdown_event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and count a request; abort the response if the client reads it too slowly."""
        try:
            await self._serve(scope, receive, send)
        except asyncio.CancelledError:
            # Uvicorn would log an error for a request that is cancelled at the end of the shutdown.
            if not self._shutdown_event.is_set():
                raise

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at, timed_out = time.perf_counter(), False
        status = 500  # Starlette responds outside of this middleware if the application raises

        async def send_within_timeout(message: Message) -> None:
            nonlocal status, timed_out
            if message["type"] == "http.response.start":
                status = message["status"]
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await send(message)
            except TimeoutError:
                status, timed_out = CLIENT_CLOSED_REQUEST, True
                raise ClientDisconnected from None

        try:
            await self._app(scope, receive, send_within_timeout)
        except Exception:
            # After a timeout, the application can raise any exception, which is not a bug.
            if not timed_out:
                raise
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - started_at)
