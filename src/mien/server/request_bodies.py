"""Read request bodies of limited size and speed: raw bytes, forms and JSON.

Images are never written to disk.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from mien.errors import UserError
from mien.server.admission import Reservation
from mien.server.error_responses import ClientDisconnected, RequestError, service_unavailable
from mien.server.settings import Settings

MAX_JSON_DELIMITERS = 10_000
"""Maximum number of commas, colons and opening brackets in a JSON body.

It limits the number of objects that the JSON parser creates."""

MAX_NAME_LENGTH = 200
"""Maximum number of characters of file names and other text from clients in messages."""

COPIES_IN_MEMORY = {"application/json": 4, "multipart/form-data": 3}
"""Number of copies of a body that are in memory while it is read, by media type."""

DEFAULT_COPIES_IN_MEMORY = 2
"""Number of copies of other bodies: the received parts, and the whole body."""

BINARY_MEDIA_TYPES = ("application/octet-stream", "binary/octet-stream", "")
"""Media types of a body that is a single file of any format; empty if no type is declared."""

NamedImage = tuple[str, bytes | UserError]
"""File name, possibly empty, and the content of the file, or the error if it cannot be read."""


@dataclass(frozen=True)
class ImageRequest:
    """The images of a request.

    Args:
        images: Names and contents of the images.
        is_list: Whether the response is a list, which may have one element.
    """

    images: list[NamedImage]
    is_list: bool = False


class UploadSpeed:
    """Measures whether an upload is slower than `BYTES_PER_SECOND` for over `GRACE_SECONDS`.

    A slow upload may continue until another request needs its place or memory.

    Attributes:
        fast_until: Time by `time.monotonic()` from which the upload is slow, unless more bytes
            arrive before.
    """

    BYTES_PER_SECOND, GRACE_SECONDS = 2**16, 10.0

    def __init__(self) -> None:
        self.fast_until = time.monotonic() + self.GRACE_SECONDS

    def add(self, count: int) -> None:
        """Count bytes that have arrived."""
        now = time.monotonic()
        extended = max(now, self.fast_until) + count / self.BYTES_PER_SECOND
        self.fast_until = min(now + self.GRACE_SECONDS, extended)

    def is_slow(self) -> bool:
        """Return whether the upload is slow now."""
        return time.monotonic() > self.fast_until


class InMemoryFormParser(MultiPartParser):
    """A form parser that never writes to disk."""

    spool_max_size = sys.maxsize


def content_type(request: Request) -> str:
    """Return the media type of the body, such as `"image/jpeg"`; empty if it is not declared."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_images(
    request: Request, settings: Settings, reservation: Reservation
) -> ImageRequest:
    """Read the images of a request.

    Raises:
        RequestError: 415 if the type of the body is not supported; the errors of `read_body`.
        UserError: The form or JSON is invalid, or has no image or too many images.
        ClientDisconnected: The client closed the connection.
    """
    media_type = content_type(request)
    if media_type == "multipart/form-data":
        body = await read_body(request, settings, reservation)
        return await _parse_image_form(request.headers, body, settings)
    if media_type == "application/json":
        body = await read_body(request, settings, reservation)
        return await asyncio.to_thread(parse_json, body, settings)
    if media_type in BINARY_MEDIA_TYPES or media_type.startswith("image/"):
        return ImageRequest([("", await read_body(request, settings, reservation))])
    raise unsupported_type_error(
        media_type, "an image (image/jpeg, ...), a form (multipart/form-data) or JSON"
    )


def unsupported_type_error(media_type: str, supported: str) -> RequestError:
    """Return a 415 error that names the supported types."""
    return RequestError(
        415, f"Content type {_printable(media_type)} is not supported; send {supported}."
    )


async def read_body(request: Request, settings: Settings, reservation: Reservation) -> bytes:
    """Return the whole body; reserve memory for all its copies as it arrives.

    Raises:
        RequestError: 408 if the body arrives too slowly, 413 if it is too large, 503 if the memory
            for request bodies is full, or scarce while the upload is slow.
        ClientDisconnected: The client closed the connection.
    """
    copies = COPIES_IN_MEMORY.get(content_type(request), DEFAULT_COPIES_IN_MEMORY)
    parts, speed = [], UploadSpeed()
    async for part in stream_body(request, settings.max_body_bytes, settings):
        speed.add(len(part))
        if speed.is_slow() and reservation.is_memory_scarce():
            raise evicted_upload_error()
        reservation.add_bytes(copies * len(part))
        parts.append(part)
    return b"".join(parts)


async def stream_body(
    request: Request, max_bytes: int, settings: Settings
) -> AsyncGenerator[bytes, None]:
    """Yield the parts of a body as they arrive.

    An upload has a maximum pause and a minimum rate, but no maximum duration. A body whose
    `Content-Length` is too large is rejected before any of it is read.

    Args:
        request: Request whose body is read.
        max_bytes: Maximum size of the body.
        settings: Settings with the maximum pause and the minimum rate.

    Raises:
        RequestError: 408 if the body arrives too slowly, 413 if it is too large.
        ClientDisconnected: The client closed the connection.
    """
    declared_size = request.headers.get("content-length", "")
    if declared_size.isdigit() and int(declared_size) > max_bytes:
        raise _too_large_error(max_bytes)
    size, max_pause = 0, settings.client_timeout_seconds
    # Waiting reduces the remaining time, and each byte extends it up to `max_pause`.
    remaining_seconds = max_pause
    parts = request.stream()
    while True:
        started_at = time.monotonic()
        try:
            async with asyncio.timeout(max(0, remaining_seconds)):
                part = await anext(parts, None)
        except TimeoutError:
            raise _too_slow_error(settings) from None
        except ClientDisconnect:
            raise ClientDisconnected from None
        if part is None:
            return
        remaining_seconds -= time.monotonic() - started_at
        remaining_seconds += len(part) / settings.min_upload_bytes_per_second
        remaining_seconds = min(max_pause, remaining_seconds)
        size += len(part)
        if size > max_bytes:
            raise _too_large_error(max_bytes)
        yield part


