"""Image analysis: request bodies to frame records, in a bounded thread pool."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from starlette.requests import Request

from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import image
from mien.onnx_runtime import return_memory
from mien.results import Frame
from mien.server import request_bodies
from mien.server.admission import Admission, Ticket
from mien.server.error_responses import ClientDisconnected
from mien.server.memory import MAX_SMALL_BYTES, MemoryBudget, required_bytes
from mien.server.metrics import Metrics
from mien.server.micro_batching import AnalyzerCache
from mien.server.settings import Settings

T = TypeVar("T")


class ImageAnalysis:
    """Implements `POST /analyze`."""

    def __init__(self, settings: Settings, analyzers: AnalyzerCache, metrics: Metrics) -> None:
        self._settings, self._analyzers, self._metrics = settings, analyzers, metrics
        self.admission = Admission(settings.max_pending_images, settings.max_total_body_bytes)
        self.memory = MemoryBudget()
        self._pool = ThreadPoolExecutor(settings.worker_count(), "images")

    async def analyze(self, request: Request, model: str, detector: str, contempt: bool) -> str:
        """Analyze the images of a request.

        Returns:
            JSON: the record of a single image, or a list if the request has one, in which an image
            that cannot be read is `{"source": name, "error": sentence}`.

        Raises:
            RequestError: the request is not admitted, or its body is invalid.
            UserError: no image can be read, or the model or detector is unknown.
            ClientDisconnected: the client left.
        """
        with self.admission.admit() as ticket:
            image_request = await request_bodies.read_images(request, self._settings, ticket)
            images = image_request.images
            ticket.reserve_images(len(images))
            items = await self._analyze_in_turn(request, ticket, images, model, detector, contempt)
        return json.dumps(items if image_request.is_list else items[0])

    async def _analyze_in_turn(
        self,
        request: Request,
        ticket: Ticket,
        images: list[request_bodies.NamedImage],
        *analyzer_key: Any,
    ) -> list[dict]:
        """Analyze images as soon as there is memory for the largest of them."""
        needed = await asyncio.to_thread(self._check_sizes, images)
        ticket.weigh(sum(-(-count // MAX_SMALL_BYTES) for count in needed))
        disconnected = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            async with self.memory.reserve(max(needed), disconnected):
                work = self._pool.submit(self._analyze, images, *analyzer_key)
                items = await _result_unless_disconnected(work, disconnected)
            if max(needed) > MAX_SMALL_BYTES:
                await asyncio.to_thread(return_memory)
            return items
        finally:
            disconnected.cancel()

    def _check_sizes(self, images: list[request_bodies.NamedImage]) -> list[int]:
        """The memory that each image needs; puts an error in the place of an unacceptable one."""
        needed = [0] * len(images)
        for number, (name, body) in enumerate(images):
            if not isinstance(body, UserError):
                try:
                    label = name or (f"image {number}" if len(images) > 1 else "the image")
                    needed[number] = required_bytes(body, label)
                except UserError as error:
                    images[number] = name, error
        return needed

    def _analyze(
        self, images: Sequence[request_bodies.NamedImage], model: str, detector: str, contempt: bool
    ) -> list[dict]:
        analyzer = self._analyzers.get(model, detector, contempt)
        with self._analyzers.classifier(model).announce_request():
            items = [self._analyze_image(analyzer, name, body) for name, body in images]
        errors = [item for item in items if isinstance(item, UserError)]
        if len(errors) == len(items):
            raise _common_error(errors)
        return [
            {"source": name, "error": str(item)} if isinstance(item, UserError) else item
            for (name, _), item in zip(images, items, strict=True)
        ]

    def _analyze_image(
        self, analyzer: Analyzer, name: str, body: bytes | UserError
    ) -> dict | UserError:
        """The record of one image, which is not held beyond that, or the reason for none."""
        try:
            if isinstance(body, UserError):
                raise body
            frame = decode_image(body, name, self._settings.max_pixels)
        except UserError as error:
            return error
        (result,) = analyzer.analyze_frames([frame])
        self._metrics.images.inc()
        self._metrics.faces.inc(len(result))
        return result.to_dict()

    def close(self) -> None:
        """Finish the requests in progress and cancel those that wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def decode_image(body: bytes, name: str, max_pixels: int) -> Frame:
    """Decode an image file.

    The limit is lower than that of `mien.io.image`, because many clients share this machine.

    Args:
        body: the content of the file.
        name: the source of the frame, also used in errors; may be empty.
        max_pixels: width times height that is accepted.

    Raises:
        UserError: it cannot be decoded, or has more pixels.
    """
    frame = image.first_frame(body, name or "the image", max_pixels)
    return replace(frame, source=name)


def _common_error(errors: Sequence[UserError]) -> UserError:
    """The error of a request of which no image can be read."""
    if len(errors) == 1:
        return errors[0]
    return UserError(f"None of the {len(errors)} images can be read; the first: {errors[0]}")


async def _result_unless_disconnected(work: Future[T], disconnected: asyncio.Future) -> T:
    """The result of `work`; cancels work that has not begun when the client disconnects."""
    done = asyncio.ensure_future(asyncio.wrap_future(work))
    await asyncio.wait((done, disconnected), return_when=asyncio.FIRST_COMPLETED)
    if not done.done() and work.cancel():
        raise ClientDisconnected
    # Running work occupies memory until it ends, so its ticket is held until then.
    return await asyncio.shield(done)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
