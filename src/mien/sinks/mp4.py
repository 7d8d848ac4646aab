"""An annotated video with the sound of its source."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mien import atomic
from mien.drawing import Painter
from mien.errors import UserError
from mien.faces import Face, Frame
from mien.journal import Write
from mien.video import why

TICKS = 90_000
"""Time stamps a second: fine enough for every common frame rate, and for none at all."""

QUALITY = {"crf": "20", "preset": "veryfast"}

SOUNDS = ("aac", "mp3", "ac3", "eac3", "opus", "alac")
"""What an MP4 can hold as it is; other sound is left out."""


@contextmanager
def to(path: Path) -> Iterator[Write]:
    """Write the frames, with their faces drawn, to an `.mp4` (H.264); their times are kept.

    Raises `UserError` for frames of a second source: a video holds one.
    """
    with atomic.writing(path) as temporary, _Film(path, temporary) as film:
        yield film.write


class _Film:
    """The encoder, opened when the first frame tells its size."""

    def __init__(self, path: Path, temporary: Path) -> None:
        self._path, self._temporary = path, temporary
        self._out: Any = None
        self._picture: Any = None
        self._source = ""
        self._shape = (0, 0)
        self._last = -1
        self._paint = Painter()
        self._began = self._ends = 0.0
        self._sound: Iterator[Any] = iter(())

    def __enter__(self) -> _Film:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._out is None:
            self._temporary.unlink(missing_ok=True)
            return
        with contextlib.suppress(*([] if kind is None else [Exception])):
            self._mux(self._picture.encode())
            self._sounds(self._ends)
        self._out.close()

    def write(self, frame: Frame, faces: list[Face]) -> None:
        """Add one frame; what is drawn are the smoothed emotions where there are any."""
        import av

        pixels = _even(self._paint(frame.pixels, faces))
        if self._out is None:
            self._open(frame, pixels)
        if frame.source != self._source:
            raise UserError(f"{self._path} holds one video, and {frame.source} is another.")
        if pixels.shape[:2] != self._shape:
            pixels = np.ascontiguousarray(_fitted(pixels, self._shape))
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        # Two frames may not share a time, whatever their file says.
        seconds = frame.seconds - self._began
        self._ends = 2 * seconds - max(self._last, 0) / TICKS  # it is shown as long as the last
        self._last = picture.pts = max(self._last + 1, round(seconds * TICKS))
        picture.time_base = Fraction(1, TICKS)
        self._mux(self._picture.encode(picture))
        self._sounds(seconds)

    def _open(self, frame: Frame, pixels: np.ndarray) -> None:
        import av

        atomic.not_over(self._path, frame.source)
        self._source, self._began = frame.source, frame.seconds
        self._shape = (pixels.shape[0], pixels.shape[1])
        try:
            self._out = av.open(str(self._temporary), "w", format="mp4")
            self._picture = self._out.add_stream("libx264", options=QUALITY)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise UserError(f"Cannot write {self._path}: {why(error)}.") from None
        self._picture.height, self._picture.width = self._shape
        self._picture.pix_fmt = "yuv420p"
        self._picture.time_base = self._picture.codec_context.time_base = Fraction(1, TICKS)
        self._sound = self._copied(frame)
        next(self._sound, None)

    def _copied(self, frame: Frame) -> Iterator[float]:
        """Copies the sound of the source packet by packet; each time, how far it has come.

        Sound that goes on behind the last picture is kept; what lies behind a part is not.
        """
        import av

        try:
            container = av.open(frame.source)
        except (av.error.FFmpegError, OSError):
            return
        with container, contextlib.suppress(av.error.FFmpegError):
            known = [s for s in container.streams.audio if s.codec_context.name in SOUNDS]
            if not known:
                return
            began = _start(container) + frame.seconds
            whole = _length(container) - frame.seconds - 0.02
            copy = self._out.add_stream_from_template(known[0])
            yield 0.0
            for packet in container.demux(known[0]):
                if packet.pts is None or packet.dts is None:
                    continue
                seconds = float(packet.pts * packet.time_base) - began
                if seconds < -0.05:
                    continue
                late = round(began / packet.time_base)
                packet.pts, packet.dts = packet.pts - late, packet.dts - late
                packet.stream = copy
                self._out.mux(packet)
                yield min(seconds, whole)

    def _sounds(self, until: float) -> None:
        for seconds in self._sound:
            if seconds >= until:
                return

    def _mux(self, packets: list[Any]) -> None:
        import av

        try:
            self._out.mux(packets)
        except (av.error.FFmpegError, OSError) as error:
            raise UserError(f"Cannot write {self._path}: {why(error)}.") from None


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


def _even(pixels: np.ndarray) -> np.ndarray:
    """H.264 with halved colours takes only even sides: one row or column is left out.

    A single one is repeated.
    """
    high, wide = pixels.shape[:2]
    pixels = np.pad(pixels, ((0, high == 1), (0, wide == 1), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels[: max(2, high - high % 2), : max(2, wide - wide % 2)])


def _fitted(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    import cv2

    return cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA)
