"""Receive videos and send the progress of their analysis."""

from __future__ import annotations

import asyncio
import ipaddress
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
from mien.server.job import FINAL_STATES, Job, JobOptions
from mien.server.job_manager import JobManager
from mien.server.settings import Settings

PROGRESS_CHECK_SECONDS = 0.1
"""Interval between two checks of a job's progress."""

KEEP_ALIVE_COMMENT_SECONDS = 15.0
"""Time without an event after which a comment is sent, so that proxies keep the connection open."""


async def receive_video(
    request: Request, jobs: JobManager, name: str, options: JobOptions, settings: Settings
) -> Job:
    """Receive a video and queue its analysis.

    Args:
        request: Request whose body is the video, or a form with the video.
        jobs: Job manager that stores and analyzes the video.
        name: File name of the video, unless the form has one; may be empty.
        options: Options for the analysis.
        settings: Settings with the limits of uploads.

    Returns:
        The queued job.

    Raises:
        RequestError: 408 if the video arrives too slowly, 413 if it is too large, 415 if its type
            is not supported, 503 if the server has too many jobs or too little disk space, or if
            the upload is slow and another one needs its place.
        UserError: The form is invalid or does not have one file, the video is empty, or the model
            or detector is unknown.
        ClientDisconnected: The client closed the connection.
    """
    media_type = request_bodies.content_type(request)
    is_form = media_type == "multipart/form-data"
    is_binary = media_type in request_bodies.BINARY_MEDIA_TYPES or media_type.startswith("video/")
    if not (is_form or is_binary):
        raise request_bodies.unsupported_type_error(
            media_type, "a video (video/mp4, ...) or a form (multipart/form-data)"
        )
    job = await asyncio.to_thread(jobs.create, name, options, _client_address(request))
    try:
        body = request_bodies.stream_body(request, settings.max_video_bytes, settings)
        parts = _measured_parts(body, job)
        async with aclosing(parts):
            if is_form:
                await _receive_form(request, parts, job)
            else:
                await _write_parts(parts, job)
        if not job.upload_path.stat().st_size:
            raise UserError("The video is empty; send a video file.")
        jobs.queue(job)
    except BaseException as error:
        was_evicted = job.stop_event.is_set()  # its folder no longer exists
        await asyncio.to_thread(jobs.delete, job.id)
        if was_evicted and isinstance(error, FileNotFoundError):
            raise request_bodies.evicted_upload_error() from None
        raise
    return job


async def progress_events(job: Job, shutdown_event: asyncio.Event) -> AsyncIterator[str]:
    """Yield server-sent events about a job, and keep-alive comments in long pauses.

    `progress` is yielded at once and after each change until the job ends, then `end`. If the job
    has already ended, the only event is `end`.

    Args:
        job: Job whose record is the data of each event.
        shutdown_event: Event that is set when the server shuts down, which deletes the job.
    """
    last_content, last_sent_at = "", time.monotonic()
    while True:
        record = job.record()
        if shutdown_event.is_set() and job.state not in FINAL_STATES:
            record["state"] = "deleted"
        if record["state"] in FINAL_STATES:
            yield f"event: end\ndata: {json.dumps(record)}\n\n"
            return
        content = json.dumps({**record, "expires_in_seconds": 0.0})  # expiry is not progress
        if content != last_content:
            last_content, last_sent_at = content, time.monotonic()
            yield f"event: progress\ndata: {json.dumps(record)}\n\n"
        elif time.monotonic() - last_sent_at > KEEP_ALIVE_COMMENT_SECONDS:
            last_sent_at = time.monotonic()
            yield ": keep-alive\n\n"
        await asyncio.sleep(PROGRESS_CHECK_SECONDS)


def _client_address(request: Request) -> str:
    """Return the IP address of the client; for IPv6, its /64 network.

    One client can use all addresses of such a network.
    """
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and not address.ipv4_mapped:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


async def _measured_parts(
    body: AsyncGenerator[bytes, None], job: Job
) -> AsyncGenerator[bytes, None]:
    """Yield the parts of a body, and update the upload speed of its job.

    Raises:
        RequestError: 503 if the job has been deleted to make room for another one.
    """
    async with aclosing(body):
        async for part in body:
            if job.stop_event.is_set():
                raise request_bodies.evicted_upload_error()
            job.upload_speed.add(len(part))
            yield part


async def _write_parts(parts: AsyncGenerator[bytes, None], job: Job) -> None:
    with open(job.upload_path, "xb") as file:
        async for part in parts:
            await asyncio.to_thread(file.write, part)


async def _receive_form(request: Request, parts: AsyncGenerator[bytes, None], job: Job) -> None:
    # While the file arrives, Starlette stores it in an unnamed temporary file.
    (file,) = await request_bodies.parse_form(request.headers, parts, MultiPartParser, max_files=1)
    job.name = request_bodies.clean_file_name(file.filename or "") or job.name
    await asyncio.to_thread(_copy_upload, file, job)


def _copy_upload(file: UploadFile, job: Job) -> None:
    with file.file, open(job.upload_path, "xb") as output:
        shutil.copyfileobj(file.file, output, 2**20)
