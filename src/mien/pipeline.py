"""Read sources, analyze them and write the results, for the command line and the server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from mien.analyzer import Analyzer
from mien.errors import ErrorCallback, UserError, warn
from mien.io import reader, video
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.io.video_pixels import MAX_PIXELS
from mien.results import Frame, Result, ResultWriter
from mien.tracking import bidirectional
from mien.tracking.checkpoint import Checkpoint, UnfinishedVideo
from mien.tracking.smoothing import TIME_CONSTANT


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options for reading and analyzing sources.

    Attributes:
        selection: Which frames of a video are analyzed.
        smoothing: Time constant of the smoothed emotions in seconds; 0 for none.
        two_pass: Whether to read video files twice for bidirectional smoothing.
        max_pixels: Maximum number of pixels of a video frame; larger frames count as damaged.
        started: `time.monotonic()` at second 0 of live sources; by default, their first frame is
            at second 0.
    """

    selection: FrameSelection = field(default_factory=FrameSelection)
    smoothing: float = TIME_CONSTANT
    two_pass: bool = False
    max_pixels: int = MAX_PIXELS
    started: float | None = None


def _raise_error(error: UserError) -> None:
    raise error


def _without_progress(_: Source, frames: Iterator[Frame]) -> Iterator[Frame]:
    return frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Callbacks:
    """Functions that `run` calls.

    Attributes:
        on_warning: Called with a `UserError` for each damaged part of a video, after which reading
            continues, and before each attempt to reconnect to a stream. By default, a Python
            warning is issued.
        on_error: Called with the error of each source that cannot be read; the others are still
            read. By default, the error is raised.
        should_stop: Called for each frame of a video file, animation or image sequence, selected
            or not; if it returns true, the rest of the source is not read.
        track_progress: Called with each source and an iterator of its frames, and returns an
            iterator of the same frames, for example one that updates a progress bar. With
            `Options.two_pass`, it is called twice for each video.
    """

    on_warning: ErrorCallback = warn
    on_error: ErrorCallback = _raise_error
    should_stop: Callable[[], bool] = lambda: False
    track_progress: Callable[[Source, Iterator[Frame]], Iterator[Frame]] = _without_progress


def expand_sources(
    inputs: Iterable[str], on_error: ErrorCallback, on_warning: ErrorCallback = warn
) -> list[Source]:
    """Interpret input strings as sources.

    Args:
        inputs: Strings that `Source.expand` accepts.
        on_error: Called with the error of each input that cannot be expanded; the others are still
            expanded.
        on_warning: Called about files and folders that are not read; see `Source.expand`.

    Returns:
        The sources, in order. A video that occurs several times is included once, because its name
        identifies its faces in the results.
    """
    sources: list[Source] = []
    for text in inputs:
        try:
            sources += Source.expand(text, on_warning)
        except UserError as error:
            on_error(error)
    unique: list[Source] = []
    videos: set[Source] = set()
    for source in sources:
        if source not in videos:
            unique.append(source)
        if source.is_video:
            videos.add(source)
    return unique


def run(
    sources: Iterable[Source],
    analyzer: Analyzer,
    writers: Sequence[ResultWriter],
    options: Options | None = None,
    callbacks: Callbacks | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Analyze sources and pass every result, in order, to every writer.

    Ctrl-C during a live source ends the run without an error; otherwise, `KeyboardInterrupt` is
    raised.

    Args:
        sources: The sources; images are classified in batches, and videos one after the other.
        analyzer: Detects and classifies the faces.
        writers: Functions that take a `Result`, called in order.
        options: Options for reading and analyzing; `Options()` by default.
        callbacks: Functions to call during the run; `Callbacks()` by default.
        checkpoint: The completed part of an interrupted run, which is not analyzed again; None if
            there is none.

    Raises:
        UserError: If `callbacks.on_error` or a writer raises it, or the unfinished video of
            `checkpoint` cannot be resumed.

    Example:
        ```python
        import mien
        from mien import writers
        from mien.io.source import Source
        from mien.pipeline import run

        with writers.open_writer("faces.csv") as write:
            run(Source.expand("holiday/"), mien.Analyzer(), [write])
        ```
    """
    analysis = _Analysis(
        analyzer, options or Options(), callbacks or Callbacks(), checkpoint or Checkpoint()
    )
    with closing(analysis.results(sources)) as results:
        try:
            for result in results:
                for write in writers:
                    write(result)
        except KeyboardInterrupt:
            if not analysis.is_live:
                raise


@dataclass(slots=True)
class _Analysis:
    """Computes the results of all sources with the arguments of `run`.

    Attributes:
        is_live: Whether the current source is live.
    """

    analyzer: Analyzer
    options: Options
    callbacks: Callbacks
    checkpoint: Checkpoint
    is_live: bool = False

    def results(self, sources: Iterable[Source]) -> Generator[Result, None, None]:
        remaining = (source for source in sources if source.name not in self.checkpoint.done)
        for is_video, group in groupby(remaining, attrgetter("is_video")):
            if not is_video:
                yield from self.analyzer.analyze_frames(self._image_frames(group))
                continue
            for source in group:
                self.is_live = source.is_live
                yield from self._video_results(source)
                self.is_live = False

    def _image_frames(self, sources: Iterable[Source]) -> Iterator[Frame]:
        for source in sources:
            try:
                yield from self.callbacks.track_progress(source, reader.frames(source))
            except UserError as error:
                self.callbacks.on_error(error)

    def _video_results(self, source: Source) -> Iterator[Result]:
        unfinished = self.checkpoint.unfinished_video_for(source)
        try:
            results = self._tracked_results(source, unfinished)
            if self.options.two_pass:
                results = self._smoothed_results(source, results)
            yield from results
        except UserError as error:
            if unfinished:  # end the run, so that its partial outputs remain and can be resumed
                raise
            self.callbacks.on_error(error)

    def _tracked_results(
        self, source: Source, unfinished: UnfinishedVideo | None
    ) -> Iterator[Result]:
        """Yield the results of a video, or of the rest of an unfinished video."""
        selection = self.options.selection
        if unfinished:
            first = video.probe(source).first if source.kind == "video" else 0.0
            selection = unfinished.selection(selection, first)
        frames = self._video_frames(source, selection)
        session = self.analyzer.session(self.options.smoothing)
        if unfinished:
            unfinished.replay(session, frames)
        yield from session.stream(frames)

    def _smoothed_results(self, source: Source, results: Iterator[Result]) -> Iterator[Result]:
        """Yield bidirectionally smoothed results with frames that are read from the file again."""
        # The first pass has already reported any damage.
        frames = self._video_frames(source, self.options.selection, on_warning=lambda _: None)
        return bidirectional.smooth_results(results, frames, self.options.smoothing)

    def _video_frames(
        self,
        source: Source,
        selection: FrameSelection,
        on_warning: ErrorCallback | None = None,
    ) -> Iterator[Frame]:
        options, callbacks = self.options, self.callbacks
        frames = reader.frames(
            source, selection, on_warning or callbacks.on_warning, max_pixels=options.max_pixels,
            should_stop=callbacks.should_stop, started=options.started,
        )  # fmt: skip
        return callbacks.track_progress(source, frames)
