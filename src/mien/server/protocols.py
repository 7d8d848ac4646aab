"""Uvicorn's HTTP and WebSocket protocols with additional limits."""

from __future__ import annotations

import asyncio
import time

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame

from mien.server.error_responses import error_response, service_unavailable
from mien.server.security import HEALTH_PATHS

MAX_CONNECTIONS = 1024
"""Maximum number of open connections.

A further connection replaces the one that has been idle for the longest time. If none is idle, all
routes except `HEALTH_PATHS` respond with 503; WebSockets are limited by
`Settings.max_live_connections` instead."""

HEADERS_TIMEOUT_SECONDS = 10.0
"""Maximum time for the headers of a request to arrive."""

MAX_HEADER_BYTES = 64 * 1024
"""Maximum size of the headers of a request."""

MAX_PIPELINED_REQUESTS = 16
"""Maximum number of requests of a connection that wait for the response to an earlier one."""

SMALL_FRAME_BYTES = 4096
"""Size below which a WebSocket frame is small. Pings and pongs are small frames."""

MAX_SMALL_FRAMES_PER_SECOND = 250
"""Maximum rate of small frames. A client may send the frames of one second at once."""

REJECTED_CLOSE_SECONDS = 2.0
"""Time that a rejected client has to read the close frame before the connection is aborted."""

PART_BYTES = 4096
"""Maximum number of received bytes that are parsed at once."""

MAX_TURN_SECONDS = 0.002
"""Time after which a connection stops parsing until the other connections have had their turn.

One read can return 256 KiB, which can contain 40,000 frames or chunks."""


class Connections(ServerState):
    """State that all connections share.

    Attributes:
        idle: Connections without a request in progress, the one with the longest idle time first.
            The values are unused; the dictionary is an ordered set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.idle: dict[HttpProtocol, None] = {}

    def close_longest_idle(self) -> None:
        """Close the connection that has been idle for the longest time, if any is idle."""
        if self.idle:
            connection = next(iter(self.idle))
            del self.idle[connection]
            connection.transport.abort()


class _TurnTakingProtocol(asyncio.Protocol):
    """Mixin that parses received bytes in parts and takes turns with other connections."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    _unparsed = b""

    def data_received(self, data: bytes) -> None:
        """Parse bytes until the turn ends; pause reading until the remaining bytes are parsed."""
        if self._unparsed:  # the other base class has resumed reading
            self._unparsed += data
            self.transport.pause_reading()
            return
        turn_ends_at = time.monotonic() + MAX_TURN_SECONDS
        for end in range(PART_BYTES, len(data) + PART_BYTES, PART_BYTES):
            self.part_received(data[end - PART_BYTES : end])
            is_upgraded = self.transport.get_protocol() is not self  # to a WebSocket
            if self.transport.is_closing() or is_upgraded:
                return
            if time.monotonic() > turn_ends_at and end < len(data):
                self._unparsed = data[end:]
                self.transport.pause_reading()
                self.loop.call_soon(self._take_turn)
                return

    def part_received(self, data: bytes) -> None:
        """Parse a part."""
        super().data_received(data)  # type: ignore[misc]  # defined by the other base class

    def is_reading_paused(self) -> bool:
        """Return whether the other base class has paused reading."""
        raise NotImplementedError

    def _take_turn(self) -> None:
        if self.transport.is_closing():
            return
        data, self._unparsed = self._unparsed, b""
        self.data_received(data)
        if not (self._unparsed or self.is_reading_paused() or self.transport.is_closing()):
            self.transport.resume_reading()


