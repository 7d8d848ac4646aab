"""Serve the web page and its Content-Security-Policy."""

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
from mien.server.job import RESULT_FILES
from mien.writers import html
from mien.writers._table import COLUMNS

FOLDER = Path(__file__).parent / "page"

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
"""Media type of each file suffix.

The operating system's table can be wrong, and browsers reject scripts with a wrong type."""

FILES_BY_PATH = {
    "/" if file.name == "index.html" else f"/{file.name}": file
    for file in sorted(FOLDER.iterdir())
    if file.suffix in MEDIA_TYPES
}
"""File of each URL path."""

CONSTANTS_PATH = "/constants.js"
PUBLIC_PATHS = (*FILES_BY_PATH, CONSTANTS_PATH)
"""URL paths of the page, which require no token because they reveal nothing about users."""


def add_routes(app: FastAPI) -> None:
    """Serve the page at `/` with its Content-Security-Policy."""
    headers = {"Content-Security-Policy": content_security_policy()}
    for path, file in FILES_BY_PATH.items():

        async def serve_file(_: Request, file: Path = file) -> FileResponse:
            return FileResponse(file, headers=headers, media_type=MEDIA_TYPES[file.suffix])

        app.add_route(path, serve_file, methods=["GET"], include_in_schema=False)

    async def serve_constants(_: Request) -> Response:
        return Response(constants(), headers=headers, media_type=MEDIA_TYPES[".js"])

    app.add_route(CONSTANTS_PATH, serve_constants, methods=["GET"], include_in_schema=False)


def constants() -> str:
    """Return a JavaScript module with Python constants; its types are in `page/constants.d.ts`."""
    values = {
        "COLORS": COLORS,
        # The page saves tables only of images, whose shares are not smoothed.
        "COLUMNS": [name for name in COLUMNS if not name.startswith("smoothed_")],
        "FLAGS": FLAGS,
        "LANDMARKS": LANDMARKS,
        "RESULT_FILES": RESULT_FILES,
    }
    lines = (f"export const {name} = {json.dumps(value)};\n" for name, value in values.items())
    return "".join(lines)


def content_security_policy() -> str:
    """Return the Content-Security-Policy of the web page.

    The page shows HTML timelines in `<iframe srcdoc>`, which inherits the page's policy. The policy
    therefore also allows the inline styles of the timelines, and their inline script by its hash.
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
