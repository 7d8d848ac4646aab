"""The Analyzer's methods, answered by a mien that serves somewhere else (`mien serve`).

Of what is sent, nothing is kept there. Only the standard library is needed.
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
from pathlib import Path
from tempfile import TemporaryFile
from types import MappingProxyType
from typing import IO, Any, NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.io import image, reader, video
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.results import Frame, Result

LOOK = 0.2
"""Seconds between two looks at how far a video is."""

LARGE = 2**24
"""Bytes of a still's file from which its pixels may take less, as of a TIFF."""

DEFAULT_PORTS = {"http": 80, "https": 443}


class Unserved(UserError):
    """The service cannot be reached or lets nobody in, whatever it is asked; of no file alone."""


class Question(NamedTuple):
    """What a service is asked. query: by name; kind: the content type of the body."""

    method: str
    path: str
    query: Mapping[str, str] = MappingProxyType({})
    body: bytes | IO[bytes] | None = None
    kind: str = ""


class Client:
    """A service somewhere; no connection is kept open. Safe to call from several threads.

    Args:
        url: its address, such as `"http://127.0.0.1:8000"`.
        token: if the service asks for one.
        model: as for `Analyzer`; the service's own default if empty.
        detector: as for `Analyzer`; the service's own default if empty.
        contempt: keep the eighth emotion of the models that know it.
        patience: seconds to wait for an answer and, if the service is busy, for it to be less so.

    Raises:
        UserError: the url is not the address of a service.

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
        patience: float = 60.0,
    ) -> None:
        self._where = _parsed(url)
        self._token, self._patience = (token or "").strip(), patience
        self._query = {"model": model, "detector": detector}
        if contempt:
            self._query["contempt"] = "true"

    def analyze(self, picture: image.ImageInput) -> Result:
        """The faces on one picture.

        Args:
            picture: a path, a file's bytes, (H, W, 3) uint8 RGB pixels or a PIL image.

        Returns:
            A sequence of faces, most confident first, with its `frame`; empty without a face.

        Raises:
            UserError: it cannot be read as a picture, or the service cannot be reached, is busy
                for too long, or refuses.
        """
        frame = reader.read_image(picture)
        return Result.from_dict(self._ask(_bytes(picture, frame)), frame)

    def stream(
        self,
        source: image.ImageInput,
        on_error: Callable[[UserError], None] | None = None,
        selection: FrameSelection | None = None,
        smoothing: float | None = None,
    ) -> Iterator[Result]:
        """Every frame of a picture, folder or video, with its faces, in order.

        A video is watched by the service as a whole, and read again here for its pixels; its faces
        keep their ids and have `smoothed` emotions, as usual there if none is given.
        Otherwise as `Analyzer.stream`, without cameras and streams.
        """
        if not isinstance(source, str | os.PathLike):
            yield from self._pictures(image.frames(source), on_error, _png_of)
            return
        for item in Source.expand(os.fspath(source)):
            if item.is_video and not Path(item.location).is_file():
                raise UserError(
                    f"{item.name} cannot be sent as a file; use Analyzer, or the path /live."
                )
            if item.is_video:
                with _telling(on_error):
                    yield from self._video(item, on_error, selection or FrameSelection(), smoothing)
            else:
                yield from self._pictures(reader.read_images([item], on_error), on_error, _file_of)

    def models(self) -> dict[str, Any]:
        """What the service can be asked for: its models and detectors, and the usual ones."""
        return json.loads(self._request(Question("GET", "/models")))

    def _pictures(
        self,
        frames: Iterable[Frame],
        on_error: Callable[[UserError], None] | None,
        body: Callable[[Frame], bytes],
    ) -> Iterator[Result]:
        """The frames of images, each sent as `body` makes it; errors go to `on_error`."""
        for frame in frames:
            with _telling(on_error):
                yield Result.from_dict(self._ask(body(frame)), frame)

    def _ask(self, body: bytes) -> dict[str, Any]:
        return json.loads(self._request(Question("POST", "/analyze", self._query, body, "image/*")))

    def _video(
        self,
        source: Source,
        on_error: Callable[[UserError], None] | None,
        selection: FrameSelection,
        smoothing: float | None,
    ) -> Iterator[Result]:
        """The frames of a video, read here, with what the service says of each of them."""
        told = on_error or video.warn
        query = self._query | {
            "every": str(selection.every), "seconds": str(selection.seconds),
            "start": str(selection.start),
            "end": str(selection.end if selection.end < 1e6 else 0), "name": Path(source.name).name,
            "to": "faces.jsonl",
        }  # fmt: skip
        query |= {} if smoothing is None else {"smooth": str(smoothing)}
        with self._job(source, query) as job:
            for warning in job["warnings"]:
                told(UserError(warning))
            if not job["results"]:
                return
            frames = video.frames(source, selection, lambda _: None)
            with TemporaryFile() as lines:
                where = f"/videos/{job['id']}/results/faces.jsonl"
                with self._answer(Question("GET", where)) as answer:
                    shutil.copyfileobj(answer, lines)
                lines.seek(0)
                for line in lines:
                    found = json.loads(line)
                    frame = next((one for one in frames if one.number >= found["frame"]), None)
                    if frame is None:
                        return
                    yield Result.from_dict(found, frame)

    @contextmanager
    def _job(self, source: Source, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """A video that the service has watched; forgotten there in the end."""
        try:
            with open(source.location, "rb") as file:
                asked = Question("POST", "/videos", query, file, "application/octet-stream")
                sent = self._request(asked)
        except OSError as error:
            raise UserError(f"{source.name} cannot be read: {error.strerror}.") from None
        job = json.loads(sent)
        here = f"/videos/{job['id']}"
        try:
            while job["state"] not in ("done", "failed"):
                time.sleep(LOOK)
                job = json.loads(self._request(Question("GET", here)))
            if job["state"] == "failed":
                raise UserError(job["error"])
            yield job
        finally:
            with suppress(UserError):  # its time there may be over, or the service gone
                self._request(Question("DELETE", here))

    def _request(self, asked: Question) -> bytes:
        with self._answer(asked) as answer:
            return answer.read()

    @contextmanager
    def _answer(self, asked: Question) -> Iterator[http.client.HTTPResponse]:
        """The answer to a question; if the service is busy, what it says when it is not."""
        end = time.monotonic() + self._patience
        while True:
            with closing(self._connection()) as connection, self._told():
                answer = self._sent(connection, asked)
                wait = _wait(answer)
                if answer.status != 503 or time.monotonic() + wait > end:
                    if answer.status >= 400:
                        raise _refusal(answer)
                    yield answer
                    return
            time.sleep(wait)
            if asked.body is not None and not isinstance(asked.body, bytes):
                asked.body.seek(0)

    def _sent(
        self, connection: http.client.HTTPConnection, asked: Question
    ) -> http.client.HTTPResponse:
        query = f"?{urlencode(asked.query)}" if asked.query else ""
        target = self._where.path.rstrip("/") + asked.path + query
        headers: dict[str, str | bytes] = {"Content-Type": asked.kind} if asked.kind else {}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}".encode()
        try:
            connection.request(asked.method, target, asked.body, headers)
        except (BrokenPipeError, ConnectionResetError):
            # Who refuses a body does not wait for all of it; the answer may be there already.
            if connection.sock is None:
                raise
        return connection.getresponse()

    def _connection(self) -> http.client.HTTPConnection:
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        host = self._where.hostname or ""
        return kinds[self._where.scheme](host, self._where.port, timeout=self._patience)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong on the way as one sentence."""
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise Unserved(f"No mien answers at {self._where.netloc}: {why}.") from None