class HttpProtocol(_TurnTakingProtocol, HttpToolsProtocol):
    """HTTP protocol with limits for headers, pipelined requests and idle connections."""

    server_state: Connections

    _header_timer: asyncio.TimerHandle | None = None
    _is_reading_headers = False
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the header timeout; close an idle connection if too many are open."""
        super().connection_made(transport)
        self._start_header_timeout()
        if len(self.connections) > MAX_CONNECTIONS:
            self.server_state.close_longest_idle()
        self.server_state.idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the header timeout."""
        self._stop_header_timeout()
        self.server_state.idle.pop(self, None)
        super().connection_lost(exc)

    def part_received(self, data: bytes) -> None:
        """Parse a part; abort the connection for too large headers or too many queued requests."""
        super().part_received(data)
        if self._is_reading_headers:
            self._header_bytes += len(data)
        has_too_many_requests = len(self.pipeline) > MAX_PIPELINED_REQUESTS
        if has_too_many_requests or self._header_bytes > MAX_HEADER_BYTES:
            self.transport.abort()

    def is_reading_paused(self) -> bool:
        """Return whether reading is paused until the application has received the body."""
        return self.flow.read_paused

    def on_message_begin(self) -> None:
        """Start the header timeout of the next request."""
        super().on_message_begin()
        self._start_header_timeout()

    def on_headers_complete(self) -> None:
        """Stop the header timeout and start the request; reject it if the server is full."""
        self._stop_header_timeout()
        self.server_state.idle.pop(self, None)
        is_full = len(self.connections) > MAX_CONNECTIONS
        self.app = self._respond_when_full if is_full else self.config.loaded_app
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Mark the connection as idle, unless another request has arrived meanwhile."""
        super().on_response_complete()
        # `cycle` is that of the request that was received last.
        if self.cycle.response_complete:
            self.server_state.idle[self] = None

    def is_receiving(self) -> bool:
        """Return whether the body of a request is still arriving."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    async def _respond_when_full(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 503, except to health checks."""
        if scope["path"] in HEALTH_PATHS:
            await self.config.loaded_app(scope, receive, send)
            return
        error = service_unavailable("Too many connections are open")
        headers = {**error.headers, "Connection": "close"}
        await error_response(error.status, str(error), headers)(scope, receive, send)

    def _stop_header_timeout(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
        self._is_reading_headers, self._header_bytes = False, 0

    def _start_header_timeout(self) -> None:
        self._stop_header_timeout()
        self._is_reading_headers = True
        self._header_timer = self.loop.call_later(HEADERS_TIMEOUT_SECONDS, self.transport.abort)


class WebSocketProtocol(_TurnTakingProtocol, WebSocketsSansIOProtocol):
    """WebSocket protocol with a limit for small frames, which could block the event loop."""

    _is_rejected = False
    _allowed_small_frames = float(MAX_SMALL_FRAMES_PER_SECOND)
    _allowance_updated_at = 0.0

    def part_received(self, data: bytes) -> None:
        """Parse a part unless the client has been rejected."""
        if not self._is_rejected:
            super().part_received(data)

    def is_reading_paused(self) -> bool:
        """Return whether reading is paused until the application has received a message."""
        return self.read_paused

    def handle_events(self) -> None:
        """Process the received frames, or reject the client if it sends too many small ones."""
        events = self.conn.events
        small_frames = sum(
            isinstance(event, Frame) and len(event.data) < SMALL_FRAME_BYTES for event in events
        )
        if self._consume_allowance(small_frames):
            super().handle_events()
            return
        events.clear()
        self._reject(
            CloseCode.POLICY_VIOLATION,
            f"Send at most {MAX_SMALL_FRAMES_PER_SECOND} pings and other frames below "
            f"{SMALL_FRAME_BYTES} bytes per second.",
        )

    def send_receive_event_to_app(self) -> None:
        """Pass a message to the application, or reject the client if its text is not UTF-8."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self._reject(
                    CloseCode.INVALID_DATA, "The text is not UTF-8; send JPEG as binary messages."
                )
                return
        super().send_receive_event_to_app()

    def _consume_allowance(self, small_frames: int) -> bool:
        """Return whether the rate limit, a token bucket, allows this number of small frames."""
        now = time.monotonic()
        replenished = (now - self._allowance_updated_at) * MAX_SMALL_FRAMES_PER_SECOND
        allowed = min(MAX_SMALL_FRAMES_PER_SECOND, self._allowed_small_frames + replenished)
        self._allowed_small_frames, self._allowance_updated_at = allowed - small_frames, now
        return self._allowed_small_frames >= 0

    def _reject(self, code: int, reason: str) -> None:
        """Send a close frame, ignore further data, and close the connection after a short time."""
        self._is_rejected = True
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.fail(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:  # unread bytes would reset the connection and discard the close frame
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(REJECTED_CLOSE_SECONDS, self.transport.abort)
