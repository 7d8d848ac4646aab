"""Private temporary folders; those of killed processes are removed by the next process."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import IO

FOLDER_PREFIX = "mien-serve-"
LOCK_FILE_NAME = ".lock"


class PrivateFolder:
    """Temporary folder that only the current user can read.

    The constructor first removes the folders of killed processes.
    """

    def __init__(self) -> None:
        _remove_abandoned(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        self._lock_file = open(self.path / LOCK_FILE_NAME, "wb")  # noqa: SIM115
        _try_lock(self._lock_file)

    def close(self) -> None:
        """Remove the folder and its contents."""
        self._lock_file.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _try_lock(file: IO[bytes]) -> bool:
    """Lock a file and return whether that succeeded.

    The operating system releases the lock when the process ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows: abandoned folders are not removed
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders in `parent` whose process has ended without removing them."""
    for path in parent.glob(f"{FOLDER_PREFIX}*"):
        # The lock files of other users cannot be opened.
        with contextlib.suppress(OSError), open(path / LOCK_FILE_NAME, "rb") as file:
            if _try_lock(file):
                shutil.rmtree(path, ignore_errors=True)
