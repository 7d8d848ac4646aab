"""A bar on standard error while frames are read, if that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mien.cli._common import terminal
from mien.io import video
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.results import Frame


class ProgressBar:
    """Passes on the frames of one source after the other: `pipeline.Callbacks.track_progress`.

    Args:
        sources: all that are to be read; a single image gets no bar.
        selection: of the videos.
    """

    def __init__(self, sources: Sequence[Source], selection: FrameSelection) -> None:
        self._images, self._read = sum(not source.is_video for source in sources), 0
        self._selection = selection
        self._shown = ExitStack()
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def __call__(self, source: Source, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The same frames, under a bar that goes by images, or by the time of a video."""
        if source.is_live or not sys.stderr.isatty():
            return frames
        return self._timed(source, frames) if source.is_video else self._counted(frames)

    def _counted(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        if self._bar is None and self._images > 1:
            bar = terminal().progress("analyzing", self._images)
            self._bar = self._shown.enter_context(bar)
        try:
            yield from frames
        finally:
            self._read += 1
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._read)

    def _timed(self, source: Source, frames: Iterator[Frame]) -> Iterator[Frame]:
        self._shown.close()  # a terminal has room for one
        self._bar = None
        name, start = Path(source.name).name, self._selection.start
        length = min(video.probe(source).seconds, self._selection.end) - start
        began = time.monotonic()
        with terminal().progress(name, max(round(length), 1)) as bar:
            for count, frame in enumerate(frames, 1):
                rate = count / max(time.monotonic() - began, 1e-3)
                title = f"{name}, {rate:.0f} frames a second"
                bar.update(
                    bar.task_ids[0], completed=round(frame.seconds - start), description=title
                )
                yield frame
