"""The server round the application: patient with nobody for ever, and gone in good order."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mien.errors import UserError
from mien.server.app import create
from mien.server.settings import Settings

HEADERS_WITHIN = 10.0
"""Seconds that a client may take to say what it wants."""

LONGEST_HEADERS = 64 * 1024
KEPT_ALIVE = 5
CUT_AFTER = 10.0
"""Seconds after its end in which a connection's last bytes must be taken."""

MAX_CONNECTIONS = 1024
STOP_WITHIN = 20
"""Seconds that what has begun may take when the service ends."""


class Protocol(HttpToolsProtocol):
    """HTTP whose headers have to come in time, and end; uvicorn has no setting for either."""

    _patience: asyncio.TimerHandle | None = None
    _is_waiting = False
    _heard = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for what the client wants."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._heed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; headers that do not end are not listened to."""
        super().data_received(data)
        if self._is_waiting:
            self._heard += len(data)
            if self._heard > LONGEST_HEADERS:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of a request."""
        super().on_message_begin()
        self._expect()

    def on_headers_complete(self) -> None:
        """The headers are here."""
        self._heed()
        super().on_headers_complete()

    def _heed(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._is_waiting = False

    def _expect(self) -> None:
        self._heed()
        self._is_waiting, self._heard = True, 0
        self._patience = self.loop.call_later(HEADERS_WITHIN, self.transport.abort)


class Server(uvicorn.Server):
    """Uvicorn that tells the service when it ends, so that what streams can end as well."""

    def __init__(self, settings: Settings, told: Callable[[str], object] = lambda _: None) -> None:
        app = create(settings)
        self._service, self._told = app.state.service, told
        self._port = settings.port
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                http=Protocol,
                ws="websockets-sansio",
                ws_max_size=settings.max_frame_bytes,
                ws_max_queue=2,
                ws_per_message_deflate=False,  # pictures do not shrink
                log_level="error",  # anybody can cause a warning
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=KEPT_ALIVE,
                timeout_graceful_shutdown=STOP_WITHIN,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell where."""
        await super().startup(sockets)
        self._cutting = asyncio.create_task(self._cut())
        self._told(self.address())

    def address(self) -> str:
        """Where it listens: `"http://127.0.0.1:8000"`."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what streams, finish what has begun, stop the videos."""
        self._service.stopping.set()
        await super().shutdown(sockets)
        self._cutting.cancel()

    async def _cut(self) -> None:
        """Cut connections that have ended, but wait for ever for their last bytes to be taken."""
        ended: dict[asyncio.Transport, float] = {}
        while True:
            await asyncio.sleep(CUT_AFTER / 10)
            now, transports = time.monotonic(), [c.transport for c in self.server_state.connections]
            ended = {one: ended.get(one, now) for one in transports if one.is_closing()}
            for transport, since in ended.items():
                if now - since > CUT_AFTER:
                    transport.abort()


def run(settings: Settings, told: Callable[[str], object] = lambda _: None) -> None:
    """Serve until a signal says to stop; `told` is given the address.

    Raises `UserError` where it cannot listen there.
    """
    _try(settings)
    # It writes a line for each damaged form, and anybody may send one.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    Server(settings, told).run()


def _try(settings: Settings) -> None:
    """Whether one can listen there, told before models are loaded and in one sentence."""
    where = settings.host, settings.port
    try:
        family = socket.getaddrinfo(where[0], where[1], type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(where)
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"Cannot listen on {where[0]}:{where[1]}: {why.lower()}.") from None
