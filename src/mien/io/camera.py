"""Cameras and streams -> the newest frame, for as long as they last.

What is live does not wait and is never queued: whoever is slow sees the newest frame and misses
some.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from mien.errors import UserError
from mien.io.image import SUFFIXES
from mien.io.video import Skip, is_remote, opened, upright, warned, why
from mien.results import Frame

STREAM = re.compile(r"(rtsps?|rtmps?|https?|udp|srt|tcp)://", re.IGNORECASE)
SECRET = re.compile(r"(://[^/@:]*:)[^/]*@")
CAMERA = re.compile(r"camera(?::(\d+))?$", re.IGNORECASE)

WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before each further attempt at a stream that died; the last one again and again."""

LONGEST = 1e6
"""Seconds that nobody waits for a frame."""

PATIENCE = 10.0
"""Seconds in which a stream must answer, and go on."""


def is_live(where: str) -> bool:
    """Whether it is a camera (`camera`, `camera:1`), and no file, or the address of a stream."""
    if number(where) is not None:
        return True
    return bool(STREAM.match(where)) and not (is_remote(where) or is_picture(where))


def is_picture(where: str) -> bool:
    """Whether it is the address of a single picture, which is no stream and is not fetched."""
    address = urlsplit(where)
    return address.scheme in ("http", "https") and Path(address.path).suffix.lower() in SUFFIXES


def number(where: str) -> int | None:
    """Which camera it is, or None if it is no camera."""
    found = CAMERA.match(where)
    return int(found[1] or 0) if found and not Path(where).exists() else None


def shown(where: str) -> str:
    """An address as it may be shown and kept: without a password in it."""
    return SECRET.sub(r"\1***@", where)


def frames(
    where: str,
    skip: Skip | None = None,
    attempts: int = 0,
    began: float | None = None,
    until: float = math.inf,
) -> Iterator[Frame]:
    """The newest frames of a camera or stream, for as long as it lasts.

    Seconds count by the clock from the first frame, or from `began` (`time.monotonic()`). A stream
    that dies is tried again, ever more slowly, and `skip` is told; after `attempts` failures in a
    row (0: never) it raises `UserError`, as it does for what has not been there from the beginning.
    until: the second at which it ends, whether frames come or not.
    """
    told = skip or warned

    def left() -> float:
        return LONGEST if began is None else min(began + until - time.monotonic(), LONGEST)

    nothing = True
    for frame in _newest(lambda stop: _connected(where, told, attempts, stop), left):
        nothing, began = False, frame.seconds if began is None else began
        yield replace(frame, seconds=frame.seconds - began)
    if nothing:
        raise UserError(f"{shown(where)} gave no picture within {until:g} s.")


def _connected(where: str, skip: Skip, attempts: int, stop: threading.Event) -> Iterator[Frame]:
    """Frames as they arrive, with the clock's time; comes back when a stream dies."""
    failed = count = 0
    camera, name = number(where), shown(where)
    while not stop.is_set():
        try:
            for pixels in _stream(where) if camera is None else _camera(camera):
                if stop.is_set():
                    return
                yield Frame(pixels, name, count, time.monotonic())
                failed, count = 0, count + 1
            error = UserError(f"{name} has ended.")
        except UserError as found:
            error = UserError(str(found).replace(where, name))
        failed += 1
        if camera is not None or not count or 0 < attempts <= failed:
            raise error
        wait = WAITS[min(failed, len(WAITS)) - 1]
        skip(UserError(f"{str(error).rstrip('.')}; trying again in {wait:g} s."))
        stop.wait(wait)


def _camera(which: int) -> Iterator[np.ndarray]:
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


def _stream(where: str) -> Iterator[np.ndarray]:
    import av

    options = {"rtsp_transport": "tcp"} if where.lower().startswith("rtsp") else {}
    with opened(where, options=options, timeout=(PATIENCE, PATIENCE)) as (container, stream):
        packets = container.demux(stream)
        while True:
            try:
                found = next(packets).decode()
            except StopIteration:
                return
            except av.error.InvalidDataError:
                continue
            except (av.error.FFmpegError, ValueError) as error:
                raise UserError(f"{where} broke off: {why(error)}.") from None
            for picture in found:
                yield upright(picture)


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
