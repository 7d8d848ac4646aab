"""The service's metrics for Prometheus, and the middleware that counts and times every request."""

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

from mien.server.error_responses import Gone

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FACES = (1, 2, 4, 8, 16, 32)

GONE = 499
"""Stands for a client that left, as in nginx; it is never sent."""


# Otherwise each series has a second one with the time of its first value.
prometheus_client.disable_created_metrics()


class Metrics:
    """What the service publishes about itself: numbers, never what was sent. Safe in many threads.

    A registry of its own, so that several services in one process do not share their numbers.
    """

    def __init__(self) -> None:
        self._registry, self._state = CollectorRegistry(), CollectorRegistry()
        ProcessCollector(registry=self._registry)
        counter = partial(Counter, registry=self._registry)
        histogram = partial(Histogram, registry=self._registry)
        self.requests = counter("mien_requests_total", "Requests.", ["route", "status"])
        self.request_seconds = histogram(
            "mien_request_seconds", "Time to answer a request.", ["route"], buckets=SECONDS
        )
        self.pictures = counter("mien_pictures_total", "Pictures analysed.")
        self.faces = counter("mien_faces_total", "Faces found on pictures and live frames.")
        self.batch_faces = histogram("mien_batch_faces", "Faces in a batch.", buckets=FACES)
        self.videos = counter("mien_videos_total", "Videos by how they ended.", ["state"])
        self.live_seconds = histogram(
            "mien_live_seconds", "Time to answer a live frame.", buckets=SECONDS
        )
        self.live_dropped = counter("mien_live_dropped_total", "Live frames dropped for a newer.")

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Publish a value that is read whenever the metrics are."""
        # In a registry of their own: the gauge mien_videos and the counter mien_videos_total would
        # be one name to the other.
        Gauge(name, meaning, registry=self._state).set_function(read)

    def text(self) -> str:
        """All of it, in Prometheus's text format."""
        return "".join(generate_latest(one).decode() for one in (self._registry, self._state))


class Counted:
    """ASGI middleware, the outermost: counts and times requests, and waits for no slow reader."""

    def __init__(self, app: ASGIApp, metrics: Metrics, slow: float) -> None:
        self._app, self._metrics, self._slow = app, metrics, slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and count; an answer of which a part is not taken in time is broken off."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status, left = time.perf_counter(), 500, False

        async def patient(message: Message) -> None:
            nonlocal status, left
            if message["type"] == "http.response.start":
                status = message["status"]
            try:
                async with asyncio.timeout(self._slow):
                    await send(message)
            except TimeoutError:
                status, left = GONE, True
                raise Gone from None

        try:
            await self._app(scope, receive, patient)
        except Exception:
            # What arises from breaking off an answer is nobody's bug.
            if not left:
                raise
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, status).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - began)
