"""A received video -> its results, without being led anywhere else by it."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace

from mien import writers as sinks
from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import video
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
    path, wanted = str(job.upload), job.wanted
    about = examined(path, settings.most_video_pixels)
    job.length = max(0.0, min(about.seconds, wanted.part.end) - wanted.part.start)
    give_up = time.monotonic() + settings.job_seconds

    def skip(error: UserError) -> None:
        if len(job.notes) < MOST_NOTES:
            job.notes.append(str(error).replace(path, job.name))

    def is_over() -> bool:
        return job.stop.is_set() or time.monotonic() > give_up

    def look_at_the_clock() -> None:
        if job.stop.is_set():
            raise Stopped
        if is_over():
            raise UserError(f"{path} takes longer than this service has for a video.")

    with ExitStack() as stack:
        writers = [(name, stack.enter_context(_sink(job, name))) for name in wanted.results]
        frames = video.frames(path, wanted.part, skip, settings.most_video_pixels, is_over)
        for result in analyzer.follow(frames, wanted.smooth):
            look_at_the_clock()
            for name, write in writers:
                _tell(write, name, job, result)
            job.seconds = result.frame.seconds - wanted.part.start
            job.frames += 1
        look_at_the_clock()


def examined(path: str, most_pixels: int) -> video.About:
    """What a video file says of itself; a `UserError` if it is none, or more than is let in.

    It is opened as what it is alone, not as a list of other files or addresses.
    """
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    with video.opened(path, options=options):
        pass
    about = video.about(path)
    if about.width * about.height > most_pixels:
        raise UserError(f"{path} has frames of {about.width} x {about.height} pixels: too large.")
    if not math.isfinite(about.seconds):
        raise UserError(f"{path} does not say how long it is.")
    return about


def _sink(job: Job, name: str) -> AbstractContextManager[Write]:
    path = job.folder / name
    return timeline.to(path) if name == "timeline.png" else sinks.to(path)


def _tell(write: Write, name: str, job: Job, result: Result) -> None:
    """Write a result with the name that its sender knows it by; never where it lies here."""
    if name == "page.html":
        # It looks for a file of that name, to play it; here there is none.
        source = str(job.folder / "none" / job.name)
    elif name == "annotated.mp4":  # which takes the sound from the file
        source = result.frame.source
    else:
        source = job.name
    write(replace(result, frame=replace(result.frame, source=source)))
