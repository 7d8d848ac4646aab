"""Write files atomically: a file appears complete or not at all.

A process that is killed leaves its temporary file behind. The next process that writes to the same
folder removes it. Each temporary file is locked while its process is alive, and the operating
system releases the lock when the process ends, so files in use are never removed.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, the temporary files of killed processes are not removed
    fcntl = None  # type: ignore[assignment]

from mien.errors import UserError

TEMPORARY_PREFIX = ".mien-"
"""Prefix of the names of temporary files."""

TEMPORARY_NAME = re.compile(re.escape(TEMPORARY_PREFIX) + r"[a-z0-9_]{8}(\.\w+)?")
"""Pattern of the names that `tempfile.mkstemp` creates with this prefix and a file's suffix."""

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk, an exceeded quota and a file that is too large."""

MAX_NAME_BYTES = 255
"""Maximum length of a file name in common file systems."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    Missing parent folders are created. A block that deletes the temporary file leaves `path`
    unchanged.

    Args:
        path: The file to create or replace.

    Yields:
        The path of an empty temporary file in the same folder, with the same suffix.

    Raises:
        UserError: The folder or the file cannot be written, or the disk is full.

    Example:
        ```python
        with atomic_write(Path("faces.json")) as temporary:
            temporary.write_text("[]")
        ```
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path.stat()  # raises the error for a name that is too long before any work is done
    except OSError as error:
        raise write_error(path, error) from None
    remove_abandoned(path.parent)
    descriptor, temporary = _create_temporary(path)
    try:
        yield temporary
        if temporary.exists():
            move_into_place(temporary, path)
    except OSError as error:
        # An error of the block about another file is not an error in writing `path`.
        is_about_temporary = str(temporary) in (str(error.filename), str(error.filename2))
        if is_about_temporary or error.errno in DISK_FULL_ERRNOS:
            raise write_error(path, error) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


@cache
def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder, once per process and folder."""
    if fcntl is None:
        return
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    for name in filter(TEMPORARY_NAME.fullmatch, names):
        with suppress(OSError):  # the file of another user, or in use
            _remove_if_abandoned(folder / name)


def _remove_if_abandoned(temporary: Path) -> None:
    descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if _lock(descriptor, temporary):
            temporary.unlink()
    finally:
        os.close(descriptor)


def _create_temporary(path: Path) -> tuple[int | None, Path]:
    """Create an empty file with a unique, short, hidden name in the folder of `path`.

    Returns:
        The open descriptor of the file, or None on Windows, and the path of the file. The
        descriptor holds a lock if the file system supports locks.
    """
    while True:
        try:
            descriptor, name = tempfile.mkstemp(
                dir=path.parent, prefix=TEMPORARY_PREFIX, suffix=path.suffix
            )
        except OSError as error:
            raise write_error(path, error) from None
        if fcntl is None:
            os.close(descriptor)
            return None, Path(name)
        try:
            if _lock(descriptor, Path(name)):
                return descriptor, Path(name)
        except OSError:  # without locks, `remove_abandoned` removes nothing from this file system
            return descriptor, Path(name)
        # Another process removed the file before it was locked.
        os.close(descriptor)


def _lock(descriptor: int, temporary: Path) -> bool:
    """Lock an open file; return false if another process has locked or removed it.

    Raises:
        OSError: The file system does not support locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), temporary.stat(follow_symlinks=False))
    except (BlockingIOError, FileNotFoundError):
        return False


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`, replacing an existing file.

    Raises:
        UserError: The file cannot be written.
    """
    # mkstemp creates private files; this one gets the permissions of any other new file.
    mask = os.umask(0)
    os.umask(mask)
    try:
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from None


def shorten(name: str, max_bytes: int) -> str:
    """Truncate a file name to `max_bytes` bytes; drop a split character and final spaces."""
    encoded = os.fsencode(name)
    if len(encoded) <= max_bytes:
        return name
    return encoded[:max_bytes].decode(errors="ignore").rstrip()


def check_not_source(path: Path, source: str) -> None:
    """Raise `UserError` if writing `path` would overwrite the file `source`."""
    with suppress(OSError, ValueError):  # a file does not exist, or `source` is not a path
        if path.samefile(source):
            raise UserError(
                f"Cannot write {path}: it is the input file. Choose another output path."
            )


def write_error(path: Path, error: OSError) -> UserError:
    """Create the `UserError` for a failed write, with the operating system's reason."""
    # error.strerror may be a long message of a library, such as pyarrow.
    number = error.errno or errno.EIO
    advice = "Choose another output path."
    if number in DISK_FULL_ERRNOS:
        advice = "Free disk space, or choose another output path."
    return UserError(f"Cannot write {path}: {os.strerror(number)}. {advice}")