def _too_slow_error(settings: Settings) -> RequestError:
    message = (
        f"The body arrived too slowly; send at least {settings.min_upload_bytes_per_second} bytes "
        f"per second, without pauses of {settings.client_timeout_seconds:g} s."
    )
    return RequestError(408, message, {"Connection": "close"})


def evicted_upload_error() -> RequestError:
    """Return a 503 error for a slow upload that is ended in favor of another request."""
    error = service_unavailable("The upload was too slow, and another request needs its place", 30)
    return RequestError(503, str(error), {**error.headers, "Connection": "close"})


def _too_large_error(max_bytes: int) -> RequestError:
    message = f"The body is too large; send at most {max_bytes >> 20} MiB."
    # The rest of the body stays unread, so the connection cannot be used again.
    return RequestError(413, message, {"Connection": "close"})


async def parse_form(
    headers: Headers,
    parts: AsyncGenerator[bytes, None],
    parser: type[MultiPartParser],
    max_files: int,
) -> list[UploadFile]:
    """Parse a form.

    Args:
        headers: Headers of the request.
        parts: Parts of the body.
        parser: Class of the parser, which determines where files are stored.
        max_files: Maximum number of files, and of other fields.

    Returns:
        The open files, at least one; the caller closes them.

    Raises:
        UserError: The form is invalid, or has no file or too many files.
    """
    form_parser = parser(headers, parts, max_files=max_files, max_fields=max_files)
    files: list[UploadFile] = []
    try:
        form = await form_parser.parse()
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    except (MultiPartException, KeyError, ValueError) as error:
        reason = _printable(str(getattr(error, "message", error))).rstrip(".")
        raise UserError(f"Cannot read the form: {reason}.") from None
    finally:
        # Starlette does not close a file whose part of the form is incomplete.
        for file in getattr(form_parser, "_files_to_close_on_error", ()):
            if all(file is not complete_file.file for complete_file in files):
                file.close()
    if not files:
        raise UserError("The form has no file; send one, with curl for example: -F file=@NAME.")
    return files


async def _parse_image_form(headers: Headers, body: bytes, settings: Settings) -> ImageRequest:
    async def parts() -> AsyncGenerator[bytes, None]:
        yield body

    files = await parse_form(
        headers, parts(), InMemoryFormParser, max_files=settings.max_images_per_request
    )
    images: list[NamedImage] = []
    for file in files:
        with file.file:
            images.append((clean_file_name(file.filename or ""), file.file.read()))
    return ImageRequest(images, is_list=len(images) > 1)


def clean_file_name(name: str) -> str:
    """Return the last component of a file name, shortened and without unprintable characters."""
    return _printable(name.replace("\\", "/").rsplit("/", 1)[-1]).strip()


def _printable(text: str) -> str:
    """Return a text as one line of at most `MAX_NAME_LENGTH` printable characters."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:MAX_NAME_LENGTH]


def parse_json(body: bytes, settings: Settings) -> ImageRequest:
    """Parse `{"image": BASE64}` or `{"images": [BASE64, ...]}`.

    Returns:
        The images; an image with invalid base64 is represented by its error.

    Raises:
        UserError: The body is anything else, or the list is empty or too long.
    """
    if sum(body.count(delimiter) for delimiter in b",:[{") > MAX_JSON_DELIMITERS:
        raise UserError("The JSON has too many values; send only images.")
    try:
        data: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise UserError("The body is not JSON; check its syntax.") from None
    if not isinstance(data, dict) or list(data) not in (["image"], ["images"]):
        raise UserError('The JSON must be {"image": BASE64} or {"images": [BASE64, ...]}.')
    (key,) = data
    is_list = key == "images"
    values = data[key] if is_list else [data[key]]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f'"{key}" must be {"a list of strings" if is_list else "a string"}.')
    limit = settings.max_images_per_request
    if not 0 < len(values) <= limit:
        raise UserError(f"A request must have 1 to {limit} images, not {len(values)}.")
    images = [
        ("", _decode_base64(value, image_label("", number, len(values))))
        for number, value in enumerate(values)
    ]
    return ImageRequest(images, is_list=is_list)


def image_label(name: str, number: int, count: int) -> str:
    """Return how an error names an image: by its file name, or by its number from 0 in a list.

    Args:
        name: The file name; may be empty.
        number: Index of the image in the request.
        count: Number of images in the request.
    """
    return name or (f"image {number}" if count > 1 else "the image")


def _decode_base64(text: str, label: str) -> bytes | UserError:
    """Decode base64 or a data URL; return an error that names the image if it is invalid.

    Both base64 alphabets are accepted, with or without padding and line breaks.
    """
    text = "".join(text.split())
    if text[:5].lower() == "data:":
        text = unquote(text.partition(",")[2])
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return UserError(f"Cannot read {label}: it is not base64. Encode the file as base64.")
