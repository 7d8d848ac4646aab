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
from mien.server import request_bodies
from mien.server.admission import Admission, Reservation
from mien.server.analyzer_cache import AnalyzerCache
from mien.server.error_responses import ClientDisconnected
from mien.server.memory import MAX_JPEG_PIXELS, MAX_SMALL_BYTES, MemoryBudget, required_bytes
from mien.server.metrics import Metrics
from mien.server.settings import Settings

T = TypeVar("T")


class ImageAnalysis:
    """Implementation of `POST /analyze`.

    Attributes:
        admission: Limits of images in progress and of request bodies.
        memory: Memory for the analysis of images, which live connections share.
    """

    def __init__(self, settings: Settings, analyzers: AnalyzerCache, metrics: Metrics) -> None:
        self._settings, self._analyzers, self._metrics = settings, analyzers, metrics
        self.admission = Admission(settings.max_images_in_progress, settings.max_total_body_bytes)
        self.memory = MemoryBudget()
        self._pool = ThreadPoolExecutor(settings.worker_count(), "images")

    async def analyze(self, request: Request, model: str, detector: str, contempt: bool) -> str:
        """Analyze the images of a request.

        Args:
            request: Request whose body has the images.
            model: Name of the model; the default model if empty.
            detector: Name of the detector; the default detector if empty.
            contempt: Whether to estimate the eighth emotion, contempt, if the model has it.

        Returns:
            JSON text: the frame record of a single image, or a list if the request has a list of
            images. The entry of an image that cannot be read is
            `{"source": name, "error": message}`.

        Raises:
            RequestError: The request is not admitted, or its body is too large, arrives too slowly
                or has an unsupported type.
            UserError: The form or JSON is invalid, no image can be read, or the model or detector
                is unknown.
            ClientDisconnected: The client closed the connection.
        """
        with self.admission.admit() as reservation:
            image_request = await request_bodies.read_images(request, self._settings, reservation)
            images = image_request.images
            reservation.add_images(len(images))
            entries = await self._analyze_when_memory_is_available(
                request, reservation, images, model, detector, contempt
            )
        return json.dumps(entries if image_request.is_list else entries[0])

    async def _analyze_when_memory_is_available(
        self,
        request: Request,
        reservation: Reservation,
        images: list[request_bodies.NamedImage],
        *analyzer_key: Any,
    ) -> list[dict]:
        """Analyze images as soon as enough memory is available.

        The images are analyzed one after another, so the memory for the largest one is enough.
        """
        memory_bytes = await asyncio.to_thread(self._estimate_memory, images)
        # An image counts once for each `MAX_SMALL_BYTES` of memory that it requires.
        reservation.extend_images(sum(math.ceil(count / MAX_SMALL_BYTES) for count in memory_bytes))
        disconnected = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            async with self.memory.reserve(max(memory_bytes), disconnected):
                future = self._pool.submit(self._analyze, images, *analyzer_key)
                entries = await _result_unless_disconnected(future, disconnected)
            if max(memory_bytes) > MAX_SMALL_BYTES:
                await asyncio.to_thread(return_memory)
            return entries
        finally:
            disconnected.cancel()

    def _estimate_memory(self, images: list[request_bodies.NamedImage]) -> list[int]:
        """Return the bytes of memory that the analysis of each image requires.

        An image that is not accepted requires none, and is replaced in `images` with its error.
        """
        memory_bytes = [0] * len(images)
        for number, (name, body) in enumerate(images):
            if not isinstance(body, UserError):
                try:
                    label = request_bodies.image_label(name, number, len(images))
                    memory_bytes[number] = required_bytes(body, label)
                except UserError as error:
                    images[number] = name, error
        return memory_bytes

    def _analyze(
        self, images: Sequence[request_bodies.NamedImage], model: str, detector: str, contempt: bool
    ) -> list[dict]:
        analyzer = self._analyzers.get(model, detector, contempt)
        with self._analyzers.classifier(model).announce_request():
            outcomes = [
                self._analyze_image(
                    analyzer, name, body, request_bodies.image_label(name, number, len(images))
                )
                for number, (name, body) in enumerate(images)
            ]
        errors = [outcome for outcome in outcomes if isinstance(outcome, UserError)]
        if len(errors) == len(outcomes):
            raise _error_of_all_images(errors)
        return [
            {"source": name, "error": str(outcome)} if isinstance(outcome, UserError) else outcome
            for (name, _), outcome in zip(images, outcomes, strict=True)
        ]

    def _analyze_image(
        self, analyzer: Analyzer, name: str, body: bytes | UserError, label: str
    ) -> dict | UserError:
        """Return the frame record of one image, or the error if the image cannot be read."""
        if isinstance(body, UserError):
            return body
        try:
            frame = image.first_frame(
                body, label, self._settings.max_image_pixels, reduce_above=MAX_JPEG_PIXELS
            )
        except UserError as error:
            return error
        (result,) = analyzer.analyze_frames([replace(frame, source=name)])
        self._metrics.images.inc()
        self._metrics.faces.inc(len(result))
        return result.to_dict()

    def close(self) -> None:
        """Cancel the queued requests; do not wait for those that are being analyzed."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _error_of_all_images(errors: Sequence[UserError]) -> UserError:
    """Return the error of a request in which no image can be read."""
    if len(errors) == 1:
        return errors[0]
    return UserError(
        f"None of the {len(errors)} images can be read; the error of the first image: {errors[0]}"
    )


async def _result_unless_disconnected(future: Future[T], disconnected: asyncio.Future) -> T:
    """Return the result of a future; cancel the future if the client disconnects before it runs."""
    result = asyncio.ensure_future(asyncio.wrap_future(future))
    await asyncio.wait((result, disconnected), return_when=asyncio.FIRST_COMPLETED)
    if not result.done() and future.cancel():
        raise ClientDisconnected
    # A running analysis cannot be cancelled; keep the reserved memory until it ends.
    return await asyncio.shield(result)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
