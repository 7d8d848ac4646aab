"""A private temporary folder that is removed with its process, even if the process is killed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import IO

PREFIX = "mien-serve-"
LOCK = ".lock"


class PrivateFolder:
    """A folder that only this user can read. Creating one removes those of killed processes."""

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = open(self.path / LOCK, "wb")  # noqa: SIM115
        _acquire(self._lock)

    def close(self) -> None:
        """Remove the folder and its contents."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _acquire(lock: IO[bytes]) -> bool:
    """Lock a file; True on success. The system releases the lock when the process ends."""
    try:
        import fcntl
    except ImportError:  # Windows: abandoned folders are not removed
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(parent: Path) -> None:
    for path in parent.glob(f"{PREFIX}*"):
        # Folders of other users cannot be opened.
        with contextlib.suppress(OSError), open(path / LOCK, "rb") as lock:
            if _acquire(lock):
                shutil.rmtree(path, ignore_errors=True)
