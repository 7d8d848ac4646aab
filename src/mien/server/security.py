"""Check the host name, origin and token of requests; add security headers to responses."""

from __future__ import annotations

import hmac
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from mien.server import static_files
from mien.server.error_responses import RequestError, error_response
from mien.server.settings import Settings

PUBLIC_PATHS = frozenset(("/healthz", "/readyz", *static_files.PUBLIC_PATHS))
"""URL paths that require no token, because they reveal nothing about users."""

SUBPROTOCOL = "mien"
TOKEN_SUBPROTOCOL_PREFIX = "mien.bearer."
"""Browsers cannot add headers to a WebSocket; they offer the subprotocols `mien` and
`mien.bearer.TOKEN` instead. Characters that a subprotocol cannot contain are percent-encoded."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class SecurityMiddleware:
    """ASGI middleware that rejects requests with a wrong host name, origin or token."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._allowed_hosts = settings.effective_allowed_hosts()
        self._allowed_origins = settings.allowed_origins
        self._token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or respond with 401 (token), 403 (origin) or 421 (host name)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope, Headers(scope=scope))
        except RequestError as error:
            response = error_response(error.status, str(error), SECURITY_HEADERS | error.headers)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(response)
            else:
                await response(scope, receive, send)
            return

        async def send_with_security_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for key, value in SECURITY_HEADERS.items():
                    headers.setdefault(key, value)
            await send(message)

        await self._app(scope, receive, send_with_security_headers)

    def _check(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        # Prevent DNS rebinding: another web page could point its host name to this machine.
        if self._allowed_hosts and _host_name(host) not in self._allowed_hosts:
            raise RequestError(
                421, "This host name is not allowed; start mien serve with --allow-host."
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_allowed_origin(origin, host):
            raise RequestError(
                403, "This origin is not allowed; start mien serve with --allow-origin."
            )
        if self._token and scope["path"] not in PUBLIC_PATHS:
            self._check_token(headers)

    def _is_allowed_origin(self, origin: str, host: str) -> bool:
        is_same_origin = _host_of_origin(origin) == host.lower()
        return is_same_origin or origin in self._allowed_origins or "*" in self._allowed_origins

    def _check_token(self, headers: Headers) -> None:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        # Starlette decodes headers as Latin-1; encoding again restores the bytes that were sent.
        token = credentials.strip(" ").encode("latin-1")
        if scheme.lower() != "bearer":
            token = _token_from_subprotocols(headers.get("sec-websocket-protocol", ""))
        if not hmac.compare_digest(token, self._token):
            raise RequestError(
                401,
                "The bearer token is missing or wrong; send Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )


def _token_from_subprotocols(header: str) -> bytes:
    """Return the decoded token of a `Sec-WebSocket-Protocol` header; empty if it has none."""
    offered = [name.strip() for name in header.split(",")]
    prefix = TOKEN_SUBPROTOCOL_PREFIX
    encoded = next((name[len(prefix) :] for name in offered if name.startswith(prefix)), "")
    return unquote_to_bytes(encoded.encode("latin-1"))


def _host_name(host: str) -> str:
    """Return the name in a Host header: `"localhost"` for `"LOCALHOST:8000"`."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _host_of_origin(origin: str) -> str:
    """Return the host name and port of an origin in the form of a Host header."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
