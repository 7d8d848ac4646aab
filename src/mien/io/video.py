"""Read videos, animations and image sequences as frames with their own time stamps.

Decoding runs in a thread, a few frames in advance, so that it overlaps with the analysis.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.errors import ErrorCallback, UserError, warn
from mien.io import sequence
from mien.io.clock import DEFAULT_FRAME_RATE, PresentationClock, start_of
from mien.io.frame_selection import EARLY, FrameSelection
from mien.io.prefetch import prefetch
from mien.io.source import Source
from mien.results import Frame

COMPLETE = 0.98
"""A file with fewer than this fraction of the frames stated in its header counts as truncated."""

MAX_PIXELS = 134_000_000
"""Default limit for one frame: 16K. Larger frames count as damaged."""

MAX_DAMAGED = 10_000
"""Reading ends after more than this many damaged packets in a row."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties in the header of a video file; 0 where they are not stated.

    Attributes:
        seconds: Duration.
        width: Width in pixels, before rotation.
        height: Height in pixels, before rotation.
        rate: Average frames per second.
    """

    seconds: float
    width: int
    height: int
    rate: float


def probe(source: Source) -> VideoInfo:
    """Read duration, size and frame rate from the header of a video file.

    Raises:
        UserError: The file cannot be read as a video.
    """
    with open_video(source) as (container, stream):
        seconds = float((stream.duration or 0) * stream.time_base)
        seconds = seconds or (container.duration or 0) / 1_000_000
        return VideoInfo(seconds, stream.width, stream.height, float(stream.average_rate or 0))


def frames(
    source: Source,
    selection: FrameSelection | None = None,
    on_error: ErrorCallback | None = None,
    max_pixels: int = MAX_PIXELS,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Frame]:
    """Read the selected frames of a video, animation or image sequence.

    Args:
        source: The file or sequence.
        selection: Which frames to read; all by default.
        on_error: Called with a `UserError` at the end of each damaged part, while reading
            continues; by default, a Python warning is issued.
        max_pixels: Limit for one frame; larger ones count as damaged.
        should_stop: Called for each frame, selected or not; reading ends when it returns true.

    Yields:
        Upright RGB frames; their seconds count from the start of the video, by its time stamps.

    Raises:
        UserError: The file cannot be read or has no video stream, or the selection is empty.
    """

    def make_frames(is_stopped: Callable[[], bool]) -> Iterator[Frame]:
        return _selected_frames(
            source,
            selection or FrameSelection(),
            on_error or warn,
            max_pixels,
            lambda: is_stopped() or should_stop(),
        )

    with prefetch(make_frames) as prefetched:
        yield from prefetched


def _selected_frames(
    source: Source,
    selection: FrameSelection,
    on_error: ErrorCallback,
    max_pixels: int,
    should_stop: Callable[[], bool],
) -> Iterator[Frame]:
    with open_video(source) as (container, stream):
        # The size of a frame may differ from the size in the header.
        stream.codec_context.options = {"max_pixels": str(max_pixels)}
        rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_FRAME_RATE)
        seeking = selection.start > 0 and not has_timestamp_resets(container)
        if seeking:
            _seek(container, stream, selection.start)
        number, last, is_selected = -1, 0.0, selection.stepper(rate)
        empty = True
        # A frame with a known number is selected by its exact time.
        tolerance = 1e-6 if selection.number >= 0 else EARLY / rate
        timed = _timed_frames(container, stream, source.name, on_error, from_start=not seeking)
        for seconds, av_frame in timed:
            if should_stop():
                return
            # After seeking, the first number is computed from the time; otherwise it is counted.
            number = round(seconds * rate) if number < 0 and seeking else number + 1
            last = seconds
            if seconds < selection.start - tolerance:
                continue
            if empty and selection.number >= 0:
                number = selection.number
            if seconds > selection.end:
                break
            empty = False
            if is_selected(seconds):
                yield _frame(source, to_upright_rgb(av_frame), number, seconds)
        if empty and (selection.start > 0 or selection.end < math.inf):
            raise _no_frame(source, selection, last)


def _frame(source: Source, pixels: np.ndarray, number: int, seconds: float) -> Frame:
    return Frame(pixels, source.name, number, seconds, kind=source.kind, location=source.location)


def _no_frame(source: Source, selection: FrameSelection, last: float) -> UserError:
    span = f"between {selection.start:g} and {selection.end:g} s"
    if selection.end == math.inf:
        span = f"from {selection.start:g} s on"
    return UserError(f"{source.name} has no frame {span}; the last frame read is at {last:.1f} s.")


@contextlib.contextmanager
def open_video(source: Source, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Open a container and yield it with its first video stream.

    Args:
        source: A file, an address or a sequence.
        options: Passed to `av.open`.

    Raises:
        UserError: The source cannot be opened or has no video stream.
    """
    import av

    try:
        if source.kind == "sequence":
            container = sequence.open_sequence(source)
        else:
            container = av.open(source.location, **options)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"Cannot read {source.name} as a video: {reason(error)}.") from None
    with container:
        if not (streams := [s for s in container.streams.video if not _is_cover(s)]):
            raise UserError(f"Cannot read {source.name} as a video: it has no video stream.")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def has_timestamp_resets(container: Any) -> bool:
    """Whether time stamps may restart in this format, as in MPEG-TS.

    Such files are read from the start: a time can occur several times, so seeking is ambiguous.
    """
    import av

    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def _is_cover(stream: Any) -> bool:
    """Whether a stream is the cover image of an audio file."""
    import av

    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def reason(error: Exception) -> str:
    """FFmpeg's description of an error, in lower case and without a period."""
    return str(getattr(error, "strerror", None) or error).rstrip(".").lower()


