"""A video job: options, state, progress and result files."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from mien.io.frame_selection import FrameSelection
from mien.server.request_bodies import UploadSpeed
from mien.tracking.smoothing import TIME_CONSTANT

RESULT_FILES = {
    "annotated.mp4": "annotated video",
    "page.html": "timeline (HTML)",
    "timeline.png": "timeline (PNG)",
    "faces.csv": "CSV",
    "faces.jsonl": "JSON Lines",
}
"""Names of the result files that a job can write, and their descriptions on the web page."""

FINAL_STATES = ("done", "failed", "deleted")
"""States of a job that has ended or was deleted."""


@dataclass(frozen=True, slots=True)
class JobOptions:
    """Options for the analysis of a video.

    Args:
        model: Name of the model; the server's default if empty.
        detector: Name of the detector; the server's default if empty.
        contempt: Whether to estimate the eighth emotion, contempt, if the model has it.
        selection: Frames to analyze.
        smoothing: Time constant of smoothing in seconds; 0 disables smoothing.
        result_files: Names of the result files to write, from `RESULT_FILES`.
    """

    model: str = ""
    detector: str = ""
    contempt: bool = False
    selection: FrameSelection = field(default_factory=FrameSelection)
    smoothing: float = TIME_CONSTANT
    result_files: tuple[str, ...] = tuple(RESULT_FILES)

    def analyzer_key(self) -> tuple[str, str, bool]:
        """Return the arguments of `AnalyzerCache.get`."""
        return self.model, self.detector, self.contempt


class JobCancelled(Exception):
    """Raised in the analysis when the job was deleted or the server is shutting down."""


@dataclass(slots=True)
class Job:
    """The analysis of one video.

    Args:
        id: Random identifier; whoever knows it has access to the job.
        folder: Private folder for the upload and the result files.
        name: File name of the video, used in messages.
        options: Options for the analysis.
        expires_at: Time, by `time.monotonic()`, after which the job is deleted if it has ended; set
            again when the analysis ends.
        state: "receiving", "queued", "running", "done", "failed" or "deleted".
        client: IP address of the client; for IPv6, its /64 network.
        upload_speed: Speed of the upload, updated while the video is received.
        position_seconds: Seconds from the start of the selection to the last analyzed frame.
        duration_seconds: Duration of the selection; 0 while unknown.
        frames: Number of analyzed frames.
        error: If the job failed, what is wrong and what to do; otherwise empty.
        warnings: One message for each problem that did not end the analysis.
        stop_event: Event that cancels the job when it is set.
    """

    id: str
    folder: Path
    name: str
    options: JobOptions
    expires_at: float
    state: str = "receiving"
    client: str = ""
    upload_speed: UploadSpeed = field(default_factory=UploadSpeed)
    position_seconds: float = 0.0
    duration_seconds: float = 0.0
    frames: int = 0
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    stop_event: threading.Event = field(default_factory=threading.Event)

    @property
    def upload_path(self) -> Path:
        """Path of the uploaded video, which is deleted after the analysis."""
        return self.folder / "upload"

    def result_files(self) -> list[str]:
        """Return the names of the written result files; none before the job is done."""
        if self.state != "done":
            return []
        return [name for name in RESULT_FILES if (self.folder / name).is_file()]

    def record(self) -> dict:
        """Return the job as a JSON-serializable dictionary; see `schemas.Job`."""
        duration = self.duration_seconds
        progress = min(self.position_seconds / duration, 1.0) if duration else 0.0
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "progress": 1.0 if self.state == "done" else progress,
            "position_seconds": self.position_seconds,
            "duration_seconds": duration,
            "frames": self.frames,
            "error": self.error,
            "warnings": list(self.warnings),
            "result_files": self.result_files(),
            "expires_in_seconds": max(0.0, round(self.expires_at - time.monotonic(), 1)),
        }
