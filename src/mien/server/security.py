"""Who may ask: by which name, from which page, with which token. And what every answer says."""

from __future__ import annotations

import hmac
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from mien.server import static_files
from mien.server.error_responses import Refused, answer
from mien.server.settings import Settings

OPEN = frozenset(("/healthz", "/readyz", *static_files.PATHS))
"""What needs no token: it says nothing of anybody."""

PROTOCOL = "mien"
BEARER = "mien.bearer."
"""Pages cannot give a WebSocket a header; they offer the subprotocols `mien` and
`mien.bearer.TOKEN`, the token percent-encoded where it has signs that a subprotocol may not."""

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that lets in only who may come in."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = settings.known_hosts()
        self._origins = settings.origins
        self._token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it with 401, 403 or 421."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            self._look(scope, Headers(scope=scope))
        except Refused as refused:
            response = answer(refused.status, str(refused), ALWAYS | refused.headers)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(response)
            else:
                await response(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for key, value in ALWAYS.items():
                    headers.setdefault(key, value)
            await send(message)

        await self._app(scope, receive, sealed)

    def _look(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        # A page elsewhere may give its own name this machine's address; the name betrays it.
        if self._hosts and _name(host) not in self._hosts:
            raise Refused(421, "This service is not called that; see --allow-host.")
        origin = headers.get("origin")
        if origin is not None and not self._is_ours(origin, host):
            raise Refused(403, "Pages of elsewhere may not call this service; see --allow-origin.")
        if self._token and scope["path"] not in OPEN:
            self._look_at_token(headers)

    def _is_ours(self, origin: str, host: str) -> bool:
        return origin in self._origins or "*" in self._origins or _place(origin) == host.lower()

    def _look_at_token(self, headers: Headers) -> None:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        # Headers are read as Latin-1, which gives back the bytes that were sent.
        token = shown.strip(" ").encode("latin-1")
        if scheme.lower() != "bearer":
            offered = [one.strip() for one in headers.get("sec-websocket-protocol", "").split(",")]
            shown = next((one[len(BEARER) :] for one in offered if one.startswith(BEARER)), "")
            token = unquote_to_bytes(shown.encode("latin-1"))
        if not hmac.compare_digest(token, self._token):
            raise Refused(
                401, "This service asks for a bearer token.", {"WWW-Authenticate": "Bearer"}
            )


def _name(host: str) -> str:
    """The name in a Host header: `"LOCALHOST:8000"` -> `"localhost"`, `"[::1]:80"` -> `"::1"`."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    """Name and port of an origin, as a Host header has them."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
