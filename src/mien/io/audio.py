"""The sound of a video, brought into another packet by packet."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from mien.io.clock import MAX_BACKWARD_STEP
from mien.io.video import has_breaks

COPIED = ("aac", "mp3", "ac3", "eac3", "opus", "alac")
"""What an MP4 can hold as it is; all other sound is encoded anew, as AAC."""

RATE, PIECE = 48_000, 1024
"""Samples a second and, as AAC has them, in a piece."""

EARLY = 0.05
"""Seconds by which a packet that is copied may begin before the first picture."""

AudioCopy = Generator[float, None, None]
"""Puts the next bit of sound with each step, and says to which second it has come. The first step
is over before anything is put; closing it puts what is still on its way."""


def copy_audio(source: str, seconds: float, out: Any) -> AudioCopy:
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
        # Where clocks are set anew, no length is that of the whole.
        breaks = has_breaks(container)
        whole = math.inf if breaks else _length(container) - seconds - 0.02
        heard = container.streams.audio
        if known := [stream for stream in heard if stream.codec_context.name in COPIED]:
            yield from _copied(known[0], began, whole, out)
        elif heard:
            yield from _encoded(heard[0], began, whole, out)


def _copied(sound: Any, began: float, whole: float, out: Any) -> AudioCopy:
    copy = out.add_stream_from_template(sound)
    yield 0.0
    on = _goes_on(sound.time_base)
    for packet in sound.container.demux(sound):
        if packet.pts is None or packet.dts is None:
            continue
        behind = packet.pts - packet.dts
        packet.dts = on(packet.dts, packet.duration or 0)
        packet.pts = packet.dts + behind
        seconds = float(packet.pts * packet.time_base) - began
        if seconds < -EARLY:
            continue
        late = round(began / packet.time_base)
        packet.pts, packet.dts = packet.pts - late, packet.dts - late
        packet.stream = copy
        ends = seconds + float((packet.duration or 0) * packet.time_base)
        out.mux(packet)
        yield min(ends, whole)


def _encoded(sound: Any, began: float, whole: float, out: Any) -> AudioCopy:
    import av

    layout = "mono" if sound.codec_context.channels == 1 else "stereo"
    made = out.add_stream("aac", rate=RATE, layout=layout)
    yield 0.0
    try:
        for piece in _pieces(sound, began, layout):
            out.mux(made.encode(piece))
            yield min(float(piece.pts * piece.time_base) + piece.samples / RATE, whole)
    finally:
        with contextlib.suppress(av.error.FFmpegError):
            out.mux(made.encode(None))


def _pieces(sound: Any, began: float, layout: str) -> Iterator[Any]:
    """What is heard from then on, in even pieces of an encoder's size; damage is left out."""
    import av

    even, kind = None, None
    for heard in _decoded(sound):
        seconds = float(heard.pts * heard.time_base) - began
        if seconds + heard.samples / heard.sample_rate <= 0:
            continue
        if kind != (kind := (heard.format.name, heard.layout.name, heard.sample_rate)):
            if even:
                yield from even.resample(None)
            even = av.AudioResampler("fltp", layout, RATE, PIECE)
        heard.pts -= round(began / heard.time_base)
        assert even
        yield from filter(None, map(_from_the_start, even.resample(heard)))
    if even:
        yield from even.resample(None)


def _decoded(sound: Any) -> Iterator[Any]:
    import av

    on = _goes_on(sound.time_base)
    for packet in sound.container.demux(sound):
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            for heard in packet.decode():
                if heard.pts is not None:
                    length = heard.samples / heard.sample_rate / heard.time_base
                    heard.pts = on(heard.pts, round(length))
                    yield heard


def _goes_on(base: Fraction) -> Callable[[int, int], int]:
    """Times that go on where a clock was set back: (time, length) in ticks of `base` -> time."""
    back, shift = round(MAX_BACKWARD_STEP / base), 0
    end: int | None = None  # sound may begin long before second 0

    def on(time: int, length: int) -> int:
        nonlocal shift, end
        if end is not None and time + shift < end - back:
            shift = end - time
        end = time + shift + length
        return time + shift

    return on


def _from_the_start(piece: Any) -> Any:
    """A piece without what lies before second 0; None if nothing is left of it."""
    import av

    early = round(-piece.pts * piece.time_base * RATE)
    if early <= 0:
        return piece
    if early >= piece.samples:
        return None
    samples = np.ascontiguousarray(piece.to_ndarray()[:, early:])
    rest = av.AudioFrame.from_ndarray(samples, format="fltp", layout=piece.layout.name)
    rest.sample_rate, rest.pts, rest.time_base = RATE, 0, Fraction(1, RATE)
    return rest


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
