"""`Client`: analyze images and videos on a mien server (`mien serve`), as with `Analyzer`.

The server does not store images. It stores a video until the video has been analyzed, and the
results until the client has read them.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import IO, Any, NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit

import numpy as np
from PIL import Image

from mien.errors import UserError, warn
from mien.io import image, reader, video
from mien.io.file_kind import is_gif
from mien.io.frame_selection import FrameSelection
from mien.io.image import ImageInput
from mien.io.source import Source
from mien.results import Frame, Result

POLL_SECONDS = 0.2
"""Seconds between two requests for the state of a video job."""

MAX_END_SECONDS = 1e6
"""Maximum value of the query parameter `end`; 0 stands for the end of the video."""

LARGE_FILE_BYTES = 2**24
"""Minimum size in bytes of an image file, such as a TIFF, for which `Client.stream` sends a PNG
instead, if the PNG is smaller."""

DEFAULT_PORTS = {"http": 80, "https": 443}


class ServerError(UserError):
    """The server cannot be reached, or rejects a request for a reason that concerns all files."""


class Request(NamedTuple):
    """An HTTP request to the server."""

    method: str
    path: str
    query: Mapping[str, str] = MappingProxyType({})
    body: bytes | IO[bytes] | None = None
    content_type: str = ""


class Client:
    """Analyzes images and videos on a mien server. Safe to call from several threads.

    Every request opens a new connection.

    Args:
        url: The server's address, such as `"http://127.0.0.1:8000"`.
        token: Bearer token, if the server requires one.
        model: As for `Analyzer`; empty for the server's default.
        detector: As for `Analyzer`; empty for the server's default.
        contempt: Whether to estimate the eighth emotion, contempt, if the model has it.
        timeout: Timeout of each network operation in seconds, and maximum time in seconds for which
            a request is retried while the server is busy.

    Raises:
        UserError: If `url` is not the address of a server.

    Example:
        ```python
        client = mien.Client("http://127.0.0.1:8000")
        for face in client.analyze("photo.jpg"):
            print(face.dominant_emotion)
        ```
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        model: str = "",
        detector: str = "",
        contempt: bool = False,
        timeout: float = 60.0,
    ) -> None:
        self._url = _parse_url(url)
        self._token, self._timeout = (token or "").strip(), timeout
        self._query = {"model": model, "detector": detector}
        if contempt:
            self._query["contempt"] = "true"

    def analyze(self, image: ImageInput) -> Result:
        """Analyze one image.

        Args:
            image: A path, the bytes of a file, (H, W, 3) uint8 RGB pixels or a PIL image.

        Returns:
            The faces, most confident first, and the image as `frame`; empty if no face is detected.

        Raises:
            UserError: If the image cannot be read, or the server cannot be reached, stays busy or
                rejects the request.

        Example:
            ```python
            client = mien.Client("http://127.0.0.1:8000")
            client.analyze("photo.jpg").save("annotated.png")
            ```
        """
        frame = reader.read_image(image)
        return Result.from_dict(self._post_image(_file_bytes(image, frame)), frame)

    def stream(
        self,
        source: ImageInput,
        on_error: Callable[[UserError], None] | None = None,
        selection: FrameSelection | None = None,
        smoothing: float | None = None,
    ) -> Iterator[Result]:
        """Analyze every frame of an image, folder or video, in order.

        Videos are uploaded, and also decoded locally for the pixels of their frames. The frames of
        animated PNG, WebP and AVIF files are sent as independent images. Cameras and network
        streams are not supported.

        Args:
            source: As for `Analyzer.stream`, without cameras and network streams.
            on_error: Called with warnings, and with the error of each file that cannot be read or
                that the server rejects; the analysis continues. By default, errors are raised, and
                warnings are issued as Python warnings.
            selection: Which frames of a video to analyze; all by default.
            smoothing: Time constant of `smoothed` in videos, in seconds; 0 for none. The default is
                that of the server.

        Returns:
            An iterator with one result per frame.

        Raises:
            UserError: If the source cannot be read, or the server cannot be reached, stays busy or
                rejects the request.

        Example:
            ```python
            client = mien.Client("http://127.0.0.1:8000")
            for result in client.stream("clip.mp4"):
                print(result.frame.seconds, [face.face_id for face in result])
            ```
        """
        if not isinstance(source, str | os.PathLike):
            yield from self._images(image.frames(source), on_error, _frame_png)
            return
        for item in Source.expand(os.fspath(source), on_error or warn):
            is_uploaded = item.is_video and not _is_sent_as_images(item)
            if is_uploaded and not Path(item.location).is_file():
                raise UserError(
                    f"{item.name} is not a file and cannot be uploaded; use mien.Analyzer, or the "
                    "server's WebSocket route /live."
                )
            if is_uploaded:
                with _pass_errors_to(on_error):
                    yield from self._video(item, on_error, selection or FrameSelection(), smoothing)
            else:
                frames = reader.read_images([replace(item, kind="image")], on_error)
                yield from self._images(frames, on_error, _frame_file)

    def models(self) -> dict[str, Any]:
        """Return the server's models, detectors and defaults.

        Example:
            ```python
            print(mien.Client("http://127.0.0.1:8000").models()["default"])
            ```
        """
        return json.loads(self._response_body(Request("GET", "/models")))

    def _images(
        self,
        frames: Iterable[Frame],
        on_error: Callable[[UserError], None] | None,
        encode: Callable[[Frame], bytes],
    ) -> Iterator[Result]:
        """Send frames as image files, and yield their results."""
        for frame in frames:
            with _pass_errors_to(on_error):
                yield Result.from_dict(self._post_image(encode(frame)), frame)

    def _post_image(self, body: bytes) -> dict[str, Any]:
        return json.loads(
            self._response_body(Request("POST", "/analyze", self._query, body, "image/*"))
        )

    def _video(
        self,
        source: Source,
        on_error: Callable[[UserError], None] | None,
        selection: FrameSelection,
        smoothing: float | None,
    ) -> Iterator[Result]:
        """Yield the results of a video: records from the server, with frames decoded locally."""
        on_warning = on_error or warn
        query = self._query | _video_parameters(source, selection, smoothing)
        with self._finished_job(source, query) as job:
            for warning in job["warnings"]:
                on_warning(UserError(warning))
            if not job["result_files"]:
                return
            frames = video.frames(source, selection, lambda _: None)
            for record in self._records(job["id"]):
                frame = next((frame for frame in frames if frame.number >= record["frame"]), None)
                if frame is None:
                    return
                yield Result.from_dict(record, frame)

    def _records(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Download the frame records of a video to a temporary file, and yield them."""
        with TemporaryFile() as lines:
            request = Request("GET", f"/videos/{job_id}/results/faces.jsonl")
            with self._response(request) as response:
                shutil.copyfileobj(response, lines)
            lines.seek(0)
            for line in lines:
                yield json.loads(line)

    @contextmanager
    def _finished_job(self, source: Source, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Upload a video, wait for its analysis, and delete the job at the end of the context."""
        try:
            with open(source.location, "rb") as file:
                upload = Request("POST", "/videos", query, file, "application/octet-stream")
                job = json.loads(self._response_body(upload))
        except OSError as error:
            raise UserError(f"Cannot read {source.name}: {error.strerror}.") from None
        path = f"/videos/{job['id']}"
        try:
            while job["state"] not in ("done", "failed"):
                time.sleep(POLL_SECONDS)
                job = json.loads(self._response_body(Request("GET", path)))
            if job["state"] == "failed":
                raise UserError(job["error"])
            yield job
        finally:
            with suppress(UserError):  # the job may have expired, or the server may have stopped
                self._response_body(Request("DELETE", path))

    def _response_body(self, request: Request) -> bytes:
        with self._response(request) as response:
            return response.read()

    @contextmanager
    def _response(self, request: Request) -> Iterator[http.client.HTTPResponse]:
        """Send a request and retry it while the server is busy; raise error responses as errors."""
        deadline = time.monotonic() + self._timeout
        while True:
            with closing(self._connection()) as connection, self._network_errors():
                response = self._send(connection, request)
                retry_after = _retry_after_seconds(response)
                if response.status != 503 or time.monotonic() + retry_after > deadline:
                    if response.status >= 400:
                        raise _response_error(response)
                    yield response
                    return
            time.sleep(retry_after)
            if request.body is not None and not isinstance(request.body, bytes):
                request.body.seek(0)  # the file has been read by the first attempt

    def _send(
        self, connection: http.client.HTTPConnection, request: Request
    ) -> http.client.HTTPResponse:
        query = f"?{urlencode(request.query)}" if request.query else ""
        target = self._url.path.rstrip("/") + request.path + query
        headers: dict[str, str | bytes] = {}
        if request.content_type:
            headers["Content-Type"] = request.content_type
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}".encode()
        body = request.body
        if isinstance(body, bytes):
            # A file object is sent in blocks, and the timeout applies to each block.
            headers["Content-Length"] = str(len(body))
            body = io.BytesIO(body)
        try:
            connection.request(request.method, target, body, headers)
        except (BrokenPipeError, ConnectionResetError):
            # The server may have rejected the body before reading all of it, and sent a response.
            if connection.sock is None:
                raise
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        classes = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        host = self._url.hostname or ""
        return classes[self._url.scheme](host, self._url.port, timeout=self._timeout)

    @contextmanager
    def _network_errors(self) -> Iterator[None]:
        """Raise network errors as `ServerError`."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ServerError(
                f"Cannot reach a mien server at {self._url.netloc}: {reason}."
            ) from None


@contextmanager
def _pass_errors_to(on_error: Callable[[UserError], None] | None) -> Iterator[None]:
    """Pass errors about one file to `on_error` if it is given; always raise `ServerError`."""
    try:
        yield
    except ServerError:
        raise
    except UserError as error:
        if on_error is None:
            raise
        on_error(error)


def _video_parameters(
    source: Source, selection: FrameSelection, smoothing: float | None
) -> dict[str, str]:
    """Return the query parameters of a video upload."""
    parameters = {
        "every": str(selection.every),
        "seconds": str(selection.seconds),
        "start": str(selection.start),
        "end": str(selection.end if selection.end < MAX_END_SECONDS else 0),
        "name": Path(source.name).name,
        "to": "faces.jsonl",
    }
    if smoothing is not None:
        parameters["smooth"] = str(smoothing)
    return parameters


def _parse_url(url: str) -> SplitResult:
    parts, port = urlsplit(url), None
    with suppress(ValueError):
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    if port is None or not parts.hostname:
        raise UserError(f"{url!r} is not a server's address; write it as http://127.0.0.1:8000.")
    return parts


def _retry_after_seconds(response: http.client.HTTPResponse) -> float:
    """Return the time of the `Retry-After` header; 1 if the header is missing or not a number."""
    value = response.headers.get("retry-after", "")
    return float(value) if value.isdigit() else 1.0


def _response_error(response: http.client.HTTPResponse) -> UserError:
    """Return an exception with the message of an error response."""
    try:
        message = str(json.loads(response.read())["error"])
    except (ValueError, KeyError, TypeError):
        message = f"The server responded {response.status} {response.reason}."
    affects_all_files = response.status in (401, 403, 421, 429) or response.status >= 500
    return ServerError(message) if affects_all_files else UserError(message)


def _frame_png(frame: Frame) -> bytes:
    return _png(frame.pixels)


def _frame_file(frame: Frame) -> bytes:
    """Return the content of a frame's file, or a PNG if the file cannot be sent.

    If the file has at least `LARGE_FILE_BYTES`, return the file or its PNG, whichever is smaller.
    Smaller files are sent as they are, because photographs are several times as large in PNG as in
    JPEG.
    """
    body = b""
    with suppress(OSError):  # standard input, or a file deleted since it was decoded
        body = Path(frame.location).read_bytes() if not frame.number else b""
    if body and len(body) < LARGE_FILE_BYTES:
        return body
    return min(filter(None, (body, _png(frame.pixels))), key=len)


def _file_bytes(image: ImageInput, frame: Frame) -> bytes:
    """Return the content of an image file; other images, such as pixels, are encoded as PNG."""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike) and os.fspath(image) != "-":
        source = Source.parse(os.fspath(image))
        if source.kind in ("image", "animation"):
            return _read(Path(source.location))
    return _png(frame.pixels)


def _is_sent_as_images(source: Source) -> bool:
    """Return whether the frames of a file are sent as images instead of uploading it as a video.

    These are animated PNG and WebP files, which the server does not accept as videos, and animated
    AVIF files.
    """
    return source.kind == "animation" and not is_gif(source.location)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