@contextmanager
def _telling(on_error: Callable[[UserError], None] | None) -> Iterator[None]:
    """Pass errors about one file to `on_error`, if given; the server's own errors are raised."""
    try:
        yield
    except Unserved:
        raise
    except UserError as error:
        if on_error is None:
            raise
        on_error(error)


def _parsed(url: str) -> SplitResult:
    where, port = urlsplit(url), None
    with suppress(ValueError):
        port = where.port or DEFAULT_PORTS.get(where.scheme)
    if port is None or not where.hostname:
        raise UserError(f"{url} is no address of a service, such as http://127.0.0.1:8000.")
    return where


def _wait(answer: http.client.HTTPResponse) -> float:
    """Seconds after which a busy service wants to be asked again."""
    said = answer.headers.get("retry-after", "")
    return float(said) if said.isdigit() else 1.0


def _refusal(answer: http.client.HTTPResponse) -> UserError:
    """The sentence with which a service refuses."""
    try:
        said = str(json.loads(answer.read())["error"])
    except (ValueError, KeyError, TypeError):
        said = f"The service answers {answer.status} {answer.reason}."
    refused = answer.status in (401, 403, 421, 429) or answer.status >= 500
    return Unserved(said) if refused else UserError(said)


def _png_of(frame: Frame) -> bytes:
    return _png(frame.pixels)


def _file_of(frame: Frame) -> bytes:
    """What a frame was read from; as pixels, a photograph would be many times as much."""
    body = b""
    with suppress(OSError):  # of standard input, say, or a name that cannot be written
        body = Path(frame.location).read_bytes() if not frame.number else b""
    if body and len(body) < LARGE:
        return body
    return min(filter(None, (body, _png(frame.pixels))), key=len)


def _bytes(picture: image.ImageInput, frame: Frame) -> bytes:
    """A picture, read as a frame already, as the bytes of a file; files are sent as they are."""
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | os.PathLike) and os.fspath(picture) != "-":
        source = Source.parse(os.fspath(picture))
        if source.kind in ("image", "animation"):
            return _read(Path(source.location))
    return _png(frame.pixels)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
