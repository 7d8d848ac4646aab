"""Frames made in a thread of their own, a bounded number of pixels ahead of whoever takes them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mien.results import Frame

DEPTH = 40_000_000
"""Pixels that the maker may be ahead by: six frames at 4K."""


@contextmanager
def prefetch(make: Callable[[Callable[[], bool]], Iterator[Frame]]) -> Iterator[Iterator[Frame]]:
    """The frames that `make(stopped)` gives, made in a thread; it ends with the block.

    stopped: tells a maker that works long for a frame whether anybody still waits for it.
    """
    waiting: queue.Queue[Frame | BaseException | None] = queue.Queue()
    room = threading.Condition()
    pixels, stopped = 0, False

    def has_room() -> bool:
        return stopped or pixels < DEPTH

    def work() -> None:
        nonlocal pixels
        last: BaseException | None = None
        try:
            for frame in make(lambda: stopped):
                with room:
                    room.wait_for(has_room)
                    if stopped:
                        return
                    pixels += frame.pixels.size // 3
                waiting.put(frame)
        except BaseException as error:  # it belongs to whoever takes the frames
            last = error
        waiting.put(last)

    def take() -> Iterator[Frame]:
        nonlocal pixels
        while isinstance(item := waiting.get(), Frame):
            with room:
                pixels -= item.pixels.size // 3
                room.notify()
            yield item
        if item is not None:
            raise item

    maker = threading.Thread(target=work, name="decoder", daemon=True)
    maker.start()
    try:
        yield take()
    finally:
        with room:
            stopped = True
            room.notify()
        # Whoever left a reader behind has it closed wherever garbage is collected; here, perhaps.
        if threading.current_thread() is not maker:
            maker.join()
