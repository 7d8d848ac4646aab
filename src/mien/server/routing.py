"""HEAD requests, and redirects that work behind a proxy."""

from __future__ import annotations

import string
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match
from starlette.types import Receive, Scope, Send


def allow_head(app: FastAPI) -> None:
    """Let all GET routes answer HEAD as well, except event streams, which end late.

    FastAPI, unlike Starlette, does not. Call it after the OpenAPI schema has been generated, which
    would otherwise describe each route twice.
    """
    for route in app.routes:
        if not isinstance(route, APIRoute) or route.response_class is StreamingResponse:
            continue
        if route.methods and "GET" in route.methods:
            route.methods.add("HEAD")


def redirect_trailing_slashes(app: FastAPI) -> None:
    """Redirect `/models/` to `../models`; the app must not have `redirect_slashes`.

    The redirects of Starlette name the scheme, host and path that this process sees; those that the
    client sees may differ behind a proxy.
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
    """The URL without the slash, relative to the URL with it: `../healthz`."""
    name = scope["path"].removesuffix("/").rpartition("/")[2]
    query = quote(scope["query_string"], safe=string.punctuation)
    return f"../{quote(name, safe='')}{'?' * bool(query)}{query}"
