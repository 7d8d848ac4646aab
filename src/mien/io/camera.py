"""Read cameras and live streams.

Frames are never queued: a slow consumer gets the newest frame, and the others are dropped.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from mien.errors import ErrorCallback, UserError, warn
from mien.io.container import demux, open_video, reason
from mien.io.source import Source
from mien.io.video_pixels import RgbConverter
from mien.results import Frame

RETRY_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds to wait before each attempt to reconnect to a stream; the last delay repeats."""

MAX_WAIT = 1e6
"""Maximum seconds to wait for a frame; `threading` does not accept infinity."""

TIMEOUT = 10.0
"""Maximum seconds to wait for the connection of a stream, and later for its next data."""


def frames(
    source: Source,
    on_warning: ErrorCallback | None = None,
    max_failures: int = 0,
    started: float | None = None,
    end: float = math.inf,
) -> Iterator[Frame]:
    """Read a camera or stream; each step yields the newest frame.

    A stream that is interrupted after its first frame is opened again, with increasing delays
    between attempts.

    Args:
        source: The camera or stream.
        on_warning: Called with a `UserError` before each attempt to reconnect; by default, a Python
            warning is issued.
        max_failures: Number of consecutive failures of a stream after which its error is raised; 0
            for no limit.
        started: Value of `time.monotonic()` at second 0; by default, that of the first frame.
        end: The second at which reading ends, even if no frame arrives. Without `started`, the wait
            for the first frame does not count.

    Yields:
        RGB frames; their `seconds` are those of arrival, counted from second 0.

    Raises:
        UserError: The source cannot be opened, a camera is interrupted, a stream fails
            `max_failures` consecutive times, or no frame arrives before `end`.
    """
    on_warning = on_warning or warn

    def seconds_left() -> float:
        return MAX_WAIT if started is None else min(started + end - time.monotonic(), MAX_WAIT)

    is_empty = True
    for frame in _newest_frames(
        lambda stop_event: _read_and_reconnect(source, on_warning, max_failures, stop_event),
        seconds_left,
    ):
        is_empty = False
        if started is None:
            started = frame.seconds
        yield replace(frame, seconds=frame.seconds - started)
    if is_empty:
        raise UserError(
            f"No frame received from {source.name} within {end:g} s. Check that it is running."
        )


def _read_and_reconnect(
    source: Source, on_warning: ErrorCallback, max_failures: int, stop_event: threading.Event
) -> Iterator[Frame]:
    """Yield frames with the `time.monotonic()` of arrival, and reconnect if a stream fails."""
    read = _read_camera if source.kind == "camera" else _read_stream
    failures = count = 0
    while not stop_event.is_set():
        try:
            for pixels in read(source):
                if stop_event.is_set():
                    return
                yield Frame(pixels, source.name, count, time.monotonic(), kind=source.kind)
                failures, count = 0, count + 1
            error = UserError(f"{source.name} has ended.")
        except UserError as failure:
            error = failure
        failures += 1
        if source.kind == "camera" or not count or 0 < max_failures <= failures:
            raise error
        delay = RETRY_DELAYS[min(failures, len(RETRY_DELAYS)) - 1]
        on_warning(UserError(f"{str(error).rstrip('.')}; retrying in {delay:g} s."))
        stop_event.wait(delay)


def _read_camera(source: Source) -> Iterator[np.ndarray]:
    number = int(source.location)
    try:
        import cv2
    except ImportError:
        raise UserError("Cannot open a camera: OpenCV is not installed. In the mien repository, "
                        "run pip install '.[camera]'.") from None  # fmt: skip
    with _without_opencv_warnings():
        camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise UserError(
                f"Cannot open camera {number}: it does not exist, or another program is using it. "
                "Check its number, or close the other program."
            )
        while True:
            is_read, pixels = camera.read()
            if not is_read:
                raise UserError(f"Camera {number} sends no more frames. Check its connection.")
            yield cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    finally:
        camera.release()


@contextmanager
def _without_opencv_warnings() -> Iterator[None]:
    """Silence OpenCV's warning about a missing camera; a `UserError` reports it instead."""
    from cv2.utils import logging

    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)


def _read_stream(source: Source) -> Iterator[np.ndarray]:
    import av

    # With UDP, which FFmpeg tries first, lost packets would damage frames.
    options = {"rtsp_transport": "tcp"} if source.location.lower().startswith("rtsp") else {}
    timeout = (TIMEOUT, TIMEOUT)
    with open_video(source, options=options, timeout=timeout) as (container, stream):
        packets, to_rgb = demux(container, stream), RgbConverter(stream)
        while True:
            try:
                packet = next(packets)
                # An empty packet with a timestamp stands for a dropped frame. One without a
                # timestamp marks the end of the stream, and flushes the decoder.
                decoded = packet.decode() if packet.size or packet.dts is None else []
            except StopIteration:
                return
            except av.error.InvalidDataError:  # skip a damaged packet
                continue
            except (av.error.FFmpegError, ValueError) as error:
                raise UserError(f"{source.name} was interrupted: {reason(error)}.") from None
            for av_frame in decoded:
                yield to_rgb(av_frame)


def _newest_frames(
    make_frames: Callable[[threading.Event], Iterator[Frame]], seconds_left: Callable[[], float]
) -> Iterator[Frame]:
    """Yield the newest frame at each step, and drop the frames that arrive between two steps.

    Args:
        make_frames: Called in a thread with an event that is set when reading must end.
        seconds_left: Returns the number of seconds until reading ends.
    """
    stop_event, changed = threading.Event(), threading.Condition()
    newest: list[Frame] = []  # at most one
    outcome: list[BaseException | None] = []  # empty while reading; then the error, or None

    def read() -> None:
        failure: BaseException | None = None
        try:
            for frame in make_frames(stop_event):
                with changed:
                    newest[:] = [frame]
                    changed.notify()
        except BaseException as error:  # raised again in the consumer
            failure = error
        with changed:
            outcome.append(failure)
            changed.notify()

    threading.Thread(target=read, name="live", daemon=True).start()
    try:
        while True:
            with changed:
                if seconds_left() <= 0 or not changed.wait_for(
                    lambda: newest or outcome, seconds_left()
                ):
                    return
                frame = newest.pop() if newest else None
            if frame is None:
                if outcome[0] is not None:
                    raise outcome[0]
                return
            yield frame
    finally:
        stop_event.set()
