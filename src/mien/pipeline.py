"""Sources, and what is left of them to do -> frames with their faces."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import reader, video
from mien.io.source import Source
from mien.results import Frame, Result
from mien.tracking import bidirectional
from mien.tracking.checkpoint import Checkpoint, UnfinishedVideo

Skip = Callable[[UserError], None]

Found = Iterator[Result]

Each = TypeVar("Each")


def find(inputs: Iterable[str], skip: Skip) -> list[Source]:
    """Every source that these mean; what is none is told to `skip`.

    A video is read once, however often it is named: its faces are told by its name.
    """
    found: list[Source] = []
    for text in inputs:
        try:
            found += Source.expand(text)
        except UserError as error:
            skip(error)
    once = dict.fromkeys(found)
    return [source for source in found if not source.is_video or once.pop(source, 0) is None]


def _progress(title: str, total: int):  # type: ignore[no-untyped-def]
    from mien.visualization import terminal  # rich takes a tenth of a second to import

    return terminal.progress(title, total)


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    part: of each video. smooth: time constant in seconds. checkpoint: what an earlier run has done.
    skip: is told of each file that cannot be read; the others are.
    """

    analyzer: Analyzer
    part: video.Part
    smooth: float
    two_pass: bool
    checkpoint: Checkpoint
    skip: Skip

    def faces(self, sources: Iterable[Source]) -> Generator[Result, None, None]:
        """All frames with their faces: images together, videos one by one."""
        to_do = (source for source in sources if source.name not in self.checkpoint.done)
        for is_video, some in groupby(to_do, attrgetter("is_video")):
            if is_video:
                for source in some:
                    yield from self._video(source)
            else:
                yield from self.analyzer.frames(self._images(list(some)))

    def _video(self, source: Source) -> Found:
        unfinished = self.checkpoint.unfinished
        if unfinished and unfinished.name != source.name:
            unfinished = None
        try:
            found = self._followed(source, unfinished)
            if not source.is_live:
                found = self._timed(source, found, attrgetter("frame"))
                if self.two_pass:
                    found = self._twice(source, found)
            yield from found
        except UserError as error:
            if unfinished:  # what was found of it stays to be gone on with
                raise
            self.skip(error)

    def _followed(self, source: Source, unfinished: UnfinishedVideo | None) -> Found:
        """The results of a video, or of the rest of one."""
        session = self.analyzer.session(self.smooth)
        part = unfinished.part(self.part) if unfinished else self.part
        frames = reader.frames(source, part, self.skip)
        if unfinished:
            unfinished.replay(session, frames)
        yield from session.stream(frames)

    def _twice(self, source: Source, found: Found) -> Found:
        """The same, watched again when all is known; damage was told the first time."""
        again = reader.frames(source, self.part, lambda _: None)
        return bidirectional.watched(
            found, self._timed(source, again, lambda frame: frame), self.smooth
        )

    def _timed(
        self, source: Source, found: Iterator[Each], frame: Callable[[Each], Frame]
    ) -> Iterator[Each]:
        """The same, under a bar that goes by the video's own time if somebody looks."""
        if not sys.stderr.isatty():
            yield from found
            return
        name, start = Path(source.name).name, self.part.start
        length = min(video.about(source).seconds, self.part.end) - start
        began = time.monotonic()
        with _progress(name, max(round(length), 1)) as bar:
            for count, each in enumerate(found, 1):
                rate = count / max(time.monotonic() - began, 1e-3)
                title = f"{name}, {rate:.0f} frames a second"
                done = round(frame(each).seconds - start)
                bar.update(bar.task_ids[0], completed=done, description=title)
                yield each

    def _images(self, sources: list[Source]) -> Iterator[Frame]:
        """The frames of all images, under a bar that advances by image if somebody looks."""
        if len(sources) == 1 or not sys.stderr.isatty():
            yield from reader.pictures(sources, self.skip)
            return
        with _progress("analyzing", len(sources)) as bar:
            for source in sources:
                yield from reader.pictures([source], self.skip)
                bar.advance(bar.task_ids[0])
