"""Analyze an uploaded video. It is untrusted and must not make FFmpeg open other files."""

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
from mien.io.container import open_video
from mien.io.source import Source
from mien.pipeline import Callbacks, Options, run
from mien.results import Result, ResultWriter
from mien.server.job import Job, JobCancelled
from mien.server.settings import Settings
from mien.visualization import timeline

ALLOWED_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,gif,yuv4mpegpipe,mxf,mjpeg,h264,hevc,m4v"
)
"""FFmpeg demuxers that open a single file; playlists could open files outside the job's folder."""

MAX_WARNINGS = 20
"""Maximum number of warnings of a job; further ones are dropped."""


def analyze_video(job: Job, analyzer: Analyzer, settings: Settings) -> None:
    """Analyze the upload of a job, write the result files, and update the progress.

    Raises:
        UserError: The upload is not a video, exceeds a limit, or takes too long to analyze.
        JobCancelled: The job was cancelled.
    """
    source, options = Source("video", str(job.upload_path), job.name), job.options
    info = check_video(source, settings.max_video_pixels)
    selection = options.selection
    job.duration_seconds = max(0.0, min(info.seconds, selection.end) - selection.start)
    deadline = _Deadline(job, time.monotonic() + settings.job_lifetime_seconds)
    run_options = Options(
        selection=selection, smoothing=options.smoothing, max_pixels=settings.max_video_pixels
    )
    callbacks = Callbacks(on_warning=partial(_add_warning, job), should_stop=deadline.should_stop)
    with ExitStack() as stack:
        # Each result is passed to all outputs in order: it is written only before the deadline, and
        # counted as progress once it is in all files.
        outputs: list[ResultWriter] = [deadline.check]
        outputs += [stack.enter_context(_open_writer(job, name)) for name in options.result_files]
        outputs.append(partial(_update_progress, job))
        run([source], analyzer, outputs, run_options, callbacks)
        deadline.check()


def check_video(source: Source, max_pixels: int) -> video.VideoInfo:
    """Check an uploaded video and return its size and duration.

    Only allowed formats and protocols are opened, so that playlists are rejected.

    Raises:
        UserError: The upload is not a video, its frames are too large, or its duration is unknown.
    """
    options = {"format_whitelist": ALLOWED_FORMATS, "protocol_whitelist": "file"}
    # `video.probe` and the analysis open the file again without these options. That is safe:
    # FFmpeg detects the same format again, because it compares it with the list only afterwards.
    with open_video(source, options=options):
        pass
    info = video.probe(source)
    if info.width * info.height > max_pixels:
        raise UserError(
            f"{source.name} has frames of {info.width} x {info.height} pixels; "
            f"this server accepts at most {max_pixels / 1e6:.1f} million pixels. Send a smaller "
            "version; with ffmpeg: -vf scale=-2:1080."
        )
    if not math.isfinite(info.seconds):
        raise UserError(
            f"{source.name} has an unknown duration; save it again, as MP4 for example."
        )
    return info


@dataclass(frozen=True, slots=True)
class _Deadline:
    """Ends the analysis when the job is cancelled or its time is over.

    Args:
        job: Job that may be cancelled.
        ends_at: Time by `time.monotonic()` at which the analysis must end.
    """

    job: Job
    ends_at: float

    def should_stop(self) -> bool:
        return self.job.stop_event.is_set() or time.monotonic() > self.ends_at

    def check(self, _: Result | None = None) -> None:
        if self.job.stop_event.is_set():
            raise JobCancelled
        if time.monotonic() > self.ends_at:
            raise UserError(
                f"{self.job.name} takes too long to analyze; send a shorter part of it."
            )


def _add_warning(job: Job, warning: UserError) -> None:
    if len(job.warnings) < MAX_WARNINGS:
        job.warnings.append(str(warning))


def _update_progress(job: Job, result: Result) -> None:
    job.position_seconds = result.frame.seconds - job.options.selection.start
    job.frames += 1


@contextmanager
def _open_writer(job: Job, name: str) -> Iterator[ResultWriter]:
    # `writers.open_writer` would write an annotated image, because of the suffix.
    open_writer = timeline.open_writer if name == "timeline.png" else writers.open_writer
    with open_writer(job.folder / name) as write:
        if name == "page.html":
            # Otherwise, the HTML timeline would link to the upload, which is deleted.
            yield lambda result: write(_without_location(result))
        else:
            yield write


def _without_location(result: Result) -> Result:
    return replace(result, frame=replace(result.frame, location=""))
