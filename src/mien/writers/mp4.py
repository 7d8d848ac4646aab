"""Write an annotated video with the audio of its source."""

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
from mien.io.container import reason
from mien.results import Frame, Result, ResultWriter
from mien.visualization.annotate import Annotator

TICKS_PER_SECOND = 90_000
"""Resolution of timestamps, fine enough for all common and for variable frame rates."""

PIXEL_FORMAT = "yuv420p"
ENCODER_OPTIONS = {"crf": "20", "preset": "veryfast", "threads": "4"}
"""The number of threads is fixed, because each encoder thread buffers frames, so that memory would
grow with the number of cores."""

MAX_SECONDS = 1e9
"""Maximum time of a frame, in seconds after the first one. Damaged files can have much larger
timestamps, which FFmpeg cannot represent."""

IS_SINGLE_SOURCE = True


@contextmanager
def open_writer(path: Path) -> Iterator[ResultWriter]:
    """Open a writer for an annotated `.mp4` video (H.264).

    The video has the frame timing of its source, starting at 0 s.

    Raises:
        UserError: If a frame of a second source is written, or the file cannot be written.
    """
    with atomic_file.atomic_write(path) as temporary, _Encoder(path, temporary) as encoder:
        yield encoder.write


class _Encoder:
    """Encodes annotated frames as a video of the size of the first frame."""

    def __init__(self, path: Path, temporary: Path) -> None:
        self._path, self._temporary = path, temporary
        self._container: Any = None
        self._stream: Any = None
        self._source = ""
        self._shape = (0, 0)
        self._last_pts = -1
        self._annotate = Annotator()
        self._start = self._end = self._audio_end = 0.0
        self._audio = audio.no_audio()

    def __enter__(self) -> _Encoder:
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        if self._container is None:  # without frames, `atomic_write` must not replace the output
            self._temporary.unlink(missing_ok=True)
            return
        import av

        try:
            if error_type is None:
                self._mux(None)
                self._copy_audio(self._end)
                self._audio.close()
                self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            raise self._write_error(error) from None
        finally:
            with contextlib.suppress(av.error.FFmpegError, OSError):
                self._audio.close()
                self._container.close()

    def write(self, result: Result) -> None:
        """Annotate the frame of a result, and encode it."""
        import av

        frame = result.frame
        pixels = _with_even_sides(self._annotate(frame.pixels, result))
        if self._container is None:
            self._open(frame, pixels)
        if frame.source != self._source:
            raise UserError(
                f"{self._path} can hold only one video; write {frame.source} to another file."
            )
        if pixels.shape[:2] != self._shape:
            pixels = _fit(pixels, self._shape)
        seconds = frame.seconds - self._start
        if seconds > MAX_SECONDS:
            raise UserError(
                f"Cannot write {self._path}: {frame.source} has a frame at {frame.seconds:.3g} s. "
                "Use --until to leave it out."
            )
        # If this is the last frame, it is shown as long as the previous one.
        previous_seconds = max(self._last_pts, 0) / TICKS_PER_SECOND
        self._end = seconds + (seconds - previous_seconds)
        av_frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        # MP4 needs increasing timestamps, even if those of the source repeat.
        self._last_pts = av_frame.pts = max(self._last_pts + 1, round(seconds * TICKS_PER_SECOND))
        av_frame.time_base = Fraction(1, TICKS_PER_SECOND)
        self._mux(av_frame)
        self._copy_audio(seconds)

    def _open(self, frame: Frame, pixels: np.ndarray) -> None:
        import av

        atomic_file.check_not_source(self._path, frame.location or frame.source)
        self._source, self._start = frame.source, frame.seconds
        self._shape = (pixels.shape[0], pixels.shape[1])
        try:
            self._container = av.open(str(self._temporary), "w", format="mp4")
            self._stream = self._container.add_stream("libx264", options=ENCODER_OPTIONS)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise UserError(f"Cannot write {self._path}: {reason(error)}.") from None
        self._stream.height, self._stream.width = self._shape
        self._stream.pix_fmt = PIXEL_FORMAT
        self._stream.time_base = self._stream.codec_context.time_base = Fraction(
            1, TICKS_PER_SECOND
        )
        if frame.kind == "video" and frame.location:
            self._audio = audio.copy_audio(
                frame.location, frame.seconds, self._container, frame.source
            )
        next(self._audio, None)  # adds the audio stream, before the first frame is written

    def _copy_audio(self, until: float) -> None:
        """Write audio up to at least this second of the output, or all of it if it is shorter."""
        while self._audio_end < until:
            self._audio_end = next(self._audio, math.inf)

    def _mux(self, av_frame: Any) -> None:
        import av

        try:
            self._container.mux(self._stream.encode(av_frame))
        except (av.error.FFmpegError, OSError) as error:
            raise self._write_error(error) from None

    def _write_error(self, error: Exception) -> UserError:
        if isinstance(error, OSError):
            return atomic_file.write_error(self._path, error)
        return UserError(f"Cannot write {self._path}: {reason(error)}.")


def _with_even_sides(pixels: np.ndarray) -> np.ndarray:
    """Crop odd sides by one pixel, because H.264 with 4:2:0 chroma subsampling needs even sides.

    A side of one pixel is repeated instead.
    """
    height, width = pixels.shape[:2]
    pixels = np.pad(pixels, ((0, height == 1), (0, width == 1), (0, 0)), mode="edge")
    even_height, even_width = max(2, height - height % 2), max(2, width - width % 2)
    return np.ascontiguousarray(pixels[:even_height, :even_width])


def _fit(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a frame to (height, width); black bars preserve its aspect ratio."""
    from PIL import Image

    scale = min(shape[0] / pixels.shape[0], shape[1] / pixels.shape[1])
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    fitted = np.zeros((*shape, 3), np.uint8)
    resized = Image.fromarray(pixels).resize((width, height))
    fitted[top : top + height, left : left + width] = np.asarray(resized)
    return fitted
