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

from mien.errors import UserError
from mien.io import atomic_file, audio
from mien.io.video import reason
from mien.results import Frame, Result, Write
from mien.visualization.annotate import Annotator

TICKS = 90_000
"""Time stamps a second: fine enough for every common frame rate, and for none at all."""

FORMAT = "yuv420p"
QUALITY = {"crf": "20", "preset": "veryfast"}

SINGLE_SOURCE = True


@contextmanager
def open_writer(path: Path) -> Iterator[Write]:
    """Write the frames, with their faces drawn, to an `.mp4` (H.264); their times are kept.

    Raises `UserError` for frames of a second source: a video holds one.
    """
    with atomic_file.atomic_write(path) as temporary, _Film(path, temporary) as film:
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
        self._paint = Annotator()
        self._began = self._ends = self._heard = 0.0
        self._sound: audio.AudioCopy = (0.0 for _ in ())

    def __enter__(self) -> _Film:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._out is None:
            self._temporary.unlink(missing_ok=True)
            return
        import av

        try:
            if kind is None:
                self._mux(None)
                self._sounds(self._ends)
                self._sound.close()
                self._out.close()
        except (av.error.FFmpegError, OSError) as error:
            raise self._cannot(error) from None
        finally:
            with contextlib.suppress(av.error.FFmpegError, OSError):
                self._sound.close()
                self._out.close()

    def write(self, result: Result) -> None:
        """Add one frame; what is drawn are the smoothed emotions where there are any."""
        import av

        frame = result.frame
        pixels = _even(self._paint(frame.pixels, result))
        if self._out is None:
            self._open(frame, pixels)
        if frame.source != self._source:
            raise UserError(f"{self._path} holds one video, and {frame.source} is another.")
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        if pixels.shape[:2] != self._shape:
            high, wide = self._shape
            picture = picture.reformat(wide, high, format=FORMAT, interpolation="AREA")
        # Two frames may not share a time, whatever their file says.
        seconds = frame.seconds - self._began
        self._ends = 2 * seconds - max(self._last, 0) / TICKS  # it is shown as long as the last
        self._last = picture.pts = max(self._last + 1, round(seconds * TICKS))
        picture.time_base = Fraction(1, TICKS)
        self._mux(picture)
        self._sounds(seconds)

    def _open(self, frame: Frame, pixels: np.ndarray) -> None:
        import av

        atomic_file.check_not_source(self._path, frame.source)
        self._source, self._began = frame.source, frame.seconds
        self._shape = (pixels.shape[0], pixels.shape[1])
        try:
            self._out = av.open(str(self._temporary), "w", format="mp4")
            self._picture = self._out.add_stream("libx264", options=QUALITY)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise UserError(f"Cannot write {self._path}: {reason(error)}.") from None
        self._picture.height, self._picture.width = self._shape
        self._picture.pix_fmt = FORMAT
        self._picture.time_base = self._picture.codec_context.time_base = Fraction(1, TICKS)
        if frame.kind == "video" and frame.location:
            self._sound = audio.copy_audio(frame.location, frame.seconds, self._out)
        next(self._sound, None)

    def _sounds(self, until: float) -> None:
        while self._heard < until:
            self._heard = next(self._sound, math.inf)

    def _mux(self, picture: Any) -> None:
        import av

        try:
            self._out.mux(self._picture.encode(picture))
        except (av.error.FFmpegError, OSError) as error:
            raise self._cannot(error) from None

    def _cannot(self, error: Exception) -> UserError:
        if isinstance(error, OSError):
            return atomic_file.write_error(self._path, error)
        return UserError(f"Cannot write {self._path}: {reason(error)}.")


def _even(pixels: np.ndarray) -> np.ndarray:
    """H.264 with halved colours takes only even sides: one row or column is left out.

    A single one is repeated.
    """
    high, wide = pixels.shape[:2]
    pixels = np.pad(pixels, ((0, high == 1), (0, wide == 1), (0, 0)), mode="edge")
    return np.ascontiguousarray(pixels[: max(2, high - high % 2), : max(2, wide - wide % 2)])
