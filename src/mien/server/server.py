"""The HTTP server: uvicorn with timeouts for slow clients and a bounded shutdown."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

import uvicorn

from mien.errors import UserError
from mien.server.app import create_app
from mien.server.protocols import Connections, HttpProtocol, WebSocketProtocol
from mien.server.settings import Settings

KEEP_ALIVE_SECONDS = 5
CLOSE_TIMEOUT_SECONDS = 10.0
"""Time for the client to accept the last bytes of a closed connection."""

SHUTDOWN_TIMEOUT_SECONDS = 20
"""Time for requests in progress when the service stops."""


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
        await super().shutdown(sockets)
        self._aborting.cancel()

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
