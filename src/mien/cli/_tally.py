"""What a run has read: how much, and what the faces of its videos showed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mien.cli._common import terminal
from mien.io import atomic_file
from mien.results import Face, Result
from mien.tracking.summaries import Summaries


class Tally:
    """Counts frames, pictures and the faces on pictures; sums up each face of a video.

    frames: all of them. without: pictures without a face, and videos' frames.
    """

    def __init__(self) -> None:
        self.frames = self.without = 0
        self._counts: Counter[str] = Counter()
        self._videos: dict[str, Summaries] = {}

    def add(self, result: Result) -> None:
        """Take in the next result."""
        frame = result.frame
        self.count(frame.source, frame.seconds, result, is_video=frame.is_video)

    def count(self, source: str, seconds: float, faces: Sequence[Face], *, is_video: bool) -> None:
        """Take in the faces of the next frame."""
        self.frames += 1
        self.without += not faces
        if is_video:
            self._counts["frame"] += 1
            self._videos.setdefault(source, Summaries()).add(seconds, faces)
        else:
            self._counts["picture"] += 1
            self._counts["face"] += len(faces)

    def print(self) -> bool:
        """Print what the faces of each video showed; whether there was one."""
        for source, summaries in self._videos.items():
            terminal().print_summaries(source, summaries.records())
        return bool(self._videos)

    def write(self, path: Path) -> None:
        """Write what the faces of each video showed, as JSON."""
        records = {source: summaries.records() for source, summaries in self._videos.items()}
        with atomic_file.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(records, indent=1) + "\n")

    def __str__(self) -> str:
        kinds = [what for what in ("frame", "picture") if self._counts[what]]
        kinds += ["face"] if self._counts["picture"] or not self._counts["frame"] else []
        return ", ".join(self._counted(what) for what in kinds)

    def _counted(self, what: str) -> str:
        count = self._counts[what]
        return f"{count:,} {what}" + "s" * (count != 1)
