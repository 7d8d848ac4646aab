"""The summary of a run: counts of frames and faces, and a summary of each face in a video."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mien.cli._imports import terminal
from mien.io import atomic_file
from mien.results import Face, Result
from mien.tracking.summaries import Summaries


class RunSummary:
    """Counts frames, images and faces in images, and summarizes each face in a video.

    Attributes:
        frames: Number of frames, including images.
        frames_without_face: Number of frames in which no face was detected.
    """

    def __init__(self) -> None:
        self.frames = self.frames_without_face = 0
        self._counts: Counter[str] = Counter()
        self._videos: dict[str, Summaries] = {}

    def add(self, result: Result) -> None:
        """Add the next result."""
        frame = result.frame
        self.add_faces(frame.source, frame.seconds, result, is_video=frame.is_video)

    def add_faces(
        self, source: str, seconds: float, faces: Sequence[Face], *, is_video: bool
    ) -> None:
        """Add the faces of the next frame.

        Args:
            source: Name of the source.
            seconds: Time of the frame in seconds.
            faces: The faces of the frame.
            is_video: Whether faces are tracked in the source, as in videos, cameras and streams.
        """
        self.frames += 1
        self.frames_without_face += not faces
        if is_video:
            self._counts["frame"] += 1
            self._videos.setdefault(source, Summaries()).add(seconds, faces)
        else:
            self._counts["image"] += 1
            self._counts["face"] += len(faces)

    def print_videos(self) -> bool:
        """Print the summary of each video; return whether there was a video."""
        for source, summaries in self._videos.items():
            terminal().print_summaries(source, summaries.records())
        return bool(self._videos)

    def write(self, path: Path) -> None:
        """Write the summary of each video as JSON."""
        records = {source: summaries.records() for source, summaries in self._videos.items()}
        with atomic_file.atomic_write(path) as temporary:
            temporary.write_text(json.dumps(records, indent=1) + "\n")

    def __str__(self) -> str:
        """Format the counts, such as `12 images, 2 faces` or `250 frames`."""
        nouns = [noun for noun in ("frame", "image") if self._counts[noun]]
        if self._counts["image"] or not self._counts["frame"]:
            nouns.append("face")
        return ", ".join(self._format_count(noun) for noun in nouns)

    def _format_count(self, noun: str) -> str:
        count = self._counts[noun]
        return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
