"""The class `Client`, which has the methods `analyze` and `stream` of `Analyzer`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from mien.client import image_bodies
from mien.client.requests import Request, RequestSender, ServerError
from mien.errors import ErrorCallback, UserError, warn
from mien.io import image, reader, video
from mien.io.file_kind import is_gif
from mien.io.frame_selection import FrameSelection
from mien.io.image import ImageInput
from mien.io.source import Source
from mien.results import Frame, Result

POLL_SECONDS = 0.2
"""Seconds between two requests for the state of a video job."""

MIN_END_SECONDS, MAX_END_SECONDS = 1e-6, 1e6
"""Range of the query parameter `end`, except for 0, which stands for the end of the video."""


class Client:
    """Analyzes images and videos on a mien server. Safe to call from several threads.

    Every request opens a new connection.

    Args:
        url: The server's address, such as `"http://127.0.0.1:8000"`.
        token: Bearer token, if the server requires one.
        model: Name of one of the server's models, which `models` returns; empty for its default.
        detector: Name of one of the server's detectors; empty for its default.
        contempt: As for `Analyzer`.
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
        self._requests = RequestSender(url, (token or "").strip(), timeout)
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
        return Result.from_dict(self._post_image(image_bodies.input_as_file(image, frame)), frame)

    def stream(
        self,
        source: ImageInput,
        on_error: ErrorCallback | None = None,
        selection: FrameSelection | None = None,
        smoothing: float | None = None,
    ) -> Iterator[Result]:
        """Analyze every frame of an image, folder or video, in order.

        Videos are uploaded, and also decoded locally for the pixels of their frames. The frames of
        animated PNG, WebP and AVIF files are sent as independent images.

        Args:
            source: As for `Analyzer.stream`, but a video must be a local file: cameras, addresses
                and numbered images are not supported.
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
            yield from self._images(image.frames(source), on_error, image_bodies.frame_as_png)
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
                yield from self._images(frames, on_error, image_bodies.frame_as_file)

    def models(self) -> dict[str, Any]:
        """Return the server's models, detectors and defaults.

        Returns:
            `models`, a list of dictionaries with the `name`, `labels` and `target` (what is
            predicted) of each model; `detectors`, a list of names; and `default` and `detector`,
            the names of the default model and detector.

        Raises:
            UserError: If the server cannot be reached, stays busy or rejects the request.

        Example:
            ```python
            print(mien.Client("http://127.0.0.1:8000").models()["default"])
            ```
        """
        return self._requests.read_json(Request("GET", "/models"))

    def _images(
        self,
        frames: Iterable[Frame],
        on_error: ErrorCallback | None,
        encode: Callable[[Frame], bytes],
    ) -> Iterator[Result]:
        """Send frames as image files, and yield their results."""
        for frame in frames:
            with _pass_errors_to(on_error):
                yield Result.from_dict(self._post_image(encode(frame)), frame)

    def _post_image(self, body: bytes) -> dict[str, Any]:
        return self._requests.read_json(Request("POST", "/analyze", self._query, body, "image/*"))

    def _video(
        self,
        source: Source,
        on_error: ErrorCallback | None,
        selection: FrameSelection,
        smoothing: float | None,
    ) -> Iterator[Result]:
        """Yield the results of a video: records from the server, with frames decoded locally."""
        on_warning = on_error or warn
        query = self._query | _video_parameters(source, selection, smoothing)
        with self._finished_job(source, query) as job:
            for warning in job["warnings"]:
                on_warning(UserError(warning))
            if not job["result_files"]:  # no frame was selected
                return
            # The warnings of the server already report any damage.
            frames = video.frames(source, selection, lambda _: None)
            frame = next(frames, None)
            for record in self._records(job["id"]):
                # The local decoder may return frames of a damaged video that the server's does
                # not return, and vice versa.
                while frame and frame.number < record["frame"]:
                    frame = next(frames, None)
                if frame and frame.number == record["frame"]:
                    yield Result.from_dict(record, frame)

    def _records(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Download the frame records of a video to a temporary file, and yield them."""
        request = Request("GET", f"/videos/{job_id}/results/faces.jsonl")
        try:
            with TemporaryFile() as lines:
                for block in self._requests.read_blocks(request):
                    lines.write(block)
                lines.seek(0)
                for line in lines:
                    yield json.loads(line)
        except OSError as error:
            raise UserError(
                f"Cannot store the results in a temporary file: {error.strerror}."
            ) from None

    @contextmanager
    def _finished_job(self, source: Source, query: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Upload a video, wait for its analysis, and delete the job at the end of the context."""
        try:
            with open(source.location, "rb") as file:
                upload = Request("POST", "/videos", query, file, "application/octet-stream")
                job = self._requests.read_json(upload)
        except OSError as error:
            raise UserError(f"Cannot read {source.name}: {error.strerror}.") from None
        path = f"/videos/{job['id']}"
        try:
            while job["state"] not in ("done", "failed"):
                time.sleep(POLL_SECONDS)
                job = self._requests.read_json(Request("GET", path))
            if job["state"] == "failed":
                raise UserError(job["error"])
            yield job
        finally:
            with suppress(UserError):  # the job may have expired, or the server may have stopped
                self._requests.read(Request("DELETE", path))


@contextmanager
def _pass_errors_to(on_error: ErrorCallback | None) -> Iterator[None]:
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
    end = selection.end
    if end == 0:
        end = MIN_END_SECONDS  # selects the same frame, that at 0 seconds
    elif end >= MAX_END_SECONDS:
        end = 0
    parameters = {
        "every": str(selection.every),
        "seconds": str(selection.seconds),
        "start": str(selection.start),
        "end": str(end),
        "name": Path(source.name).name,
        "to": "faces.jsonl",
    }
    if smoothing is not None:
        parameters["smooth"] = str(smoothing)
    return parameters


def _is_sent_as_images(source: Source) -> bool:
    """Return whether the frames of a file are sent as images instead of uploading it as a video.

    These are animated PNG and WebP files, which the server does not accept as videos, and animated
    AVIF files.
    """
    return source.kind == "animation" and not is_gif(source.location)
