"""The sound of a video, brought into another packet by packet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator
from typing import Any

COPIED = ("aac", "mp3", "ac3", "eac3", "opus", "alac")
"""What an MP4 can hold as it is; all other sound is encoded anew, as AAC."""

RATE = 48_000

EARLY = 0.05
"""Seconds by which a packet may begin before the first picture."""

Sound = Generator[float, None, None]
"""Puts the next bit of sound with each step, and says to which second it has come. The first step
is over before anything is put; closing it puts what is still on its way."""


def of(source: str, seconds: float, out: Any) -> Sound:
    """The sound of a file from that second on, into an open container.

    What goes on behind the last picture is kept; nothing comes of a file that has no sound.
    """
    import av

    try:
        container = av.open(source)
    except (av.error.FFmpegError, OSError):
        return
    with container, contextlib.suppress(av.error.FFmpegError):
        began = _start(container) + seconds
        whole = _length(container) - seconds - 0.02
        heard = container.streams.audio
        if known := [stream for stream in heard if stream.codec_context.name in COPIED]:
            yield from _copied(known[0], began, whole, out)
        elif heard:
            yield from _encoded(heard[0], began, whole, out)


def _copied(sound: Any, began: float, whole: float, out: Any) -> Sound:
    copy = out.add_stream_from_template(sound)
    yield 0.0
    for packet in sound.container.demux(sound):
        if packet.pts is None or packet.dts is None:
            continue
        seconds = float(packet.pts * packet.time_base) - began
        if seconds < -EARLY:
            continue
        late = round(began / packet.time_base)
        packet.pts, packet.dts = packet.pts - late, packet.dts - late
        packet.stream = copy
        ends = seconds + float((packet.duration or 0) * packet.time_base)
        out.mux(packet)
        yield min(ends, whole)


def _encoded(sound: Any, began: float, whole: float, out: Any) -> Sound:
    import av

    layout = "mono" if sound.codec_context.channels == 1 else "stereo"
    made = out.add_stream("aac", rate=RATE, layout=layout)
    even = av.AudioResampler("fltp", layout, RATE)
    yield 0.0
    try:
        for heard in sound.container.decode(sound):
            if heard.pts is None:
                continue
            seconds = float(heard.pts * heard.time_base) - began
            if seconds < -EARLY:
                continue
            heard.pts -= round(began / heard.time_base)
            for piece in even.resample(heard):
                out.mux(made.encode(piece))
            yield min(seconds + heard.samples / heard.sample_rate, whole)
    finally:
        with contextlib.suppress(av.error.FFmpegError):
            for piece in even.resample(None):
                out.mux(made.encode(piece))
            out.mux(made.encode(None))


def _length(container: Any) -> float:
    """Seconds after which the pictures of a file end, as far as it says so."""
    for stream in container.streams.video[:1]:
        if stream.duration:
            return float(stream.duration * stream.time_base)
    return math.inf


def _start(container: Any) -> float:
    """Seconds at which the first video stream of a file begins, by its own clock."""
    streams = container.streams.video
    return float((streams[0].start_time or 0) * streams[0].time_base) if streams else 0.0
