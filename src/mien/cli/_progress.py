"""Progress bars of reading frames, on standard error if it is a terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mien.cli._imports import terminal
from mien.io import video
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.printable import printable
from mien.results import Frame


class ProgressBar:
    """Shows the progress of each source; use it as `pipeline.Callbacks.track_progress`.

    Args:
        sources: All sources of the run. Images share a bar; a single image has none.
        selection: The frames of videos that are read.
    """

    def __init__(self, sources: Sequence[Source], selection: FrameSelection) -> None:
        self._image_count, self._images_read = sum(not source.is_video for source in sources), 0
        self._selection = selection
        self._stack = ExitStack()
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, source: Source, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Return the same frames; reading them updates the number of images or seconds read."""
        # Animations have no bar: they are short, and their length is unknown.
        if source.is_live or source.kind == "animation" or not sys.stderr.isatty():
            return frames
        return self._by_time(source, frames) if source.is_video else self._by_image(frames)

    def _by_image(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        if self._bar is None and self._image_count > 1:
            bar = terminal().progress("analyzing", self._image_count)
            self._bar = self._stack.enter_context(bar)
        try:
            yield from frames
        finally:
            self._images_read += 1
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._images_read)

    def _by_time(self, source: Source, frames: Iterator[Frame]) -> Iterator[Frame]:
        self._stack.close()  # close the bar of images: a terminal can show only one
        self._bar = None
        name, start = printable(Path(source.name).name), self._selection.start
        started = time.monotonic()
        with terminal().progress(name, selected_seconds(source, self._selection)) as bar:
            for number, frame in enumerate(frames, 1):
                speed = number / max(time.monotonic() - started, 1e-3)
                title = f"{name}, {speed:.0f} frames per second"
                bar.update(
                    bar.task_ids[0], completed=round(frame.seconds - start), description=title
                )
                yield frame


def selected_seconds(source: Source, selection: FrameSelection) -> int | None:
    """Return the length of the selected part of a video in seconds, at least 1; None if unknown."""
    seconds = video.probe(source).seconds or math.inf  # 0: the header does not state it
    end = min(seconds, selection.end)
    return max(round(end - selection.start), 1) if end < math.inf else None
