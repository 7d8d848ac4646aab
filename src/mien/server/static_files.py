"""The page for people: a few files, and what a browser may do on their behalf."""

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
from mien.server.job import RESULTS
from mien.writers import html
from mien.writers._table import COLUMNS

FOLDER = Path(__file__).parent / "page"

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
"""Suffix -> what it is. A machine's own list may err, and a wrong type is not run."""

FILES = {
    "/" if file.name == "index.html" else f"/{file.name}": file
    for file in sorted(FOLDER.iterdir())
    if file.suffix in TYPES
}
"""Path -> file."""

CONSTANTS = "/constants.js"
PATHS = (*FILES, CONSTANTS)
"""The paths of the page. They need no token, for they say nothing about anybody."""


def add(app: FastAPI) -> None:
    """Serve the page at `/`; whatever it shows comes from this service alone."""
    headers = {"Content-Security-Policy": policy()}
    for path, file in FILES.items():

        async def look(_: Request, file: Path = file) -> FileResponse:
            return FileResponse(file, headers=headers, media_type=TYPES[file.suffix])

        app.add_route(path, look, methods=["GET"], include_in_schema=False)

    async def shared(_: Request) -> Response:
        return Response(constants(), headers=headers, media_type=TYPES[".js"])

    app.add_route(CONSTANTS, shared, methods=["GET"], include_in_schema=False)


def constants() -> str:
    """What the page shares with Python, as a module; `page/constants.d.ts` has the types."""
    shared = {
        "COLORS": COLORS,
        "COLUMNS": [name for name in COLUMNS if not name.startswith("smoothed_")],
        "LANDMARKS": LANDMARKS,
        "RESULTS": RESULTS,
    }
    lines = (f"export const {name} = {json.dumps(value)};\n" for name, value in shared.items())
    return "".join(lines)


def policy() -> str:
    """The Content-Security-Policy: no script but its own, and that of a video's page in its frame.

    What stands in a `srcdoc` is under the policy of the page around it, so its script and its style
    are let in by their hashes.
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
