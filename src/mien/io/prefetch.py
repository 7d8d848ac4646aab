"""Prefetch frames in a thread, with a bounded number of pixels in memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mien.results import Frame

MAX_PREFETCHED_PIXELS = 12_000_000
"""Decoding pauses while at least this many pixels are queued: about six frames of 1080p."""


@contextmanager
def prefetch(
    make_frames: Callable[[Callable[[], bool]], Iterator[Frame]],
) -> Iterator[Iterator[Frame]]:
    """Run a frame iterator in a thread that ends with the `with` block.

    Args:
        make_frames: Returns the frame iterator. Its argument is a function that returns whether the
            block has ended; the iterator should stop then, even while it skips frames.

    Yields:
        An iterator over the same frames, which also raises the errors of the thread.
    """
    queued: queue.Queue[Frame | BaseException | None] = queue.Queue()
    changed = threading.Condition()
    queued_pixels, stopped = 0, False

    def may_add() -> bool:
        return stopped or queued_pixels < MAX_PREFETCHED_PIXELS

    def produce() -> None:
        nonlocal queued_pixels
        end: BaseException | None = None
        try:
            for frame in make_frames(lambda: stopped):
                with changed:
                    changed.wait_for(may_add)
                    if stopped:
                        return
                    queued_pixels += frame.pixels.size // 3
                queued.put(frame)
        except BaseException as error:  # raised again in the consumer
            end = error
        queued.put(end)

    def consume() -> Iterator[Frame]:
        nonlocal queued_pixels
        while isinstance(item := queued.get(), Frame):
            with changed:
                queued_pixels -= item.pixels.size // 3
                changed.notify()
            yield item
        if item is not None:
            raise item

    producer = threading.Thread(target=produce, name="decoder", daemon=True)
    producer.start()
    try:
        yield consume()
    finally:
        with changed:
            stopped = True
            changed.notify()
        # A thread cannot join itself: if the caller drops its iterator, garbage collection may run
        # this block in the producer's thread.
        if threading.current_thread() is not producer:
            producer.join()