def _seek(container: Any, stream: Any, seconds: float) -> None:
    """Seek to the last key frame before a time; files without seeking are read from the start."""
    import av

    with contextlib.suppress(av.error.FFmpegError):
        container.seek(int((start_of(stream) + seconds) / stream.time_base), stream=stream)


def _timed_frames(
    container: Any, stream: Any, name: str, on_error: ErrorCallback, *, from_start: bool
) -> Iterator[tuple[float, Any]]:
    """The decoded frames with their seconds in temporal order; reports each damaged part once.

    from_start: whether reading began at the start, so that missing frames can be counted.
    """
    clock, damaged = PresentationClock(stream), 0
    for decoded in _decode_packets(container, stream):
        if decoded is None:
            damaged += 1
            if damaged > MAX_DAMAGED:
                break
            continue
        if damaged and decoded:
            after = max(clock.last, 0)
            on_error(
                UserError(f"{name} is damaged after {after:.1f} s; reading continues after that.")
            )
            damaged = 0
        for av_frame in decoded:
            if (seconds := clock(av_frame)) is not None:
                yield seconds, av_frame
    if damaged or (from_start and clock.count < COMPLETE * stream.frames - 2):
        on_error(UserError(f"{name} {_describe_damage(clock, stream, at_end=bool(damaged))}."))


def _decode_packets(container: Any, stream: Any) -> Iterator[list | None]:
    """The decoded frames of each packet; None for a damaged packet."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            decoded = next(packets).decode()
        except (StopIteration, av.error.EOFError):
            return
        except (av.error.FFmpegError, ValueError):  # ValueError: the decoder could not be opened
            decoded = None
        yield decoded


def _describe_damage(clock: PresentationClock, stream: Any, *, at_end: bool) -> str:
    length = float((stream.duration or 0) * stream.time_base)
    begin, end = clock.longest_gap
    if not at_end and clock.last > length - 3 / clock.rate and end - begin > 3 / clock.rate:
        return f"is damaged: no frame could be read between {begin:.1f} and {end:.1f} s"
    return f"is truncated: no frame could be read after {max(clock.last, 0):.1f} s"


def to_upright_rgb(av_frame: Any) -> np.ndarray:
    """A decoded frame as (H, W, 3) uint8 RGB, rotated as the file states."""
    pixels = av_frame.to_ndarray(format="rgb24")
    # FFmpeg states the rotation counter-clockwise, as NumPy does.
    quarter_turns = round(av_frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels
