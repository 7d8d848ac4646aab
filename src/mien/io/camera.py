"""Cameras and streams -> the newest frame, for as long as they last.

What is live does not wait and is never queued: whoever is slow sees the newest frame and misses
some.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from mien.errors import UserError
from mien.io.source import Source
from mien.io.video import ErrorCallback, open_video, reason, to_upright_rgb, warn
from mien.results import Frame

WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before each further attempt at a stream that died; the last one again and again."""

LONGEST = 1e6
"""Seconds that nobody waits for a frame."""

PATIENCE = 10.0
"""Seconds in which a stream must answer, and go on."""


def frames(
    source: Source,
    on_error: ErrorCallback | None = None,
    attempts: int = 0,
    began: float | None = None,
    until: float = math.inf,
) -> Iterator[Frame]:
    """The newest frames of a camera or stream, for as long as it lasts.

    Seconds count by the clock from the first frame, or from `began` (`time.monotonic()`). A stream
    that breaks off is opened again, with growing delays, and the error goes to `on_error`. Raises
    `UserError` after `attempts` failures in a row (0: never), and if the source cannot be opened.
    until: the second at which it ends, whether frames come or not.
    """
    told = on_error or warn

    def left() -> float:
        return LONGEST if began is None else min(began + until - time.monotonic(), LONGEST)

    nothing = True
    for frame in _newest(lambda stop: _connected(source, told, attempts, stop), left):
        nothing, began = False, frame.seconds if began is None else began
        yield replace(frame, seconds=frame.seconds - began)
    if nothing:
        raise UserError(f"{source.name} gave no picture within {until:g} s.")


def _connected(
    source: Source, on_error: ErrorCallback, attempts: int, stop: threading.Event
) -> Iterator[Frame]:
    """Frames as they arrive, with the clock's time; comes back when a stream dies."""
    failed = count = 0
    while not stop.is_set():
        try:
            for pixels in _camera(source) if source.kind == "camera" else _stream(source):
                if stop.is_set():
                    return
                yield _frame(source, pixels, count)
                failed, count = 0, count + 1
            error = UserError(f"{source.name} has ended.")
        except UserError as found:
            error = found
        failed += 1
        if source.kind == "camera" or not count or 0 < attempts <= failed:
            raise error
        wait = WAITS[min(failed, len(WAITS)) - 1]
        on_error(UserError(f"{str(error).rstrip('.')}; trying again in {wait:g} s."))
        stop.wait(wait)


def _frame(source: Source, pixels: np.ndarray, count: int) -> Frame:
    return Frame(pixels, source.name, count, time.monotonic(), kind=source.kind)


def _camera(source: Source) -> Iterator[np.ndarray]:
    which = int(source.location)
    try:
        import cv2
    except ImportError:
        raise UserError(
            "A camera needs OpenCV: in mien's folder, pip install '.[camera]'."
        ) from None
    with _silent():
        camera = cv2.VideoCapture(which)
    try:
        if not camera.isOpened():
            raise UserError(f"There is no camera {which}, or another program has it.")
        while True:
            there, pixels = camera.read()
            if not there:
                raise UserError(f"Camera {which} gives no more pictures.")
            yield cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    finally:
        camera.release()


@contextmanager
def _silent() -> Iterator[None]:
    """Without OpenCV's warnings of a camera that is not there, which we tell ourselves."""
    from cv2.utils import logging

    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _stream(source: Source) -> Iterator[np.ndarray]:
    import av

    options = {"rtsp_transport": "tcp"} if source.location.lower().startswith("rtsp") else {}
    timeout = (PATIENCE, PATIENCE)
    with open_video(source, options=options, timeout=timeout) as (container, stream):
        packets = container.demux(stream)
        while True:
            try:
                found = next(packets).decode()
            except StopIteration:
                return
            except av.error.InvalidDataError:
                continue
            except (av.error.FFmpegError, ValueError) as error:
                raise UserError(f"{source.name} broke off: {reason(error)}.") from None
            for picture in found:
                yield to_upright_rgb(picture)


def _newest(
    make: Callable[[threading.Event], Iterator[Frame]], left: Callable[[], float]
) -> Iterator[Frame]:
    """The frame that is newest each time one is asked for; the others are dropped.

    left: how many seconds it may be waited for.
    """
    stop, changed = threading.Event(), threading.Condition()
    newest: list[Frame] = []
    ended: list[BaseException | None] = []

    def watch() -> None:
        last: BaseException | None = None
        try:
            for frame in make(stop):
                with changed:
                    newest[:] = [frame]
                    changed.notify()
        except BaseException as error:  # it belongs to whoever takes the frames
            last = error
        with changed:
            ended.append(last)
            changed.notify()

    threading.Thread(target=watch, name="live", daemon=True).start()
    try:
        while True:
            with changed:
                if left() <= 0 or not changed.wait_for(lambda: newest or ended, left()):
                    return
                frame = newest.pop() if newest else None
            if frame is None:
                if ended[0] is not None:
                    raise ended[0]
                return
            yield frame
    finally:
        stop.set()
