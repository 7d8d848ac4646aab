"""Prefetch frames in a thread, with a bounded number of pixels in memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mien.results import Frame

MAX_PREFETCHED_PIXELS = 12_000_000
"""Maximum number of pixels that are decoded in advance; about six frames at 1080p."""


@contextmanager
def prefetch(
    make_frames: Callable[[Callable[[], bool]], Iterator[Frame]],
) -> Iterator[Iterator[Frame]]:
    """Run a frame iterator in a thread, which ends with the `with` block.

    Args:
        make_frames: Returns the frames. It is called in the thread with a function that returns
            whether the block has ended; long work on a frame should call that function.

    Yields:
        An iterator over the same frames; it raises the errors of `make_frames`.
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
        # Garbage collection closes an abandoned iterator, and may run in the producer's thread.
        if threading.current_thread() is not producer:
            producer.join()
