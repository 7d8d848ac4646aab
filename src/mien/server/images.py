"""Pictures -> frame records, in a bounded pool of threads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from starlette.requests import Request

from mien.errors import UserError
from mien.io import image
from mien.results import Frame
from mien.server import request_bodies, url_fetch
from mien.server.admission import Admission, Entry
from mien.server.error_responses import Gone
from mien.server.metrics import Metrics
from mien.server.micro_batching import Analyzers
from mien.server.settings import Settings

Found = TypeVar("Found")


class Pictures:
    """What answers `POST /analyze`."""

    def __init__(self, settings: Settings, analyzers: Analyzers, metrics: Metrics) -> None:
        self._settings, self._analyzers, self._metrics = settings, analyzers, metrics
        at_once = settings.at_once()
        self.room = Admission(settings.max_waiting, settings.max_held)
        self._pool = ThreadPoolExecutor(at_once, "pictures")
        self._fetchers = ThreadPoolExecutor(4, "fetch")

    async def answer(self, request: Request, model: str, detector: str, contempt: bool) -> str:
        """The record of the one picture of a request, or the list of those of several, as JSON."""
        with self.room.entered() as entry:
            asked = await request_bodies.pictures(request, self._settings, entry)
            entry.take(asked.count())
            named = asked.pictures or [await self._fetched(url, entry) for url in asked.urls]
            work = self._pool.submit(self._records, named, model, detector, contempt)
            found = await _while_listening(request, work)
        return json.dumps(found if asked.is_list else found[0])

    async def _fetched(self, url: str, entry: Entry) -> request_bodies.Named:
        fetch = partial(url_fetch.fetch, url, self._settings.max_bytes)
        try:
            # A name may take longer to be found than everything else; nobody can hurry that.
            async with asyncio.timeout(2 * url_fetch.SECONDS):
                body = await asyncio.get_running_loop().run_in_executor(self._fetchers, fetch)
        except TimeoutError:
            raise UserError(f"{urlsplit(url).hostname} is too slow.") from None
        entry.hold(len(body))
        return request_bodies.name(url.partition("?")[0]), body

    def _records(
        self, named: Sequence[request_bodies.Named], model: str, detector: str, contempt: bool
    ) -> list[dict]:
        analyzer = self._analyzers.take(model, detector, contempt)
        frames = self._frames(named)
        with self._analyzers.classifier(model).coming():
            records = [result.to_dict() for result in analyzer.analyze_frames(frames)]
        self._metrics.pictures.inc(len(records))
        self._metrics.faces.inc(sum(len(one["faces"]) for one in records))
        return records

    def _frames(self, named: Sequence[request_bodies.Named]) -> Iterator[Frame]:
        for name, body in named:
            yield decoded(body, name, self._settings.max_pixels)

    def close(self) -> None:
        """Finish what has begun, and begin nothing more."""
        self._pool.shutdown(cancel_futures=True)
        self._fetchers.shutdown(cancel_futures=True)


def decoded(body: bytes, name: str, max_pixels: int) -> Frame:
    """A file's bytes as a frame; a `UserError` if it is no picture, or has more pixels than that.

    `mien.io.image` has a limit of its own, for one person's own machine; many share this one.
    """
    frame = image.first_frame(body, name or "The picture", max_pixels)
    return replace(frame, source=name)


async def _while_listening(request: Request, work: Future[Found]) -> Found:
    """The result of some work; if the client leaves, work that has not begun is not done."""
    done = asyncio.ensure_future(asyncio.wrap_future(work))
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((done, left), return_when=asyncio.FIRST_COMPLETED)
        if not done.done() and work.cancel():
            raise Gone
        # What has begun takes its memory until it ends, so its place is kept for as long.
        return await asyncio.shield(done)
    finally:
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
