"""Files, and what is left of them to do -> frames with their faces."""

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
from mien.io import camera, image, sequence, video
from mien.results import Frame, Result
from mien.tracking import bidirectional
from mien.tracking.checkpoint import Left

Skip = Callable[[UserError], None]

Found = Iterator[Result]

Each = TypeVar("Each")


def is_moving(where: str) -> bool:
    """Whether this is a video, a camera or a stream."""
    return camera.is_live(where) or video.is_video(where)


def files(inputs: Iterable[str], skip: Skip) -> list[str]:
    """Every picture, video, camera and stream that these mean; what is none is told to `skip`.

    A video is read once, however often it is named: its faces are told by its name.
    """
    found = []
    for where in inputs:
        try:
            alone = camera.is_live(where) or video.is_remote(where) or sequence.is_sequence(where)
            found += [where] if alone else image.paths(where, image.SUFFIXES | video.SUFFIXES)
        except UserError as error:
            skip(error)
    once = dict.fromkeys(found)
    return [where for where in found if not is_moving(where) or once.pop(where, 0) is None]


def _progress(title: str, total: int):  # type: ignore[no-untyped-def]
    from mien.visualization import terminal  # rich takes a tenth of a second to import

    return terminal.progress(title, total)


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read.

    part: of each video. smooth: time constant in seconds. left: what an earlier run left to do.
    skip: is told of each file that cannot be read; the others are.
    """

    analyzer: Analyzer
    part: video.Part
    smooth: float
    two_pass: bool
    left: Left
    skip: Skip

    def faces(self, files: Iterable[str]) -> Generator[Result, None, None]:
        """All frames with their faces: stills together, moving pictures one by one."""
        to_do = (file for file in files if file not in self.left.done)
        for moving, some in groupby(to_do, is_moving):
            if moving:
                for place in some:
                    yield from self._moving(place)
            else:
                yield from self.analyzer.frames(self._stills(list(some)))

    def _moving(self, place: str) -> Found:
        is_live = camera.is_live(place)
        past = self.left.past if place == self.left.video else None
        try:
            found = self.analyzer.stream(place, self.skip, self.part, self.smooth, past)
            if not is_live:
                found = self._timed(place, found, attrgetter("frame"))
                if self.two_pass:
                    found = self._twice(place, found)
            yield from found
        except UserError as error:
            if past is not None:  # what was found of it stays to be gone on with
                raise
            self.skip(error)

    def _twice(self, place: str, found: Found) -> Found:
        """The same, watched again when all is known; damage was told the first time."""
        again = video.frames(place, self.part, lambda _: None)
        return bidirectional.watched(
            found, self._timed(place, again, lambda frame: frame), self.smooth
        )

    def _timed(
        self, place: str, found: Iterator[Each], frame: Callable[[Each], Frame]
    ) -> Iterator[Each]:
        """The same, under a bar that goes by the video's own time if somebody looks."""
        if not sys.stderr.isatty():
            yield from found
            return
        name, start = Path(place).name, self.part.start
        length = min(video.about(place).seconds, self.part.end) - start
        began = time.monotonic()
        with _progress(name, max(round(length), 1)) as bar:
            for count, each in enumerate(found, 1):
                rate = count / max(time.monotonic() - began, 1e-3)
                title = f"{name}, {rate:.0f} frames a second"
                done = round(frame(each).seconds - start)
                bar.update(bar.task_ids[0], completed=done, description=title)
                yield each

    def _stills(self, files: list[str]) -> Iterator[Frame]:
        """The frames of all files, under a bar that advances by file if somebody looks."""
        if len(files) == 1 or not sys.stderr.isatty():
            for file in files:
                yield from image.frames(file, self.skip)
            return
        with _progress("analyzing", len(files)) as bar:
            for file in files:
                yield from image.frames(file, self.skip)
                bar.advance(bar.task_ids[0])
