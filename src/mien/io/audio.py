"""Copy the audio of a video into an MP4; re-encode it as AAC if MP4 does not support its codec."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from mien.errors import ErrorCallback, UserError, warn
from mien.io.clock import MAX_BACKWARD_STEP
from mien.io.container import (
    audio_stream,
    demux,
    end_time,
    may_reset_timestamps,
    open_container,
    reason,
    start_time,
    video_stream,
)

COPIED_CODECS = ("aac", "mp3", "ac3", "eac3", "opus", "alac")
"""Codecs that are copied, because MP4 supports them; audio in other codecs is encoded as AAC."""

SAMPLE_RATE = 48_000
"""Samples per second of re-encoded audio."""

AAC_FRAME_SAMPLES = 1024
"""Samples per channel in a frame of re-encoded audio, as the AAC encoder requires."""

MAX_EARLY_SECONDS = 0.05
"""A packet is still copied if it begins at most this many seconds before the start of the copy."""

END_TOLERANCE = 0.02
"""A consumer that is at most this many seconds before the stated end of the video gets all the
remaining audio, because times are rounded."""

AudioCopy = Generator[float, None, None]
"""A generator that writes audio step by step, and yields the second up to which audio is written.

The first step only adds the audio stream. A consumer advances the generator until the yielded
second is at least that of its video. Yielded seconds are at most the stated end of the video less
`END_TOLERANCE`; a consumer that waits for a later second exhausts the generator, so that the audio
after the last video frame is also written. Closing the generator flushes the encoder.
"""


def copy_audio(
    source: str, start_seconds: float, out: Any, name: str = "", on_warning: ErrorCallback = warn
) -> AudioCopy:
    """Copy the audio of a file into an open container, from a given second on.

    If the file has no audio, nothing is copied.

    Args:
        source: Path of the file.
        start_seconds: The second of the file that becomes second 0 of the output.
        out: The PyAV output container.
        name: Name of the file in messages; by default, the path.
        on_warning: Called with a `UserError` if the audio, or the rest of it, cannot be copied; by
            default, a Python warning is issued.

    Yields:
        The second of the output up to which audio is written; see `AudioCopy`.
    """
    import av

    position = 0.0
    try:
        with open_container(source) as container:
            for position in _copy_stream(container, start_seconds, out):
                yield position
    except (av.error.FFmpegError, OSError, UserError) as error:
        after = f" after {position:.1f} s" if position else ""
        on_warning(
            UserError(f"The audio of {name or source}{after} was not copied: {reason(error)}.")
        )


def no_audio() -> AudioCopy:
    """Copy nothing."""
    yield from ()


def _copy_stream(container: Any, start_seconds: float, out: Any) -> AudioCopy:
    stream = audio_stream(container)
    if stream is None:
        return
    if stream.codec_context is None:
        raise UserError("its codec is not supported")  # `copy_audio` adds the name of the file
    start = float(start_time(container)) + start_seconds
    end = _video_end(container) - start - END_TOLERANCE
    copy = _copy_packets if stream.codec_context.name in COPIED_CODECS else _encode
    yield from copy(stream, start, end, out)


def _copy_packets(stream: Any, start: float, end: float, out: Any) -> AudioCopy:
    """Copy the packets from the timestamp `start` on; `end` is in seconds of the output."""
    copy = out.add_stream_from_template(stream)
    yield 0.0
    to_continuous = _time_mapper(stream.time_base)
    for packet in demux(stream.container, stream):
        if packet.pts is None or packet.dts is None:
            continue
        delay = packet.pts - packet.dts
        packet.dts = to_continuous(packet.dts, packet.duration or 0)
        packet.pts = packet.dts + delay
        seconds = float(packet.pts * packet.time_base) - start
        if seconds < -MAX_EARLY_SECONDS:
            continue
        offset = round(start / packet.time_base)
        packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
        packet.stream = copy
        packet_end = seconds + float((packet.duration or 0) * packet.time_base)
        out.mux(packet)
        yield min(packet_end, end)


def _encode(stream: Any, start: float, end: float, out: Any) -> AudioCopy:
    """Encode the audio from the timestamp `start` on; `end` is in seconds of the output."""
    import av

    layout = "mono" if stream.codec_context.channels == 1 else "stereo"
    encoder = out.add_stream("aac", rate=SAMPLE_RATE, layout=layout)
    yield 0.0
    try:
        for frame in _resample(stream, start, layout):
            out.mux(encoder.encode(frame))
            frame_end = float(frame.pts * frame.time_base) + frame.samples / SAMPLE_RATE
            yield min(frame_end, end)
    finally:
        with contextlib.suppress(av.error.FFmpegError):
            out.mux(encoder.encode(None))


def _resample(stream: Any, start: float, layout: str) -> Iterator[Any]:
    """Yield the decodable audio from `start` on, in frames for the encoder."""
    import av

    resampler = None
    audio_format: tuple[str, str, int] | None = None
    for frame in _decode(stream):
        seconds = float(frame.pts * frame.time_base) - start
        if seconds + frame.samples / frame.sample_rate <= 0:
            continue
        previous = audio_format
        audio_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if audio_format != previous:
            if resampler:
                yield from resampler.resample(None)
            resampler = av.AudioResampler("fltp", layout, SAMPLE_RATE, AAC_FRAME_SAMPLES)
        frame.pts -= round(start / frame.time_base)
        assert resampler
        for resampled in resampler.resample(frame):
            trimmed = _trim_before_zero(resampled)
            if trimmed is not None:
                yield trimmed
    if resampler:
        yield from resampler.resample(None)


def _decode(stream: Any) -> Iterator[Any]:
    import av

    to_continuous = _time_mapper(stream.time_base)
    for packet in demux(stream.container, stream):
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            for frame in packet.decode():
                if frame.pts is not None:
                    duration = frame.samples / frame.sample_rate / frame.time_base
                    frame.pts = to_continuous(frame.pts, round(duration))
                    yield frame


def _time_mapper(time_base: Fraction) -> Callable[[int, int], int]:
    """Return a function that makes times continuous where the timestamps of a file restart.

    The function takes a time and a duration, and returns the continuous time; all are in units of
    `time_base` seconds.
    """
    max_step, offset = round(MAX_BACKWARD_STEP / time_base), 0
    # With 0 instead of None, audio that begins at a negative time would count as a restart.
    end: int | None = None

    def to_continuous(time: int, duration: int) -> int:
        nonlocal offset, end
        if end is not None and time + offset < end - max_step:
            offset = end - time
        end = time + offset + duration
        return time + offset

    return to_continuous


def _trim_before_zero(frame: Any) -> Any:
    """Return an audio frame without the samples before second 0, or None if none remain."""
    import av

    early_samples = round(-frame.pts * frame.time_base * SAMPLE_RATE)
    if early_samples <= 0:
        return frame
    if early_samples >= frame.samples:
        return None
    samples = np.ascontiguousarray(frame.to_ndarray()[:, early_samples:])
    remaining = av.AudioFrame.from_ndarray(samples, format="fltp", layout=frame.layout.name)
    remaining.sample_rate, remaining.pts = SAMPLE_RATE, 0
    remaining.time_base = Fraction(1, SAMPLE_RATE)
    return remaining


def _video_end(container: Any) -> float:
    """Return the timestamp in seconds at which the video ends, or infinity if it is not stated."""
    stream = video_stream(container)
    # If timestamps may restart, the duration in the header may not be that of the whole file.
    if stream is None or may_reset_timestamps(container):
        return math.inf
    end = end_time(stream)
    return math.inf if end is None else float(end)
