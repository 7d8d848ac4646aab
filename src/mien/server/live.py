"""Analyze frames that arrive over a WebSocket; drop all but the newest if they queue up."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.frames import CloseCode

from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import image
from mien.server.error_responses import error_response, service_unavailable
from mien.server.memory import MemoryBudget, required_bytes
from mien.server.metrics import Metrics
from mien.server.security import SUBPROTOCOL
from mien.server.settings import Settings

T = TypeVar("T")

CLOSE_FRAME_TIMEOUT_SECONDS = 1.0
"""Maximum time to send the close code to a client that may have stopped reading."""

MAX_LIVE_PIXELS = 16_000_000
"""Maximum number of pixels of a decoded frame; larger JPEGs are decoded at a reduced size.

It is lower than for images, because a large frame delays the other live connections, which share
the same threads."""


class CloseReason(NamedTuple):
    """WebSocket close code and a message that says why the connection is closed."""

    code: int
    message: str


DISCONNECTED = CloseReason(0, "")
"""Reason if the client has already closed the connection; no close code is sent."""


class ReceivedFrame(NamedTuple):
    """Encoded frame, its number, and the time of its arrival by `time.monotonic()`."""

    body: bytes
    number: int
    received_at: float


class LiveSession:
    """Tracks the faces of one connection from frame to frame. Not thread-safe.

    Args:
        analyzer: Analyzer for the frames.
        smoothing: Time constant of smoothing in seconds; 0 disables smoothing.
        max_pixels: Maximum number of pixels of a decoded frame; larger JPEGs are decoded at a
            reduced size.
    """

    def __init__(self, analyzer: Analyzer, smoothing: float, max_pixels: int) -> None:
        self._session, self._max_pixels = analyzer.session(smoothing), max_pixels

    def analyze(self, body: bytes, number: int, seconds: float) -> tuple[str, int]:
        """Analyze one encoded frame.

        Args:
            body: An image file, usually JPEG.
            number: Number of the frame, from 0.
            seconds: Time since the connection was opened.

        Returns:
            The frame record as JSON, and the number of faces.

        Raises:
            UserError: The frame cannot be decoded or has too many pixels.
        """
        limit = self._max_pixels
        frame = image.first_frame(body, "the image", limit, reduce_above=limit)
        frame = replace(frame, source="live", number=number, seconds=seconds, kind="stream")
        result = self._session.update_frame(frame)
        return json.dumps(result.to_dict()), len(result)


class LatestFrame:
    """Holds the newest frame of a connection until its analysis starts; drops older frames.

    Attributes:
        opened_at: Time by `time.monotonic()` at which the connection was opened.
        received: Number of received frames.
        dropped: Number of dropped frames.
        last_analysis: Future of the analysis that was started last; None before the first one.
    """

    def __init__(self) -> None:
        self._frame: ReceivedFrame | None = None
        self._is_available = asyncio.Event()
        self.opened_at = time.monotonic()
        self.received = self.dropped = 0
        self.last_analysis: asyncio.Future | None = None

    def put(self, body: bytes) -> None:
        """Store a frame; drop the previous one if its analysis has not started."""
        if self._frame is not None:
            self.dropped += 1
        self._frame = ReceivedFrame(body, self.received, time.monotonic())
        self.received += 1
        self._is_available.set()

    async def get(self) -> ReceivedFrame:
        """Wait until a frame is available, then remove and return it."""
        while self._frame is None:
            self._is_available.clear()
            await self._is_available.wait()
        frame, self._frame = self._frame, None
        return frame


class LiveAnalysis:
    """Implementation of `WS /live`.

    Attributes:
        connections: Number of open connections.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        memory: MemoryBudget,
        shutdown_event: asyncio.Event,
    ) -> None:
        self._settings, self._metrics = settings, metrics
        self._shutdown_event = shutdown_event
        self._memory = memory
        self._pool = ThreadPoolExecutor(settings.worker_count(), "live")
        self.connections = 0

    async def serve(self, socket: WebSocket, analyzer: Analyzer, smoothing: float) -> None:
        """Serve one connection until it is closed.

        The connection is denied with 503 if too many are open or the server is shutting down.
        """
        is_full = self.connections >= self._settings.max_live_connections
        if is_full or self._shutdown_event.is_set():
            reason = (
                "Too many live connections are open" if is_full else "The server is shutting down"
            )
            error = service_unavailable(reason)
            await socket.send_denial_response(error_response(503, str(error), error.headers))
            return
        self.connections += 1
        try:
            offered_subprotocols = socket.scope.get("subprotocols", [])
            await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered_subprotocols else None)
            await self._run(socket, LiveSession(analyzer, smoothing, MAX_LIVE_PIXELS))
        finally:
            self.connections -= 1

    async def _run(self, socket: WebSocket, session: LiveSession) -> None:
        """Receive frames and send records until either task ends or the server shuts down."""
        latest = LatestFrame()
        tasks = [
            asyncio.create_task(self._receive(socket, latest)),
            asyncio.create_task(self._send(socket, latest, session)),
        ]
        shutdown_task = asyncio.create_task(self._shutdown_event.wait())
        try:
            await asyncio.wait([*tasks, shutdown_task], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, shutdown_task):
                task.cancel()
            self._metrics.live_frames_dropped.inc(latest.dropped)
        code, message = next(
            (task.result() for task in tasks if task.done()),
            CloseReason(CloseCode.GOING_AWAY, "The server is shutting down."),
        )
        if code:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(CLOSE_FRAME_TIMEOUT_SECONDS):
                    await socket.close(code, message)
        if latest.last_analysis is not None:
            # The analysis uses memory until it ends; the connection counts as open until then.
            await asyncio.wait((latest.last_analysis,))

    async def _receive(self, socket: WebSocket, latest: LatestFrame) -> CloseReason:
        """Receive frames until the client disconnects, sends text or is idle for too long."""
        while True:
            try:
                async with asyncio.timeout(self._settings.live_idle_timeout_seconds):
                    message = await socket.receive()
            except TimeoutError:
                seconds = self._settings.live_idle_timeout_seconds
                return CloseReason(
                    CloseCode.GOING_AWAY, f"No frame was received for {seconds:g} s."
                )
            if message["type"] == "websocket.disconnect":
                return DISCONNECTED
            body = message.get("bytes")
            if body is None:
                return CloseReason(
                    CloseCode.POLICY_VIOLATION,
                    "The message is text; send JPEG frames as binary messages.",
                )
            latest.put(body)

    async def _send(
        self, socket: WebSocket, latest: LatestFrame, session: LiveSession
    ) -> CloseReason:
        """Repeatedly analyze the newest frame and send its record, while the client reads."""
        loop = asyncio.get_running_loop()
        while True:
            body, number, received_at = await latest.get()
            seconds = received_at - latest.opened_at
            try:
                memory_bytes = await asyncio.to_thread(required_bytes, body, "the image")
                async with self._memory.reserve(memory_bytes):
                    future = loop.run_in_executor(
                        self._pool, session.analyze, body, number, seconds
                    )
                    latest.last_analysis = future
                    text, face_count = await _wait_until_done(future)
                self._metrics.faces.inc(face_count)
            except UserError as error:
                text = json.dumps({"error": str(error), "frame": number})
            try:
                async with asyncio.timeout(self._settings.client_timeout_seconds):
                    await socket.send_text(text)
            except TimeoutError:
                return CloseReason(
                    CloseCode.TRY_AGAIN_LATER, "The client does not read the responses."
                )
            except (RuntimeError, WebSocketDisconnect):
                return DISCONNECTED
            self._metrics.live_frame_seconds.observe(time.monotonic() - received_at)

    def close(self) -> None:
        """Cancel the queued frames; do not wait for those that are being analyzed."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _wait_until_done(future: asyncio.Future[T]) -> T:
    """Return the result of a future; if this task is cancelled, still wait until it is done."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait((future,))
        raise
