"""Run the application in uvicorn, with timeouts for slow clients and during the shutdown."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import uvicorn

from mien.errors import UserError
from mien.server.app import create_app
from mien.server.memory import limit_freed_memory
from mien.server.protocols import Connections, HttpProtocol, WebSocketProtocol
from mien.server.settings import Settings

KEEP_ALIVE_TIMEOUT_SECONDS = 5
"""Time after which an idle connection is closed."""

STALLED_CLOSE_TIMEOUT_SECONDS = 10.0
"""Maximum time for the client to accept the last bytes of a connection that is being closed."""

SHUTDOWN_TIMEOUT_SECONDS = 5
"""Maximum time that uvicorn waits for connections and requests to end during the shutdown."""

UPLOAD_SHUTDOWN_SECONDS = 1.0
"""Seconds after the start of the shutdown at which incomplete request bodies are aborted."""

REQUEST_SHUTDOWN_SECONDS = 4.0
"""Seconds after the start of the shutdown at which unfinished requests are aborted."""

STDERR_DESCRIPTOR = 2
"""File descriptor of standard error, to which C libraries write."""

MAX_MESSAGE_LENGTH = 200
"""Maximum number of bytes of a message from a C library that are printed."""


def _ignore(_: str) -> None:
    pass


class Server(uvicorn.Server):
    """Uvicorn server of the application; on shutdown, it sets the backend's `shutdown_event`.

    Args:
        settings: Settings of the server.
        on_ready: Function that is called with the URL once the server listens.

    Raises:
        UserError: The default model or detector is unknown, or the model cannot be read.
    """

    def __init__(self, settings: Settings, on_ready: Callable[[str], object] = _ignore) -> None:
        app = create_app(settings)
        self._backend, self._on_ready = app.state.backend, on_ready
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_max_size=settings.max_live_frame_bytes,
                ws_max_queue=1,
                ws_per_message_deflate=False,  # JPEG does not compress further
                log_level="error",  # clients can cause any number of warnings
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_TIMEOUT_SECONDS,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
            )
        )

        self.server_state = Connections()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call `on_ready`."""
        await super().startup(sockets)
        self._abort_stalled_task = asyncio.create_task(self._abort_stalled_connections())
        self._on_ready(self.url())

    def url(self) -> str:
        """Return the URL at which the server listens, such as `"http://127.0.0.1:8000"`."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams, wait a limited time for other requests, and then cancel the video jobs."""
        self._backend.shutdown_event.set()
        abort_unfinished_task = asyncio.create_task(self._abort_unfinished_requests())
        await super().shutdown(sockets)
        abort_unfinished_task.cancel()
        self._abort_stalled_task.cancel()

    async def _abort_unfinished_requests(self) -> None:
        """Abort unfinished uploads, then all other unfinished requests, each after a timeout."""
        await asyncio.sleep(UPLOAD_SHUTDOWN_SECONDS)
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpProtocol) and connection.is_receiving():
                connection.transport.abort()
        await asyncio.sleep(REQUEST_SHUTDOWN_SECONDS - UPLOAD_SHUTDOWN_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def _abort_stalled_connections(self) -> None:
        """Abort closing connections whose client does not accept the last bytes in time."""
        closing_since: dict[asyncio.Transport, float] = {}  # times by `time.monotonic()`
        while True:
            await asyncio.sleep(STALLED_CLOSE_TIMEOUT_SECONDS / 10)
            now, transports = time.monotonic(), [c.transport for c in self.server_state.connections]
            closing_since = {t: closing_since.get(t, now) for t in transports if t.is_closing()}
            for transport, closing_started_at in closing_since.items():
                if now - closing_started_at > STALLED_CLOSE_TIMEOUT_SECONDS:
                    transport.abort()


@contextmanager
def escape_library_messages() -> Iterator[None]:
    """Escape messages that C libraries, such as libtiff and FFmpeg, write to standard error.

    Clients can cause any number of such messages with any content, so at most one per second is
    printed inside the `with` block. Python's own messages are printed unchanged.
    """
    python_stderr = sys.stderr
    original_stderr = os.dup(STDERR_DESCRIPTOR)
    read_end, write_end = os.pipe()
    os.dup2(write_end, STDERR_DESCRIPTOR)
    os.close(write_end)
    with open(
        original_stderr, "w", buffering=1, encoding="utf-8", errors="backslashreplace"
    ) as log:
        printer_thread = threading.Thread(target=_print_escaped, args=[read_end, log], daemon=True)
        printer_thread.start()
        sys.stderr = log
        try:
            yield
        finally:
            sys.stderr = python_stderr
            os.dup2(original_stderr, STDERR_DESCRIPTOR)  # closes the pipe, which ends the thread
            printer_thread.join(1)


def _print_escaped(read_end: int, log: TextIO) -> None:
    printed_at = -math.inf
    with open(read_end, "rb", buffering=0) as messages:
        while data := messages.read(2**16):
            if time.monotonic() - printed_at > 1:
                printed_at = time.monotonic()
                line = data.split(b"\n")[0][:MAX_MESSAGE_LENGTH].decode(errors="replace")
                log.write(f"mien: a library printed: {line!a}\n")


def run(settings: Settings, on_ready: Callable[[str], object] = _ignore) -> None:
    """Serve until a signal stops the process.

    Args:
        settings: Settings of the server.
        on_ready: Function that is called with the URL once the server listens.

    Raises:
        UserError: The server cannot listen on the host and port, the default model or detector is
            unknown, or the model cannot be read.
    """
    _check_address(settings.host, settings.port)
    limit_freed_memory()
    # This library logs each malformed form, and clients can send any number of them.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    with escape_library_messages():
        Server(settings, on_ready).run()


def _check_address(host: str, port: int) -> None:
    """Raise a `UserError` if the server cannot listen on this address.

    Uvicorn checks the address only after the models have been loaded.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise UserError(
            f"Cannot listen on {host}:{port}: {reason.lower()}. Choose another --host or --port."
        ) from None
