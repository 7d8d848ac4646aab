"""Open video containers, choose the streams to read, and read their packets and times."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

from mien.errors import UserError
from mien.io.source import Source


def open_container(location: str, **options: Any) -> Any:
    """Open a container with `av.open`; invalid UTF-8 in metadata is not an error."""
    import av

    return av.open(location, metadata_errors="replace", **options)


@contextlib.contextmanager
def open_video(source: Source, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Open a container and yield it with its video stream.

    Args:
        source: A video file, or the address of a video or stream.
        options: Passed to `av.open`.

    Raises:
        UserError: The source cannot be opened or has no video stream that can be decoded.
    """
    import av

    try:
        container = open_container(source.location, **options)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"Cannot read {source.name} as a video: {reason(error)}.") from None
    with container:
        stream = video_stream(container)
        if stream is None:
            raise UserError(
                f"Cannot read {source.name} as a video: it has no video stream. "
                "Choose another file."
            )
        if stream.codec_context is None:
            raise UserError(
                f"Cannot read {source.name} as a video: its codec is not supported. "
                "Convert it to H.264."
            )
        stream.thread_type = "AUTO"
        yield container, stream


def demux(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the packets of a stream and, at its end, an empty packet that flushes the decoder."""
    try:
        yield from container.demux(stream)
    except IndexError:  # PyAV fails at the end of files with streams that the header does not list
        return


def may_reset_timestamps(container: Any) -> bool:
    """Return whether timestamps may restart in this format, such as MPEG-TS or Ogg.

    Such files are always read from the start: seeking is ambiguous if a time occurs twice.
    """
    import av

    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def reason(error: Exception) -> str:
    """Return the `strerror` of an error, otherwise its message, in lower case.

    A final period is removed.
    """
    return str(getattr(error, "strerror", None) or error).rstrip(".").lower()


def video_stream(container: Any) -> Any | None:
    """Return the video stream that a player shows: the default, else the largest; None if none.

    Cover art and chapter thumbnails are never chosen. Streams with a single frame, and those
    without a decoder, are chosen only if there is no other stream.
    """
    streams = (stream for stream in container.streams.video if not _is_still(stream))
    return _preferred(streams, lambda context: context.width * context.height)


def audio_stream(container: Any) -> Any | None:
    """Return the audio stream that a player plays: the default, else that with most channels.

    None if there is no audio stream.
    """
    return _preferred(container.streams.audio, lambda context: context.channels)


def start_time(container: Any) -> Fraction:
    """Return the timestamp, in seconds, that counts as time 0: the earliest start of a stream."""
    if container.start_time is None:
        return Fraction(0)
    start = Fraction(container.start_time, 1_000_000)
    # The container's value is rounded to microseconds; the stream's own value is exact.
    stream_starts = [
        s.start_time * s.time_base for s in container.streams if s.start_time is not None
    ]
    nearest = min(stream_starts, key=lambda time: abs(time - start), default=start)
    return nearest if abs(nearest - start) < Fraction(1, 100_000) else start


def end_time(stream: Any) -> Fraction | None:
    """Return the timestamp of a stream's end, in seconds, or None if it is not stated."""
    if not stream.duration:
        return None
    return ((stream.start_time or 0) + stream.duration) * stream.time_base


def _preferred(streams: Iterable[Any], size: Callable[[Any], int]) -> Any | None:
    import av

    def rank(stream: Any) -> tuple[bool, bool, bool, int]:
        context = stream.codec_context
        has_decoder, has_several_frames = context is not None, stream.frames != 1
        is_default = bool(stream.disposition & av.stream.Disposition.default)
        return has_decoder, has_several_frames, is_default, size(context) if has_decoder else 0

    return max(streams, key=rank, default=None)


def _is_still(stream: Any) -> bool:
    """Return whether a stream contains cover art or chapter thumbnails."""
    import av

    disposition = av.stream.Disposition
    return bool(stream.disposition & (disposition.attached_pic | disposition.timed_thumbnails))
