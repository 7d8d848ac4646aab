"""Sources -> results -> writers: the one loop of command line, camera and video jobs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import reader, video
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.results import Frame, Result, Write
from mien.tracking import bidirectional
from mien.tracking.checkpoint import Checkpoint, UnfinishedVideo
from mien.tracking.smoothing import TIME_CONSTANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How sources are read and analyzed.

    Attributes:
        selection: which frames of a video.
        smoothing: time constant of a video's smoothed emotions in seconds; 0 for none.
        two_pass: read video files twice, and smooth from both ends.
        max_pixels: of a video's frame; larger ones count as damage.
        started: when the seconds of live sources begin, by `time.monotonic()`; None is with their
            first frame.
    """

    selection: FrameSelection = field(default_factory=FrameSelection)
    smoothing: float = TIME_CONSTANT
    two_pass: bool = False
    max_pixels: int = video.MAX_PIXELS
    started: float | None = None


def _raise(error: UserError) -> None:
    raise error


def _unchanged(_: Source, frames: Iterator[Frame]) -> Iterator[Frame]:
    return frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """What a run calls while it goes on.

    Attributes:
        on_warning: with what is damaged, while reading goes on; a Python warning by default.
        on_error: with the error of a source that cannot be read; the others are. Raises by default.
        should_stop: asked for each frame of a video file, wanted or not; once true, no more come.
        track_progress: passes on the frames of a source as they are read, under a progress bar say.
    """

    on_warning: Callable[[UserError], None] = video.warn
    on_error: Callable[[UserError], None] = _raise
    should_stop: Callable[[], bool] = lambda: False
    track_progress: Callable[[Source, Iterator[Frame]], Iterator[Frame]] = _unchanged


def expand_sources(inputs: Iterable[str], on_error: Callable[[UserError], None]) -> list[Source]:
    """Every source that some strings mean.

    Args:
        inputs: each as for `Source.expand`. A video that is named twice is read once, since its
            faces are told apart by its name.
        on_error: called with what is wrong with one of them; the others are found.
    """
    found: list[Source] = []
    for text in inputs:
        try:
            found += Source.expand(text)
        except UserError as error:
            on_error(error)
    once = dict.fromkeys(found)
    return [source for source in found if not source.is_video or once.pop(source, 0) is None]


def run(
    sources: Iterable[Source],
    analyzer: Analyzer,
    writers: Sequence[Write],
    options: Options | None = None,
    callbacks: Callbacks | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Read, analyze and write: every result of the sources, in their order, to every writer.

    Ctrl-C ends a run that is at a live source as its end would; otherwise it is raised.

    Args:
        sources: images are classified together, videos one by one.
        analyzer: finds the faces.
        writers: functions that take a `Result`, called in their order.
        options: how to read and analyze; `Options()` by default.
        callbacks: what to call meanwhile; `Callbacks()` by default.
        checkpoint: what an earlier run has done.

    Raises:
        UserError: a source that cannot be read, if `callbacks.on_error` raises it, and whatever the
            writers raise.

    Example:
        ```python
        with mien.writers.open_writer("faces.csv") as write:
            run(Source.expand("holiday/"), mien.Analyzer(), [write])
        ```
    """
    reading = _Reading(
        analyzer, options or Options(), callbacks or Callbacks(), checkpoint or Checkpoint()
    )
    with closing(reading.results(sources)) as results:
        try:
            for result in results:
                for write in writers:
                    write(result)
        except KeyboardInterrupt:
            if not reading.is_live:
                raise


@dataclass(slots=True)
class _Reading:
    """The sources of a run -> their results. is_live: whether it is at a live source."""

    analyzer: Analyzer
    options: Options
    callbacks: Callbacks
    checkpoint: Checkpoint
    is_live: bool = False

    def results(self, sources: Iterable[Source]) -> Generator[Result, None, None]:
        to_do = (source for source in sources if source.name not in self.checkpoint.done)
        for is_video, some in groupby(to_do, attrgetter("is_video")):
            if not is_video:
                yield from self.analyzer.analyze_frames(self._images(some))
                continue
            for source in some:
                self.is_live = source.is_live
                yield from self._video(source)
                self.is_live = False

    def _images(self, sources: Iterable[Source]) -> Iterator[Frame]:
        for source in sources:
            try:
                yield from self.callbacks.track_progress(source, reader.frames(source))
            except UserError as error:
                self.callbacks.on_error(error)

    def _video(self, source: Source) -> Iterator[Result]:
        unfinished = self.checkpoint.unfinished_video_for(source)
        try:
            results = self._followed(source, unfinished)
            yield from self._twice(source, results) if self.options.two_pass else results
        except UserError as error:
            if unfinished:  # what was found of it stays, to resume from
                raise
            self.callbacks.on_error(error)

    def _followed(self, source: Source, unfinished: UnfinishedVideo | None) -> Iterator[Result]:
        """The results of a video, or of the rest of one."""
        selection = self.options.selection
        frames = self._frames(source, unfinished.selection(selection) if unfinished else selection)
        session = self.analyzer.session(self.options.smoothing)
        if unfinished:
            unfinished.replay(session, frames)
        yield from session.stream(frames)

    def _twice(self, source: Source, results: Iterator[Result]) -> Iterator[Result]:
        """The same, read again when all is known; of damage, the first time has warned."""
        again = self._frames(source, self.options.selection, on_warning=lambda _: None)
        return bidirectional.smooth(results, again, self.options.smoothing)

    def _frames(
        self,
        source: Source,
        selection: FrameSelection,
        on_warning: Callable[[UserError], None] | None = None,
    ) -> Iterator[Frame]:
        options, callbacks = self.options, self.callbacks
        frames = reader.frames(
            source, selection, on_warning or callbacks.on_warning, max_pixels=options.max_pixels,
            should_stop=callbacks.should_stop, started=options.started,
        )  # fmt: skip
        return callbacks.track_progress(source, frames)
