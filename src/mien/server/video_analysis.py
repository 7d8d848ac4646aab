"""A received video -> its results, without being led anywhere else by it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from mien import writers
from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import video
from mien.io.source import Source
from mien.pipeline import Callbacks, Options, run
from mien.results import Result, Write
from mien.server.job import Job, Stopped
from mien.server.settings import Settings
from mien.visualization import timeline

FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,gif,yuv4mpegpipe,mxf,mjpeg,h264,hevc,m4v"
"""What is opened. FFmpeg knows lists of files as well, which lead it out of the job's folder."""

MAX_NOTES = 20


def watch(job: Job, analyzer: Analyzer, settings: Settings) -> None:
    """Make the results of a job from its video.

    Raises `UserError` for what is no video, or more than is let in, and `Stopped` if it is to stop.
    """
    source, wanted = Source("video", str(job.upload), job.name), job.wanted
    about = examined(source, settings.max_video_pixels)
    job.length = max(0.0, min(about.seconds, wanted.selection.end) - wanted.selection.start)
    timer = _Timer(job, time.monotonic() + settings.job_seconds)
    options = Options(
        selection=wanted.selection, smoothing=wanted.smooth, max_pixels=settings.max_video_pixels
    )
    callbacks = Callbacks(on_warning=partial(_note, job), should_stop=timer.should_stop)
    with ExitStack() as stack:
        outputs = [stack.enter_context(_output(job, name)) for name in wanted.results]
        run([source], analyzer, [timer.check, *outputs, partial(_count, job)], options, callbacks)
        timer.check()


@dataclass(frozen=True, slots=True)
class _Timer:
    """Whether a job is to end before its video does. deadline: by `time.monotonic()`."""

    job: Job
    deadline: float

    def should_stop(self) -> bool:
        return self.job.stop.is_set() or time.monotonic() > self.deadline

    def check(self, _: Result | None = None) -> None:
        if self.job.stop.is_set():
            raise Stopped
        if self.should_stop():
            raise UserError(f"{self.job.name} takes longer than this service has for a video.")


def _note(job: Job, error: UserError) -> None:
    if len(job.notes) < MAX_NOTES:
        job.notes.append(str(error))


def _count(job: Job, result: Result) -> None:
    job.seconds = result.frame.seconds - job.wanted.selection.start
    job.frames += 1


def examined(source: Source, max_pixels: int) -> video.VideoInfo:
    """What a video file says of itself; a `UserError` if it is none, or more than is let in.

    It is opened as what it is alone, not as a list of other files or addresses.
    """
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    with video.open_video(source, options=options):
        pass
    about = video.probe(source)
    if about.width * about.height > max_pixels:
        raise UserError(
            f"{source.name} has frames of {about.width} x {about.height} pixels: too large."
        )
    if not math.isfinite(about.seconds):
        raise UserError(f"{source.name} does not say how long it is.")
    return about


@contextmanager
def _output(job: Job, name: str) -> Iterator[Write]:
    """The writer of one of a job's results."""
    path = job.folder / name
    with (
        timeline.open_writer(path) if name == "timeline.png" else writers.open_writer(path) as write
    ):
        # A page would link to the video beside it, which is deleted.
        yield (lambda result: write(_unlinked(result))) if name == "page.html" else write


def _unlinked(result: Result) -> Result:
    return replace(result, frame=replace(result.frame, location=""))
