"""Videos, animations and sequences -> frames with their own time stamps.

Decoding runs in a thread of its own, a few frames ahead, so that it and the analysis share the
cores.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.errors import UserError
from mien.io import sequence
from mien.io.clock import PresentationClock, start_of
from mien.io.frame_selection import EARLY, FrameSelection
from mien.io.prefetch import prefetch
from mien.io.source import Source
from mien.results import Frame

WHOLE = 0.98
"""Of the frames that a file says it has, so many must come, or it is said to break off."""

MAX_PIXELS = 134_000_000
"""Of a frame, unless less is allowed: 16K. Frames beyond are damage."""

MAX_DAMAGED = 10_000
"""After so many damaged packets in a row the rest is given up."""

ErrorCallback = Callable[[UserError], None]


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file says of itself; 0 for what it does not know."""

    seconds: float
    width: int
    height: int
    rate: float


def probe(source: Source) -> VideoInfo:
    """Length, size (as coded) and frame rate of a video file; a `UserError` if it is none."""
    with open_video(source) as (container, stream):
        length = float((stream.duration or 0) * stream.time_base)
        length = length or (container.duration or 0) / 1_000_000
        return VideoInfo(length, stream.width, stream.height, float(stream.average_rate or 0))


def frames(
    source: Source,
    selection: FrameSelection | None = None,
    on_error: ErrorCallback | None = None,
    max_pixels: int = MAX_PIXELS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Frame]:
    """The wanted frames of a video, animation or sequence, upright RGB, decoded ahead in a thread.

    Their seconds count from the start of the video, by its own time stamps. A damaged stretch is
    reported to `on_error` (by default, a Python warning) when it ends, and decoding goes on. Raises
    `UserError` for a file that cannot be read, or without a video in it. Larger frames are damage.
    should_stop: asked of each picture, wanted or not; once it says so, no more frames come.
    """
    told = on_error or warn

    def make(stopped: Callable[[], bool]) -> Iterator[Frame]:
        return _decoded(
            source,
            selection or FrameSelection(),
            told,
            max_pixels,
            lambda: stopped() or should_stop(),
        )

    with prefetch(make) as found:
        yield from found


def warn(error: UserError) -> None:
    """What is told when nobody asked to be: a warning."""
    warnings.warn(str(error), stacklevel=2)


def _decoded(
    source: Source,
    selection: FrameSelection,
    on_error: ErrorCallback,
    max_pixels: int,
    should_stop: Callable[[], bool],
) -> Iterator[Frame]:
    with open_video(source) as (container, stream):
        # What a file says of its size and what a frame of it says are two things.
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        sought = selection.start > 0 and not has_breaks(container)
        if sought:
            _seek(container, stream, selection.start)
        number, last, wanted = -1, 0.0, selection.steps(rate)
        nothing = True
        # A frame that is known is asked for by its very time.
        early = 1e-6 if selection.number >= 0 else EARLY / rate
        for seconds, picture in _pictures(
            container, stream, source.name, on_error, whole=not sought
        ):
            if should_stop():
                return
            # Behind a seek the place can only be reckoned; from the start it is counted.
            number = round(seconds * rate) if number < 0 and sought else number + 1
            last = seconds
            if seconds < selection.start - early:
                continue
            if nothing and selection.number >= 0:
                number = selection.number
            if seconds > selection.end:
                break
            nothing = False
            if wanted(seconds):
                yield _frame(source, to_upright_rgb(picture), number, seconds)
        if nothing and (selection.start > 0 or selection.end < math.inf):
            raise _no_frame(source, selection, last)


def _frame(source: Source, pixels: np.ndarray, number: int, seconds: float) -> Frame:
    return Frame(pixels, source.name, number, seconds, kind=source.kind, location=source.location)


def _no_frame(source: Source, selection: FrameSelection, last: float) -> UserError:
    where = f"between {selection.start:g} and {selection.end:g} s"
    if selection.end == math.inf:
        where = f"from {selection.start:g} s on"
    return UserError(f"{source.name} has no frame {where}; the last read is at {last:.1f} s.")


@contextlib.contextmanager
def open_video(source: Source, **options: Any) -> Iterator[tuple[Any, Any]]:
    """A container and its first video stream; a `UserError` if there is none."""
    import av

    try:
        if source.kind == "sequence":
            container = sequence.open_sequence(source)
        else:
            container = av.open(source.location, **options)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{source.name} cannot be read as a video: {reason(error)}.") from None
    with container:
        if not (streams := [s for s in container.streams.video if not _is_cover(s)]):
            raise UserError(f"{source.name} has no video in it.")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def has_breaks(container: Any) -> bool:
    """Whether the clock of such files may be set anew, so that they are read from the start.

    In them, to seek a time is to find one of several moments, or one nearby.
    """
    import av

    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the picture on the sleeve of a piece of music."""
    import av

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def reason(error: Exception) -> str:
    """FFmpeg's reason, to end a sentence with."""
    return str(getattr(error, "strerror", None) or error).rstrip(".").lower()


def _seek(container: Any, stream: Any, seconds: float) -> None:
    """Go to the last key frame before a time; a file that cannot is read from its start."""
    import av

    with contextlib.suppress(av.error.FFmpegError):
        container.seek(int((start_of(stream) + seconds) / stream.time_base), stream=stream)


def _pictures(
    container: Any, stream: Any, name: str, on_error: ErrorCallback, *, whole: bool
) -> Iterator[tuple[float, Any]]:
    """The decoded pictures with their seconds, in the order of time; damage is told by stretches.

    whole: from the start, so that a file that says how many it has can be held to that.
    """
    clock, damaged = PresentationClock(stream), 0
    for found in _decoded_packets(container, stream):
        if found is None:
            damaged += 1
            if damaged > MAX_DAMAGED:
                break
            continue
        if damaged and found:
            after = max(clock.last, 0)
            on_error(UserError(f"{name} is damaged after {after:.1f} s; the rest is read."))
            damaged = 0
        for picture in found:
            if (seconds := clock(picture)) is not None:
                yield seconds, picture
    if damaged or (whole and clock.count < WHOLE * stream.frames - 2):
        on_error(UserError(f"{name} {_what_is_missing(clock, stream, at_end=bool(damaged))}."))


def _decoded_packets(container: Any, stream: Any) -> Iterator[list | None]:
    """The pictures of each packet; None for one that is damaged."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            found = next(packets).decode()
        except (StopIteration, av.error.EOFError):
            return
        except (av.error.FFmpegError, ValueError):  # the latter of a decoder that would not open
            found = None
        yield found


def _what_is_missing(clock: PresentationClock, stream: Any, *, at_end: bool) -> str:
    length = float((stream.duration or 0) * stream.time_base)
    begin, end = clock.longest_gap
    if not at_end and clock.last > length - 3 / clock.rate and end - begin > 3 / clock.rate:
        return f"is damaged: nothing could be read between {begin:.1f} and {end:.1f} s"
    return f"breaks off after {max(clock.last, 0):.1f} s"


def to_upright_rgb(picture: Any) -> np.ndarray:
    """A decoded picture as (H, W, 3) uint8 RGB, turned as its file says."""
    pixels = picture.to_ndarray(format="rgb24")
    # FFmpeg tells by how much to turn it counter-clockwise, as NumPy does.
    quarter = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter)) if quarter else pixels
