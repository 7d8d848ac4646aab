"""A video job: its options, state, progress and result files."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from mien.io.frame_selection import FrameSelection
from mien.tracking.smoothing import TIME_CONSTANT

RESULTS = {
    "annotated.mp4": "annotated video",
    "page.html": "timeline (HTML)",
    "timeline.png": "timeline (PNG)",
    "faces.csv": "CSV",
    "faces.jsonl": "JSON Lines",
}
"""The result files that a job can write, and their labels on the page."""

FINAL_STATES = ("done", "failed", "deleted")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How a video is analyzed: model and detector, selected frames, result files.

    Args:
        model: a model name; the service's default if empty.
        detector: a detector name; the service's default if empty.
        contempt: keep the eighth emotion.
        selection: the frames to analyze.
        smoothing: time constant in seconds; 0 disables smoothing.
        results: names from `RESULTS`.
    """

    model: str = ""
    detector: str = ""
    contempt: bool = False
    selection: FrameSelection = field(default_factory=FrameSelection)
    smoothing: float = TIME_CONSTANT
    results: tuple[str, ...] = tuple(RESULTS)

    def analyzer_key(self) -> tuple[str, str, bool]:
        """The arguments of `AnalyzerCache.get`."""
        return self.model, self.detector, self.contempt


class JobCancelled(Exception):
    """The job was deleted, or the service is shutting down."""


@dataclass(slots=True)
class Job:
    """One video.

    Args:
        id: random and unguessable; serves as the access key.
        folder: private folder for the upload and the results.
        name: the file name of the video, for people.
        options: how it is analyzed.
        expires_at: when it may be deleted, by `time.monotonic()`.
        state: "receiving", "waiting", "running", "done", "failed" or "deleted".
        position_seconds: how much of the selected part has been analyzed.
        duration_seconds: length of the selected part; 0 while unknown.
        frames: number of analyzed frames.
        error: one sentence if it failed.
        warnings: one sentence per problem that did not stop it.
        stop: set to cancel it.
    """

    id: str
    folder: Path
    name: str
    options: JobOptions
    expires_at: float
    state: str = "receiving"
    position_seconds: float = 0.0
    duration_seconds: float = 0.0
    frames: int = 0
    error: str = ""
    warnings: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def upload_path(self) -> Path:
        """The uploaded video, which is deleted after the analysis."""
        return self.folder / "upload"

    def results(self) -> list[str]:
        """The names of the result files; empty unless the job is done."""
        if self.state != "done":
            return []
        return [name for name in RESULTS if (self.folder / name).is_file()]

    def record(self) -> dict:
        """The job as a JSON-serializable dictionary: see `schemas.Job`."""
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
            "results": self.results(),
            "expires_in_seconds": max(0.0, round(self.expires_at - time.monotonic(), 1)),
        }
