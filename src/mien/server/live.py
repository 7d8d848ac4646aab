"""A camera in somebody's browser: frames come in, records go out; nothing queues."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.results import Frame
from mien.server.error_responses import answer, busy
from mien.server.images import decoded
from mien.server.metrics import Metrics
from mien.server.security import PROTOCOL
from mien.server.settings import Settings

GOING_AWAY, WRONG, TOO_BUSY = 1001, 1008, 1013

FAREWELL = 1.0
"""Seconds to say why it ends; who takes no answers will not take this either."""

MAX_LIVE_PIXELS = 16_000_000
"""Of a frame; a camera has fewer, and somebody else waits."""


class Follower:
    """One connection's faces: who they are from frame to frame. For one thread at a time."""

    def __init__(self, analyzer: Analyzer, smooth: float, max_pixels: int) -> None:
        self._session, self._most_pixels = analyzer.session(smooth), max_pixels

    def __call__(self, body: bytes, number: int, seconds: float) -> tuple[str, int]:
        """The record of a frame as JSON, and its number of faces; a `UserError` if it is none."""
        pixels = decoded(body, "", self._most_pixels).pixels
        frame = Frame(pixels, "live", number, seconds, kind="stream")
        result = self._session.update_frame(frame)
        return json.dumps(result.to_dict()), len(result)


class Newest:
    """The newest of what came, and how much was dropped for it."""

    def __init__(self) -> None:
        self._item: tuple[bytes, int, float] | None = None
        self._there = asyncio.Event()
        self.began = time.monotonic()
        self.came = self.dropped = 0

    def put(self, body: bytes) -> None:
        """Take in a frame; one that still waits is dropped."""
        self.dropped += self._item is not None
        self._item = body, self.came, time.monotonic()
        self.came += 1
        self._there.set()

    async def take(self) -> tuple[bytes, int, float]:
        """The newest frame, its number and the time when it came, as soon as there is one."""
        while self._item is None:
            self._there.clear()
            await self._there.wait()
        item, self._item = self._item, None
        return item


class Live:
    """What answers `WS /live`."""

    def __init__(self, settings: Settings, metrics: Metrics, stopping: asyncio.Event) -> None:
        self._settings, self._metrics, self._stopping = settings, metrics, stopping
        self._pool = ThreadPoolExecutor(settings.at_once(), "live")
        self.connections = 0

    async def serve(self, socket: WebSocket, analyzer: Analyzer, smooth: float) -> None:
        """Answer the frames of one connection until it ends; refused with 503 if there are many."""
        if self.connections >= self._settings.max_live or self._stopping.is_set():
            refused = busy("There are as many live connections as can be")
            await socket.send_denial_response(answer(503, str(refused), refused.headers))
            return
        self.connections += 1
        try:
            offered = socket.scope.get("subprotocols", [])
            await socket.accept(PROTOCOL if PROTOCOL in offered else None)
            await self._both_ways(socket, Follower(analyzer, smooth, MAX_LIVE_PIXELS))
        finally:
            self.connections -= 1

    async def _both_ways(self, socket: WebSocket, follow: Follower) -> None:
        newest = Newest()
        ways = [
            asyncio.create_task(self._receive(socket, newest)),
            asyncio.create_task(self._send(socket, newest, follow)),
        ]
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*ways, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ways, stopped):
                task.cancel()
            self._metrics.live_dropped.inc(newest.dropped)
        code, reason = next(
            (way.result() for way in ways if way.done()), (GOING_AWAY, "The service ends.")
        )
        if code:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await socket.close(code, reason)

    async def _receive(self, socket: WebSocket, newest: Newest) -> tuple[int, str]:
        """Take in frames until the client leaves or falls silent; with which code to close."""
        while True:
            try:
                async with asyncio.timeout(self._settings.live_seconds):
                    message = await socket.receive()
            except TimeoutError:
                return GOING_AWAY, "No frame came for a while."
            if message["type"] == "websocket.disconnect":
                return 0, ""
            body = message.get("bytes")
            if body is None:
                return WRONG, "Frames are binary messages: a JPEG each."
            newest.put(body)

    async def _send(self, socket: WebSocket, newest: Newest, follow: Follower) -> tuple[int, str]:
        """Answer the newest frame again and again; with which code to close."""
        loop = asyncio.get_running_loop()
        while True:
            body, number, came = await newest.take()
            try:
                seconds = came - newest.began
                work = loop.run_in_executor(self._pool, follow, body, number, seconds)
                text, faces = await asyncio.shield(work)
                self._metrics.faces.inc(faces)
            except UserError as error:
                text = json.dumps({"error": str(error), "frame": number})
            try:
                async with asyncio.timeout(self._settings.slow):
                    await socket.send_text(text)
            except TimeoutError:
                return TOO_BUSY, "Answers are not taken."
            except (RuntimeError, WebSocketDisconnect):
                return 0, ""
            self._metrics.live_seconds.observe(time.monotonic() - came)

    def close(self) -> None:
        """Finish the frames that have begun."""
        self._pool.shutdown(cancel_futures=True)
