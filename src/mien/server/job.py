"""One video: what is asked of it, how far it is, what it has made."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from mien.io.frame_selection import FrameSelection
from mien.tracking.smoothing import TIME_CONSTANT

RESULTS = {
    "annotated.mp4": "video",
    "page.html": "timeline",
    "timeline.png": "chart",
    "faces.csv": "CSV",
    "faces.jsonl": "JSON lines",
}
"""The files that a job can make, each by a writer of its own, with what the page calls them."""


ENDED = ("done", "failed", "removed")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a video: by whom it is looked at, which frames, which results."""

    model: str = ""
    detector: str = ""
    contempt: bool = False
    selection: FrameSelection = field(default_factory=FrameSelection)
    smooth: float = TIME_CONSTANT
    results: tuple[str, ...] = tuple(RESULTS)

    def by(self) -> tuple[str, str, bool]:
        """Who is to look at it, as `Analyzers.take` wants it."""
        return self.model, self.detector, self.contempt


class Stopped(Exception):
    """The job was removed, or the service ends."""


@dataclass(slots=True)
class Job:
    """One video. state: "receiving", "waiting", "running", "done", "failed" or "removed"."""

    id: str
    folder: Path
    name: str
    wanted: Wanted
    until: float
    state: str = "receiving"
    seconds: float = 0.0
    length: float = 0.0
    frames: int = 0
    error: str = ""
    notes: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def upload(self) -> Path:
        """Where the video lies until it has been watched."""
        return self.folder / "upload"

    def results(self) -> list[str]:
        """The names of the files that it has made."""
        done = self.state == "done"
        return [name for name in RESULTS if done and (self.folder / name).is_file()]

    def record(self) -> dict:
        """How far it is, as a dictionary that JSON can hold."""
        share = min(self.seconds / self.length, 1.0) if self.length else 0.0
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "progress": 1.0 if self.state == "done" else share,
            "seconds": self.seconds,
            "length": self.length,
            "frames": self.frames,
            "error": self.error,
            "notes": list(self.notes),
            "results": self.results(),
            "expires_in": max(0.0, round(self.until - time.monotonic(), 1)),
        }
