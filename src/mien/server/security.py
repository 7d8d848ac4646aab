"""Check the host name, origin and token of requests; add security headers to responses."""

from __future__ import annotations

import hmac
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from mien.server import static_files
from mien.server.error_responses import RequestError, error_response
from mien.server.settings import Settings

HEALTH_PATHS = ("/healthz", "/readyz")
PUBLIC_PATHS = frozenset((*HEALTH_PATHS, *static_files.PUBLIC_PATHS))
"""URL paths that require no token, because they reveal nothing about users."""

SUBPROTOCOL = "mien"
TOKEN_SUBPROTOCOL_PREFIX = "mien.bearer."
"""Prefix of the subprotocol that contains the token.

A web page cannot set the headers of a WebSocket. It offers the subprotocols `mien` and
`mien.bearer.TOKEN` instead; characters that a subprotocol cannot contain are percent-encoded."""

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Host(NamedTuple):
    """Host name in lower case, or IP address; and the port, or None if it is not given."""

    name: str
    port: int | None


HOST_PATTERN = re.compile(r"(?:([a-z0-9._-]+)|\[([0-9a-f:.]+)\])(?::([0-9]{1,5}))?", re.IGNORECASE)


def parse_host(text: str) -> Host | None:
    """Parse a Host header such as `LOCALHOST.:80` or `[::1]:8000`; return None if it is invalid."""
    match = HOST_PATTERN.fullmatch(text)
    if match is None:
        return None
    name, address, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and not 0 < port < 2**16:
        return None
    if name:
        name = name.lower().removesuffix(".")  # fully qualified names may end with a dot
        return Host(name, port) if all(name.split(".")) else None
    try:
        return Host(str(ipaddress.IPv6Address(address)), port)
    except ValueError:
        return None


class SecurityMiddleware:
    """ASGI middleware that checks the host name, origin and token, and adds security headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._allowed_hosts = settings.effective_allowed_hosts()
        self._allowed_origins = settings.allowed_origins
        self._token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or respond with 400 or 421 (host name), 403 (origin) or 401 (token)."""
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
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = parse_host(hosts[0]) if len(hosts) == 1 else None
        if host is None:
            raise RequestError(
                400, "The Host header is missing or invalid; send one, as NAME or NAME:PORT."
            )
        # Prevent DNS rebinding: the host name of a malicious page could point to this machine.
        if self._allowed_hosts and host.name not in self._allowed_hosts:
            raise RequestError(
                421, "This host name is not allowed; start mien serve with --allow-host NAME."
            )
        if origins and not (len(origins) == 1 and self._is_allowed_origin(origins[0], host)):
            raise RequestError(
                403, "This origin is not allowed; start mien serve with --allow-origin ORIGIN."
            )
        if self._token and scope["path"] not in PUBLIC_PATHS:
            self._check_token(headers)

    def _is_allowed_origin(self, origin: str, host: Host) -> bool:
        if origin in self._allowed_origins or "*" in self._allowed_origins:
            return True
        scheme, separator, authority = origin.partition("://")
        default_port = {"http": 80, "https": 443}.get(scheme)
        origin_host = parse_host(authority) if separator and default_port else None
        if origin_host is None:
            return False
        origin_address = (origin_host.name, origin_host.port or default_port)
        return origin_address == (host.name, host.port or default_port)

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
    names = [name.strip() for name in header.split(",")]
    prefix = TOKEN_SUBPROTOCOL_PREFIX
    encoded = next((name[len(prefix) :] for name in names if name.startswith(prefix)), "")
    return unquote_to_bytes(encoded.encode("latin-1"))
