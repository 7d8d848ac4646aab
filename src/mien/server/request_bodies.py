"""A request's body -> pictures: raw bytes, a form, or JSON. Bounded, and in memory alone."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from mien.errors import UserError
from mien.server.admission import Entry
from mien.server.error_responses import Gone, Refused
from mien.server.settings import Settings

MAX_SIGNS = 10_000
"""Commas, colons and brackets that a JSON body may have: it names pictures and nothing else."""

LONGEST_NAME = 200

RAW = ("application/octet-stream", "binary/octet-stream", "")

Named = tuple[str, bytes]
"""What a picture is called, and its file's bytes."""


@dataclass(frozen=True)
class Asked:
    """The pictures of a request, or (from JSON, where that is allowed) their addresses.

    is_list: whether a list is expected, even of one.
    """

    pictures: list[Named] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    is_list: bool = False

    def count(self) -> int:
        """How many there are."""
        return len(self.pictures) + len(self.urls)


class InMemory(MultiPartParser):
    """A form parser that writes no file anywhere."""

    spool_max_size = sys.maxsize


def kind(request: Request) -> str:
    """What the body says it is: `"image/jpeg"`; nothing if it does not say."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def pictures(request: Request, settings: Settings, entry: Entry) -> Asked:
    """What a request asks for.

    Raises `Refused`: 408 too slow, 413 too large, 415 a wrong type, 503 no memory; `UserError` for
    what is not as it should be; `Gone` if the client left.
    """
    what = kind(request)
    if what == "multipart/form-data":
        body = await whole(request, settings, entry)
        return await _from_form(request.headers, body, settings)
    if what == "application/json":
        body = await whole(request, settings, entry)
        return await asyncio.to_thread(from_json, body, settings)
    if what in RAW or what.startswith("image/"):
        return Asked([("", await whole(request, settings, entry))])
    raise wrong_type(what, "a picture (image/jpeg, ...), a form (multipart/form-data) or JSON")


def wrong_type(what: str, wanted: str) -> Refused:
    """The refusal of a body that says it is something else."""
    return Refused(415, f"The body is said to be {_plain(what)}; send {wanted}.")


async def whole(request: Request, settings: Settings, entry: Entry) -> bytes:
    """The body, all of it in memory."""
    parts = []
    async for part in received(request, settings.max_bytes, settings.slow, settings.slow):
        entry.hold(len(part))
        parts.append(part)
    return b"".join(parts)


async def received(
    request: Request, most: int, pause: float, longest: float
) -> AsyncGenerator[bytes, None]:
    """The body as it comes; `Refused` when it is larger than `most`, or the client too slow.

    pause: seconds between two parts at most; longest: for all. A body that says it is too large is
    refused before any of it is read.
    """
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said) > most:
        raise _too_large(most)
    size, end = 0, time.monotonic() + longest
    parts = request.stream()
    while True:
        try:
            async with asyncio.timeout(max(0, min(pause, end - time.monotonic()))):
                part = await anext(parts, None)
        except TimeoutError:
            raise Refused(408, "The body came too slowly.", {"Connection": "close"}) from None
        except ClientDisconnect:
            raise Gone from None
        if part is None:
            return
        size += len(part)
        if size > most:
            raise _too_large(most)
        yield part


def _too_large(most: int) -> Refused:
    # The rest of the body is not read, so nothing more can be asked on this connection.
    return Refused(413, f"The body is larger than {most >> 20} MiB.", {"Connection": "close"})


async def form(
    headers: Headers, parts: AsyncGenerator[bytes, None], parser: type[MultiPartParser], most: int
) -> list[UploadFile]:
    """The files of a form; a `UserError` if it is damaged, has none, or more than `most`."""
    reader = parser(headers, parts, max_files=most, max_fields=most)
    files: list[UploadFile] = []
    try:
        found = await reader.parse()
        files = [value for _, value in found.multi_items() if isinstance(value, UploadFile)]
    except (MultiPartException, KeyError, ValueError) as error:
        why = _plain(str(getattr(error, "message", error))).rstrip(".")
        raise UserError(f"The form cannot be read: {why}.") from None
    finally:
        # Starlette leaves open what was cut off.
        for file in getattr(reader, "_files_to_close_on_error", ()):
            if all(file is not whole.file for whole in files):
                file.close()
    if not files:
        raise UserError("The form has no file in it; with curl: -F image=@photo.jpg.")
    return files


async def _from_form(headers: Headers, body: bytes, settings: Settings) -> Asked:
    async def parts() -> AsyncGenerator[bytes, None]:
        yield body

    files = await form(headers, parts(), InMemory, settings.max_pictures)
    named = []
    for file in files:
        with file.file:
            named.append((name(file.filename or ""), file.file.read()))
    return Asked(named, is_list=len(named) > 1)


def name(said: str) -> str:
    """The last part of a file's name as the client says it, fit to be shown."""
    plain = _plain(said.replace("\\", "/").rsplit("/", 1)[-1])
    return plain[-LONGEST_NAME:].strip()


def _plain(text: str) -> str:
    """A text on one line, without what cannot be printed, not too long."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(shown.split())[:LONGEST_NAME]


def from_json(body: bytes, settings: Settings) -> Asked:
    """The pictures (base64), or addresses, that a JSON body names; a `UserError` if it is wrong."""
    if sum(body.count(sign) for sign in b",:[{") > MAX_SIGNS:
        raise UserError("The JSON holds more than pictures.")
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise UserError("The body is not JSON.") from None
    keys = ("image", "images", "url", "urls")
    said = [key for key in keys if key in found] if isinstance(found, dict) else []
    if len(said) != 1 or len(found) != 1:
        raise UserError('The JSON must be {"image": BASE64} or {"images": [BASE64, ...]}.')
    (key,) = said
    values = found[key] if key.endswith("s") else [found[key]]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f'"{key}" must be {"a list of texts" if key.endswith("s") else "a text"}.')
    if not 0 < len(values) <= settings.max_pictures:
        raise UserError(f"A request has 1 to {settings.max_pictures} pictures, not {len(values)}.")
    if key.startswith("url"):
        if not settings.urls:
            raise Refused(403, "This service fetches nothing; send the picture itself.")
        return Asked(urls=values, is_list=key == "urls")
    named = [("", _decoded(value, number)) for number, value in enumerate(values)]
    return Asked(named, is_list=key == "images")


def _decoded(text: str, number: int) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UserError(f"Picture {number} is not base64.") from None
