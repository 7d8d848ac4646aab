"""Respond to HEAD requests, and send redirects that work behind a proxy."""

from __future__ import annotations

import string
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match
from starlette.types import Receive, Scope, Send


def allow_head(app: FastAPI) -> None:
    """Let all GET routes respond to HEAD requests, except event streams.

    The response to a HEAD request for an event stream would end only when its job does. Starlette's
    own routes respond to HEAD, but FastAPI's do not. Call this after the OpenAPI schema has been
    generated; otherwise, each route appears in it twice.
    """
    for route in app.routes:
        if not isinstance(route, APIRoute) or route.response_class is StreamingResponse:
            continue
        if route.methods and "GET" in route.methods:
            route.methods.add("HEAD")


def redirect_trailing_slashes(app: FastAPI) -> None:
    """Redirect paths with a trailing slash to relative URLs, such as `/models/` to `../models`.

    The application must have been created with `redirect_slashes=False`: Starlette would redirect
    to absolute URLs, which are wrong behind a proxy that changes the scheme, host or path.
    """
    not_found = app.router.default

    async def redirect_or_not_found(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _matches_without_slash(app, scope):
            headers = {"Location": _relative_location(scope)}
            await Response(status_code=307, headers=headers)(scope, receive, send)
        else:
            await not_found(scope, receive, send)

    app.router.default = redirect_or_not_found


def _matches_without_slash(app: FastAPI, scope: Scope) -> bool:
    path = scope["path"].removesuffix("/")
    if path in ("", scope["path"]):
        return False
    return any(route.matches({**scope, "path": path})[0] is not Match.NONE for route in app.routes)


def _relative_location(scope: Scope) -> str:
    """Return the relative URL without the trailing slash, such as `../healthz` for `/healthz/`."""
    name = scope["path"].removesuffix("/").rpartition("/")[2]
    query = quote(scope["query_string"], safe=string.punctuation)
    location = f"../{quote(name, safe='')}"
    return f"{location}?{query}" if query else location
