"""The web page: static files and their Content-Security-Policy."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from mien.labels import COLORS
from mien.results import LANDMARKS
from mien.results.face import FLAGS
from mien.server.job import RESULTS
from mien.writers import html
from mien.writers._table import COLUMNS

FOLDER = Path(__file__).parent / "page"

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
"""File suffix -> media type. The system's table may be wrong, and browsers then reject scripts."""

FILES = {
    "/" if file.name == "index.html" else f"/{file.name}": file
    for file in sorted(FOLDER.iterdir())
    if file.suffix in MEDIA_TYPES
}
"""URL path -> file."""

CONSTANTS_PATH = "/constants.js"
PATHS = (*FILES, CONSTANTS_PATH)
"""All paths of the page. They need no token, because they reveal nothing about users."""


def add_routes(app: FastAPI) -> None:
    """Serve the page at `/`; its policy forbids it to load anything from other servers."""
    headers = {"Content-Security-Policy": content_security_policy()}
    for path, file in FILES.items():

        async def serve_file(_: Request, file: Path = file) -> FileResponse:
            return FileResponse(file, headers=headers, media_type=MEDIA_TYPES[file.suffix])

        app.add_route(path, serve_file, methods=["GET"], include_in_schema=False)

    async def serve_constants(_: Request) -> Response:
        return Response(constants(), headers=headers, media_type=MEDIA_TYPES[".js"])

    app.add_route(CONSTANTS_PATH, serve_constants, methods=["GET"], include_in_schema=False)


def constants() -> str:
    """A JavaScript module of the constants that the page shares; typed by `page/constants.d.ts`."""
    values = {
        "COLORS": COLORS,
        "COLUMNS": [name for name in COLUMNS if not name.startswith("smoothed_")],
        "FLAGS": FLAGS,
        "LANDMARKS": LANDMARKS,
        "RESULTS": RESULTS,
    }
    lines = (f"export const {name} = {json.dumps(value)};\n" for name, value in values.items())
    return "".join(lines)


def content_security_policy() -> str:
    """The Content-Security-Policy: only the page's own scripts, and that of a video's timeline.

    The timeline is in the `srcdoc` of a frame, which is subject to the policy of the page around
    it, so its script is allowed by its hash.
    """
    return "; ".join((
        "default-src 'none'",
        f"script-src 'self' {_hash(html.SCRIPT)}",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ))  # fmt: skip


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
