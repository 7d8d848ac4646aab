"""Prefetch frames in a thread, with a bounded number of pixels in memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mien.results import Frame

MAX_PREFETCHED_PIXELS = 12_000_000
"""Decoding pauses while at least this many pixels are queued: about six frames of 1080p."""

MakeFrames = Callable[[Callable[[], bool]], Iterator[Frame]]
"""A function that returns a frame iterator. Its argument is a function that returns whether the
consumer has stopped; the iterator should stop then, even while it skips frames."""


@contextmanager
def prefetch(make_frames: MakeFrames) -> Iterator[Iterator[Frame]]:
    """Run a frame iterator in a thread that ends with the `with` block.

    Args:
        make_frames: Called in the thread; returns the frame iterator.

    Yields:
        An iterator over the same frames, which also raises the errors of the thread.
    """
    frames = _FrameQueue()
    producer = threading.Thread(target=frames.fill, args=[make_frames], name="decoder", daemon=True)
    producer.start()
    try:
        yield iter(frames)
    finally:
        frames.stop()
        # A thread cannot join itself: if the caller drops its iterator, garbage collection may run
        # this block in the producer's thread.
        if threading.current_thread() is not producer:
            producer.join()


class _FrameQueue:
    """A queue of frames between two threads, bounded by the number of their pixels."""

    def __init__(self) -> None:
        self._items: queue.Queue[Frame | BaseException | None] = queue.Queue()
        self._queued_pixels, self._is_stopped = 0, False
        self._changed = threading.Condition()

    def fill(self, make_frames: MakeFrames) -> None:
        """Add all frames, waiting for space before each, and then their error, or None."""
        end: BaseException | None = None
        try:
            for frame in make_frames(lambda: self._is_stopped):
                with self._changed:
                    self._changed.wait_for(self._has_space_or_is_stopped)
                    if self._is_stopped:
                        return
                    self._queued_pixels += _pixel_count(frame)
                self._items.put(frame)
        except BaseException as error:  # raised again in the consumer
            end = error
        self._items.put(end)

    def __iter__(self) -> Iterator[Frame]:
        """Remove and yield the frames; raise the error after them, if there is one."""
        while True:
            item = self._items.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            with self._changed:
                self._queued_pixels -= _pixel_count(item)
                self._changed.notify()
            yield item

    def stop(self) -> None:
        """Make `fill` return."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()

    def _has_space_or_is_stopped(self) -> bool:
        return self._is_stopped or self._queued_pixels < MAX_PREFETCHED_PIXELS


def _pixel_count(frame: Frame) -> int:
    return frame.pixels.shape[0] * frame.pixels.shape[1]
