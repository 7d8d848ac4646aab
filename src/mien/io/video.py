"""Read video files and image sequences as frames with their timestamps.

A thread decodes a few frames in advance, so that decoding overlaps with the analysis.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mien.errors import ErrorCallback, UserError, warn
from mien.io import image, sequence
from mien.io.clock import DEFAULT_FRAME_RATE, PresentationClock
from mien.io.container import end_time, may_reset_timestamps, open_video, start_time
from mien.io.decoding import TimedDecoder, count_frames
from mien.io.frame_selection import (
    EARLY_TOLERANCE,
    START_TOLERANCE,
    FrameSelection,
    empty_range_error,
)
from mien.io.prefetch import prefetch
from mien.io.source import Source
from mien.io.video_pixels import MAX_PIXELS, RgbConverter, create_decoder, display_size
from mien.results import Frame

DECODER_THREADS = 4
"""Number of decoder threads. It does not grow with the number of cores, because each thread holds a
frame in memory, and analyzing a frame takes longer than decoding it, even in one decoder thread."""

SEEK_MARGIN = 1.0
"""Number of seconds before the requested time at which seeking aims, because some formats seek by
decoding time, which is before the time at which a frame is shown."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a video file or sequence; those that a file's header does not state are 0.

    Attributes:
        seconds: Duration from second 0 of the file to the end of the video.
        width: Width in pixels in display aspect, before rotation.
        height: Height in pixels in display aspect, before rotation.
        rate: Average frames per second.
        first: Seconds of the first frame.
    """

    seconds: float
    width: int
    height: int
    rate: float
    first: float = 0.0


def probe(source: Source) -> VideoInfo:
    """Read the duration, size and frame rate of a video file or image sequence.

    Those of a file are read from its header. The size of a sequence is that of its first image, or
    0 if that image cannot be read.

    Raises:
        UserError: The file cannot be read as a video, or an image of the sequence is missing.
    """
    if source.kind == "sequence":
        paths, rate = sequence.paths(source), sequence.rate(source)
        height = width = 0
        with contextlib.suppress(UserError):  # `frames` reports an unreadable image
            height, width = image.first_frame(str(paths[0])).pixels.shape[:2]
        return VideoInfo(len(paths) / rate, width, height, rate)
    with open_video(source) as (container, stream):
        start, end = start_time(container), end_time(stream)
        container_seconds = (container.duration or 0) / 1_000_000  # stated in microseconds
        seconds = max(0.0, float(end - start)) if end is not None else container_seconds
        width, height = display_size(stream)
        first = max(0.0, float((stream.start_time or 0) * stream.time_base - start))
        return VideoInfo(seconds, width, height, float(stream.average_rate or 0), first)


def frames(
    source: Source,
    selection: FrameSelection | None = None,
    on_warning: ErrorCallback | None = None,
    max_pixels: int = MAX_PIXELS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Frame]:
    """Read the selected frames of a video or image sequence.

    Args:
        source: The file or sequence.
        selection: Which frames to read; all by default.
        on_warning: Called with a `UserError` at the end of each damaged part of a file, and for
            each unreadable image of a sequence, while reading continues; by default, a Python
            warning is issued.
        max_pixels: Maximum number of pixels of a frame; larger ones count as damaged.
        should_stop: Called for each frame, selected or not; reading ends when it returns true.

    Yields:
        RGB frames as a player shows them: upright, in display aspect, with transparency blended
        with white and HDR mapped to SDR. Their seconds count from the earliest start of the file's
        streams.

    Raises:
        UserError: The file cannot be read or has no video stream, an image of the sequence is
            missing, or no frame is in the selected range.
    """

    def make_frames(is_stopped: Callable[[], bool]) -> Iterator[Frame]:
        return _selected_frames(
            source,
            selection or FrameSelection(),
            on_warning or warn,
            max_pixels,
            lambda: is_stopped() or should_stop(),
        )

    with prefetch(make_frames) as prefetched:
        yield from prefetched


class _LazyFrame(NamedTuple):
    """A frame that is not yet converted to RGB.

    Attributes:
        number: Index in the file; if `FrameSelection.number` is known, the index counted from the
            first frame that is read.
        seconds: Time of the frame.
        to_pixels: Returns the RGB pixels, or None if the frame is damaged.
    """

    number: int
    seconds: float
    to_pixels: Callable[[], np.ndarray | None]


def _selected_frames(
    source: Source,
    selection: FrameSelection,
    on_warning: ErrorCallback,
    max_pixels: int,
    should_stop: Callable[[], bool],
) -> Iterator[Frame]:
    if source.kind == "sequence":
        lazy_frames = _frames_of_sequence(source, on_warning, max_pixels)
        yield from _select(source, selection, sequence.rate(source), lazy_frames, should_stop)
        return
    with open_video(source) as (container, stream):
        opened = _OpenVideo(container, stream, source, on_warning, max_pixels)
        # If a time may occur twice, seeking is ambiguous.
        start = 0.0 if may_reset_timestamps(container) else selection.start
        lazy_frames = opened.lazy_frames(start, is_number_known=selection.number >= 0)
        yield from _select(source, selection, opened.rate, lazy_frames, should_stop)


def _select(
    source: Source,
    selection: FrameSelection,
    rate: float,
    lazy_frames: Iterator[_LazyFrame],
    should_stop: Callable[[], bool],
) -> Iterator[Frame]:
    """Yield the selected frames with their numbers in the file; only these are converted to RGB."""
    # If the number of the first frame is known, so is its exact time, except for rounding.
    tolerance = START_TOLERANCE if selection.number >= 0 else EARLY_TOLERANCE / rate
    last, is_selected = 0.0, selection.frame_filter(rate)
    offset: int | None = None
    for number, seconds, to_pixels in lazy_frames:
        if should_stop():
            return
        last = seconds
        if seconds < selection.start - tolerance:
            continue
        if seconds > selection.end:
            break
        if offset is None:
            offset = selection.number - number if selection.number >= 0 else 0
        if is_selected(seconds) and (pixels := to_pixels()) is not None:
            yield Frame(pixels, source.name, number + offset, seconds, kind=source.kind,
                        location=source.location)  # fmt: skip
    if offset is None and (selection.start > 0 or selection.end < math.inf):
        raise empty_range_error(source.name, selection, last)


def _frames_of_sequence(
    source: Source, on_warning: ErrorCallback, max_pixels: int
) -> Iterator[_LazyFrame]:
    rate = sequence.rate(source)

    def read(path: Path) -> np.ndarray | None:
        try:
            return image.first_frame(str(path), max_pixels=max_pixels).pixels
        except UserError as error:
            on_warning(error)
            return None

    for number, path in enumerate(sequence.paths(source)):
        yield _LazyFrame(number, number / rate, partial(read, path))


@dataclass(frozen=True, slots=True)
class _OpenVideo:
    """An open video file, with the arguments of `frames` that decoding needs."""

    container: Any
    stream: Any
    source: Source
    on_warning: ErrorCallback
    max_pixels: int

    @property
    def rate(self) -> float:
        """Average frames per second."""
        return float(self.stream.average_rate or self.stream.guessed_rate or DEFAULT_FRAME_RATE)

    def lazy_frames(self, start: float, *, is_number_known: bool) -> Iterator[_LazyFrame]:
        """Yield the frames in temporal order, from at or before `start` on (or the first one).

        Args:
            start: Time in seconds.
            is_number_known: Whether the caller knows the number of the frame at `start`. If so, the
                first frame that is yielded has the number 0, instead of its index in the file.
        """
        has_sought = start > 0 and self._seek(start)
        decoder = create_decoder(self.stream)
        # The decoder checks each frame, because its size may differ from that in the header.
        decoder.options = {"max_pixels": str(self.max_pixels)}
        decoder.thread_type, decoder.thread_count = "AUTO", DECODER_THREADS
        clock = PresentationClock(
            self.stream.time_base,
            self.rate,
            start_time(self.container),
            are_guessed=self.container.format.name == "avi",
        )
        timed = iter(TimedDecoder(self.container, self.stream, decoder, clock, self.source.name,
                                  self.on_warning))  # fmt: skip
        to_rgb = RgbConverter(self.stream, decoder, self.max_pixels)
        number = 0
        if has_sought:
            first = next(timed, None)
            if first is None or first[0] > start:  # seeking is not exact in every file
                yield from self._lazy_frames_from_start()
                return
            if not is_number_known:
                number = self._count_before(first[1])
            timed = chain([first], timed)
        for seconds, av_frame in timed:
            yield _LazyFrame(number, seconds, partial(to_rgb, av_frame))
            number += 1

    def _seek(self, seconds: float) -> bool:
        """Seek to a key frame before a time; return whether this was possible."""
        import av

        if self.stream.start_time is None:  # the file has no timestamps
            return False
        time = float(start_time(self.container)) + max(seconds - SEEK_MARGIN, 0)
        try:
            self.container.seek(int(time / self.stream.time_base), stream=self.stream)
        except av.error.FFmpegError:
            return False
        return True

    def _lazy_frames_from_start(self) -> Iterator[_LazyFrame]:
        with open_video(self.source) as (container, stream):
            opened = replace(self, container=container, stream=stream)
            yield from opened.lazy_frames(0.0, is_number_known=False)

    def _count_before(self, av_frame: Any) -> int:
        """Return the index of a frame; this reads the file up to the frame, without decoding."""
        with open_video(self.source) as (container, stream):
            return count_frames(container, stream, before=av_frame.pts)
