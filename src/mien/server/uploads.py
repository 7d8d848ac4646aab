"""A video comes in, word of it goes out."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from mien.errors import UserError
from mien.server import request_bodies
from mien.server.job import ENDED, Job, Wanted
from mien.server.jobs import Jobs
from mien.server.settings import Settings

LOOK = 0.1
"""Seconds between two looks at how far a video is."""

ALIVE = 15.0
"""Seconds after which a line is sent even if nothing happened, so that nobody hangs up."""

LONGEST = 900.0
"""Seconds that a video may take to arrive."""


async def receive(
    request: Request, jobs: Jobs, asked: tuple[str, Wanted], settings: Settings
) -> Job:
    """The job of a video that has arrived and waits for its turn.

    Raises `Refused`: 408 too slow, 413 too large, 415 a wrong type, 503 too many; `UserError` for
    a form without a file, or an empty body.
    """
    what = request_bodies.kind(request)
    is_form = what == "multipart/form-data"
    if not (is_form or what in request_bodies.RAW or what.startswith("video/")):
        raise request_bodies.wrong_type(
            what, "a video (video/mp4, ...) or a form (multipart/form-data)"
        )
    job = await asyncio.to_thread(jobs.open, *asked)
    try:
        parts = request_bodies.received(request, settings.max_video_bytes, settings.slow, LONGEST)
        async with aclosing(parts) as arriving:
            if is_form:
                await _from_form(request, arriving, job)
            else:
                await _written(arriving, job)
        if not job.upload.stat().st_size:
            raise UserError("The video is empty.")
        jobs.start(job)
    except BaseException:
        await asyncio.to_thread(jobs.remove, job.id)
        raise
    return job


async def _written(parts: AsyncGenerator[bytes, None], job: Job) -> None:
    with open(job.upload, "xb") as file:
        async for part in parts:
            await asyncio.to_thread(file.write, part)


async def _from_form(request: Request, parts: AsyncGenerator[bytes, None], job: Job) -> None:
    # What arrives lies in files without a name until it has arrived.
    (file, *_) = await request_bodies.form(request.headers, parts, MultiPartParser, 1)
    job.name = request_bodies.name(file.filename or "") or job.name
    await asyncio.to_thread(_copied, file, job)


def _copied(file: UploadFile, job: Job) -> None:
    with file.file, open(job.upload, "xb") as out:
        shutil.copyfileobj(file.file, out, 2**20)


async def events(job: Job, stopping: asyncio.Event) -> AsyncIterator[str]:
    """Server-sent events: `progress` whenever something changed, `end` when all is over."""
    before, told = "", time.monotonic()
    while True:
        record = job.record()
        if stopping.is_set() and job.state not in ENDED:
            record["state"] = "removed"  # as everything is when the service ends
        over = record["state"] in ENDED
        now = json.dumps({**record, "expires_in": 0.0})
        if over:
            yield f"event: end\ndata: {json.dumps(record)}\n\n"
            return
        if now != before:
            before, told = now, time.monotonic()
            yield f"event: progress\ndata: {json.dumps(record)}\n\n"
        elif time.monotonic() - told > ALIVE:
            told = time.monotonic()
            yield ": still here\n\n"
        await asyncio.sleep(LOOK)
