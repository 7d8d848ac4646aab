"""Analyze the images of requests in a bounded thread pool."""

from __future__ import annotations

import asyncio
import json
import math
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
from mien.server.admission import Admission, Reservation
from mien.server.error_responses import ClientDisconnected
from mien.server.memory import MAX_JPEG_PIXELS, MAX_SMALL_BYTES, MemoryBudget, required_bytes
from mien.server.metrics import Metrics
from mien.server.micro_batching import AnalyzerCache
from mien.server.settings import Settings

T = TypeVar("T")


class ImageAnalysis:
    """Implementation of `POST /analyze`."""

    def __init__(self, settings: Settings, analyzers: AnalyzerCache, metrics: Metrics) -> None:
        self._settings, self._analyzers, self._metrics = settings, analyzers, metrics
        self.admission = Admission(settings.max_images_in_progress, settings.max_total_body_bytes)
        self.memory = MemoryBudget()
        self._pool = ThreadPoolExecutor(settings.worker_count(), "images")

    async def analyze(self, request: Request, model: str, detector: str, contempt: bool) -> str:
        """Analyze the images of a request.

        Returns:
            JSON: the frame record of a single image, or a list if the request has a list of images.
            In the list, an image that cannot be read has `{"source": name, "error": sentence}`.

        Raises:
            RequestError: The request is not admitted, or its body is invalid.
            UserError: No image can be read, or the model or detector is unknown.
            ClientDisconnected: The client closed the connection.
        """
        with self.admission.admit() as reservation:
            image_request = await request_bodies.read_images(request, self._settings, reservation)
            images = image_request.images
            reservation.add_images(len(images))
            items = await self._analyze_when_memory_is_available(
                request, reservation, images, model, detector, contempt
            )
        return json.dumps(items if image_request.is_list else items[0])

    async def _analyze_when_memory_is_available(
        self,
        request: Request,
        reservation: Reservation,
        images: list[request_bodies.NamedImage],
        *analyzer_key: Any,
    ) -> list[dict]:
        """Analyze images as soon as enough memory is available for the largest one."""
        required = await asyncio.to_thread(self._check_sizes, images)
        reservation.extend_images(sum(math.ceil(count / MAX_SMALL_BYTES) for count in required))
        disconnected = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            async with self.memory.reserve(max(required), disconnected):
                future = self._pool.submit(self._analyze, images, *analyzer_key)
                items = await _result_unless_disconnected(future, disconnected)
            if max(required) > MAX_SMALL_BYTES:
                await asyncio.to_thread(return_memory)
            return items
        finally:
            disconnected.cancel()

    def _check_sizes(self, images: list[request_bodies.NamedImage]) -> list[int]:
        """Return the memory that each image requires; replace unacceptable images by errors."""
        required = [0] * len(images)
        for number, (name, body) in enumerate(images):
            if not isinstance(body, UserError):
                try:
                    label = name or (f"image {number}" if len(images) > 1 else "the image")
                    required[number] = required_bytes(body, label)
                except UserError as error:
                    images[number] = name, error
        return required

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
        """Return the frame record of one image, or the error if the image cannot be read."""
        try:
            if isinstance(body, UserError):
                raise body
            frame = decode_image(body, name, self._settings.max_image_pixels)
        except UserError as error:
            return error
        (result,) = analyzer.analyze_frames([frame])
        self._metrics.images.inc()
        self._metrics.faces.inc(len(result))
        return result.to_dict()

    def close(self) -> None:
        """Cancel the queued requests; do not wait for those that are being analyzed."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def decode_image(body: bytes, name: str, max_pixels: int) -> Frame:
    """Decode an image file.

    `max_pixels` is lower than the limit of `mien.io.image`, because many clients share the machine.

    Args:
        body: Content of the file.
        name: Source of the frame, also used in errors; may be empty.
        max_pixels: Maximum of width times height.

    Raises:
        UserError: The image cannot be decoded or has more than `max_pixels` pixels.
    """
    frame = image.first_frame(body, name or "the image", max_pixels, MAX_JPEG_PIXELS)
    return replace(frame, source=name)


def _common_error(errors: Sequence[UserError]) -> UserError:
    """Return the error of a request in which no image can be read."""
    if len(errors) == 1:
        return errors[0]
    return UserError(
        f"None of the {len(errors)} images can be read; the error of the first image: {errors[0]}"
    )


async def _result_unless_disconnected(future: Future[T], disconnected: asyncio.Future) -> T:
    """Return the result of a future; cancel it if the client disconnects while it is queued."""
    result = asyncio.ensure_future(asyncio.wrap_future(future))
    await asyncio.wait((result, disconnected), return_when=asyncio.FIRST_COMPLETED)
    if not result.done() and future.cancel():
        raise ClientDisconnected
    # A running analysis needs its memory until it ends, so the reservation is held until then.
    return await asyncio.shield(result)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
