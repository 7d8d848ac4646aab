"""How much is let in: so many pictures, so many bytes, and not one more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from mien.server.error_responses import Refused, busy


class Admission:
    """Counts what waits or is worked on, and what is held. For the event loop's thread alone.

    most: pictures at once. max_held: bytes of all bodies together, those still coming in as well.
    """

    def __init__(self, most: int, max_held: int) -> None:
        self.most, self._most_held = most, max_held
        self.taken = 0
        self.held = 0
        self._usual = 0.1

    @contextmanager
    def entered(self) -> Iterator[Entry]:
        """Let one request in, to be received; refused with 503 where nothing can be taken.

        It takes its places only when it is here, so that who sends slowly keeps nobody out.
        """
        entry = Entry(self)
        self.check(1)
        began = time.monotonic()
        try:
            yield entry
            self._usual += 0.1 * (time.monotonic() - began - self._usual)
        finally:
            entry.leave()

    def check(self, places: int) -> None:
        """Refuse with 503 if there are not so many places."""
        if self.taken + places > self.most:
            raise busy("More pictures wait than can", self.wait())

    def wait(self) -> float:
        """Seconds until what is inside will be done: as long as others spent here lately."""
        return self._usual


class Entry:
    """What one request takes of a room; given back when it leaves."""

    def __init__(self, room: Admission) -> None:
        self._room = room
        self.places = 0
        self._bytes = 0

    def take(self, places: int) -> None:
        """Take places for so many pictures; refused with 503 where there are not enough.

        Refused with 413 if there never are so many.
        """
        if places > self._room.most:
            raise Refused(413, f"Send at most {self._room.most} pictures at once.")
        self._room.check(places)
        self._room.taken += places
        self.places += places

    def hold(self, count: int) -> None:
        """Hold so many bytes more; refused with 503 where all bodies together are too large."""
        if self._room.held + count > self._room._most_held:
            raise busy("More is being received than there is memory for", self._room.wait())
        self._room.held += count
        self._bytes += count

    def leave(self) -> None:
        """Give everything back."""
        self._room.taken -= self.places
        self._room.held -= self._bytes
        self.places = self._bytes = 0
