"""A private temporary folder that is gone when its process is, however that ends."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import IO

PREFIX = "mien-serve-"
LOCK = ".lock"


class Folder:
    """A folder that nobody else can read; those that killed processes left are removed first."""

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = open(self.path / LOCK, "wb")  # noqa: SIM115
        _claimed(self._lock)

    def close(self) -> None:
        """Remove it with all that is in it."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _claimed(lock: IO[bytes]) -> bool:
    """Whether the lock is ours now; it is let go when the process ends, whatever ends it."""
    try:
        import fcntl
    except ImportError:  # not on Windows; there, nothing is swept
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(place: Path) -> None:
    for path in place.glob(f"{PREFIX}*"):
        # Other people's are not ours to open.
        with contextlib.suppress(OSError), open(path / LOCK, "rb") as lock:
            if _claimed(lock):
                shutil.rmtree(path, ignore_errors=True)
