"""The HTTP server: uvicorn with timeouts for slow clients and a bounded shutdown."""

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
from mien.server.protocols import Connections, HttpProtocol, WebSocketProtocol
from mien.server.settings import Settings

KEEP_ALIVE_SECONDS = 5
CLOSE_TIMEOUT_SECONDS = 10.0
"""Time for the client to accept the last bytes of a closed connection."""

UPLOAD_GRACE_SECONDS, REQUEST_GRACE_SECONDS, SHUTDOWN_TIMEOUT_SECONDS = 1.0, 4.0, 5
"""Time for bodies that are arriving, for requests in progress, and for all when the service stops.
"""


MAX_MESSAGE_LENGTH = 200


def _ignore(_: str) -> None:
    pass


class Server(uvicorn.Server):
    """Uvicorn with the application; signals the service on shutdown, so that streams can end.

    Args:
        settings: of the service.
        on_ready: called with the URL once the server listens.
    """

    def __init__(self, settings: Settings, on_ready: Callable[[str], object] = _ignore) -> None:
        app = create_app(settings)
        self._service, self._on_ready = app.state.service, on_ready
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_max_size=settings.max_live_frame_bytes,
                ws_max_queue=2,
                ws_per_message_deflate=False,  # JPEG does not compress further
                log_level="error",  # clients can cause any number of warnings
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
            )
        )

        self.server_state = Connections()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call `on_ready`."""
        await super().startup(sockets)
        self._aborting = asyncio.create_task(self._abort_stalled_connections())
        self._on_ready(self.url())

    def url(self) -> str:
        """Where the server listens: `"http://127.0.0.1:8000"`."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End streams, finish the requests in progress, cancel videos."""
        self._service.stopping.set()
        ending = asyncio.create_task(self._abort_unfinished_requests())
        await super().shutdown(sockets)
        ending.cancel()
        self._aborting.cancel()

    async def _abort_unfinished_requests(self) -> None:
        await asyncio.sleep(UPLOAD_GRACE_SECONDS)
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpProtocol) and connection.is_receiving():
                connection.transport.abort()
        await asyncio.sleep(REQUEST_GRACE_SECONDS - UPLOAD_GRACE_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def _abort_stalled_connections(self) -> None:
        """Abort closed connections whose client does not accept the last bytes in time."""
        closing: dict[asyncio.Transport, float] = {}
        while True:
            await asyncio.sleep(CLOSE_TIMEOUT_SECONDS / 10)
            now, transports = time.monotonic(), [c.transport for c in self.server_state.connections]
            closing = {t: closing.get(t, now) for t in transports if t.is_closing()}
            for transport, since in closing.items():
                if now - since > CLOSE_TIMEOUT_SECONDS:
                    transport.abort()


@contextmanager
def escaped_library_messages() -> Iterator[None]:
    """Print what C libraries (libtiff, FFmpeg) write to standard error escaped, in the context.

    Clients determine it, and can cause any number of lines: at most one per second is printed.
    """
    python_stderr, original, (read_end, write_end) = sys.stderr, os.dup(2), os.pipe()
    os.dup2(write_end, 2)
    os.close(write_end)
    with open(original, "w", buffering=1, encoding="utf-8", errors="backslashreplace") as log:
        printer = threading.Thread(target=_print_escaped, args=[read_end, log], daemon=True)
        printer.start()
        sys.stderr = log
        try:
            yield
        finally:
            sys.stderr = python_stderr
            os.dup2(original, 2)  # ends the printer
            printer.join(1)


def _print_escaped(read_end: int, log: TextIO) -> None:
    printed_at = -math.inf
    with open(read_end, "rb", buffering=0) as messages:
        while data := messages.read(2**16):
            if time.monotonic() - printed_at > 1:
                printed_at = time.monotonic()
                line = data.split(b"\n")[0][:MAX_MESSAGE_LENGTH].decode(errors="replace")
                log.write(f"mien: a library reports: {line!a}\n")


def run(settings: Settings, on_ready: Callable[[str], object] = _ignore) -> None:
    """Serve until a signal stops the process.

    Args:
        settings: of the service.
        on_ready: called with the URL once the server listens.

    Raises:
        UserError: it cannot listen on that host and port, or the model or detector is unknown.
    """
    _check_address(settings.host, settings.port)
    # It logs every malformed form, and clients can send any number of them.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    with escaped_library_messages():
        Server(settings, on_ready).run()


def _check_address(host: str, port: int) -> None:
    """Raise a `UserError` if the address cannot be used, before models are loaded."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"Cannot listen on {host}:{port}: {reason.lower()}. Choose another --host or --port."
        ) from None
