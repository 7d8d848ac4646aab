"""Prefetch frames in a thread, with a bounded number of pixels in memory."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mien.results import Frame

DEPTH = 12_000_000
"""Pixels that are decoded in advance at most: about six frames at 1080p."""


@contextmanager
def prefetch(
    make_frames: Callable[[Callable[[], bool]], Iterator[Frame]],
) -> Iterator[Iterator[Frame]]:
    """Run a frame iterator in a thread that ends with the block.

    Args:
        make_frames: Called in the thread with `is_stopped`, a function that returns whether the
            block has ended; it returns the frames. Long work on one frame should check it.

    Yields:
        The same frames, in order. They raise what `make_frames` raises.
    """
    pending: queue.Queue[Frame | BaseException | None] = queue.Queue()
    changed = threading.Condition()
    pixels, stopped = 0, False

    def may_continue() -> bool:
        return stopped or pixels < DEPTH

    def produce() -> None:
        nonlocal pixels
        end: BaseException | None = None
        try:
            for frame in make_frames(lambda: stopped):
                with changed:
                    changed.wait_for(may_continue)
                    if stopped:
                        return
                    pixels += frame.pixels.size // 3
                pending.put(frame)
        except BaseException as error:  # raised again in the consumer
            end = error
        pending.put(end)

    def consume() -> Iterator[Frame]:
        nonlocal pixels
        while isinstance(item := pending.get(), Frame):
            with changed:
                pixels -= item.pixels.size // 3
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
        # An abandoned iterator is closed where garbage collection runs, perhaps in this thread.
        if threading.current_thread() is not producer:
            producer.join()
