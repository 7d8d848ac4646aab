"""A received video -> its results, without being led anywhere else by it."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from mien import writers
from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import video
from mien.io.source import Source
from mien.results import Result, Write
from mien.server.job import Job, Stopped
from mien.server.settings import Settings
from mien.visualization import timeline

FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,gif,yuv4mpegpipe,mxf,mjpeg,h264,hevc,m4v"
"""What is opened. FFmpeg knows lists of files as well, which lead it out of the job's folder."""

MOST_NOTES = 20


def watch(job: Job, analyzer: Analyzer, settings: Settings) -> None:
    """Make the results of a job from its video.

    Raises `UserError` for what is no video, or more than is let in, and `Stopped` if it is to stop.
    """
    source, wanted = Source("video", str(job.upload), job.name), job.wanted
    about = examined(source, settings.most_video_pixels)
    job.length = max(0.0, min(about.seconds, wanted.part.end) - wanted.part.start)
    give_up = time.monotonic() + settings.job_seconds

    def skip(error: UserError) -> None:
        if len(job.notes) < MOST_NOTES:
            job.notes.append(str(error))

    def is_over() -> bool:
        return job.stop.is_set() or time.monotonic() > give_up

    def look_at_the_clock() -> None:
        if job.stop.is_set():
            raise Stopped
        if is_over():
            raise UserError(f"{job.name} takes longer than this service has for a video.")

    with ExitStack() as stack:
        outputs = [(name, stack.enter_context(_sink(job, name))) for name in wanted.results]
        frames = video.frames(source, wanted.part, skip, settings.most_video_pixels, is_over)
        for result in analyzer.session(wanted.smooth).stream(frames):
            look_at_the_clock()
            for name, write in outputs:
                write(_unlinked(result) if name == "page.html" else result)
            job.seconds = result.frame.seconds - wanted.part.start
            job.frames += 1
        look_at_the_clock()


def examined(source: Source, most_pixels: int) -> video.About:
    """What a video file says of itself; a `UserError` if it is none, or more than is let in.

    It is opened as what it is alone, not as a list of other files or addresses.
    """
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    with video.opened(source, options=options):
        pass
    about = video.about(source)
    if about.width * about.height > most_pixels:
        raise UserError(
            f"{source.name} has frames of {about.width} x {about.height} pixels: too large."
        )
    if not math.isfinite(about.seconds):
        raise UserError(f"{source.name} does not say how long it is.")
    return about


def _sink(job: Job, name: str) -> AbstractContextManager[Write]:
    path = job.folder / name
    return timeline.to(path) if name == "timeline.png" else writers.to(path)


def _unlinked(result: Result) -> Result:
    """The result for a page, which would link to the video beside it; that is deleted."""
    return replace(result, frame=replace(result.frame, location=""))
