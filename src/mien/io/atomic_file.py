"""Atomic writes: a file appears complete or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mien.errors import UserError

TEMPORARY_PREFIX = ".mien-"
"""Start of the names of temporary files; a killed process leaves them."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The error numbers of a full disk, of an exceeded quota and of a file that is too large."""

MAX_NAME_BYTES = 255
"""Longest file name of common file systems, in bytes."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends without an error.

    Missing parent folders are created. A block that deletes the temporary file leaves `path`
    unchanged.

    Args:
        path: The file to create or replace.

    Yields:
        An empty temporary file in the same folder, with the same suffix.

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
        path.exists()  # raises now, not after hours, if the name is too long
    except OSError as error:
        raise write_error(path, error) from None
    temporary = temporary_beside(path)
    try:
        yield temporary
        if temporary.exists():
            move_into_place(temporary, path)
    except OSError as error:
        is_of_this_file = str(temporary) in map(str, (error.filename, error.filename2))
        if error.errno not in DISK_FULL and not is_of_this_file:
            raise
        raise write_error(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Create an empty file with a unique, short, hidden name in the folder of `path`."""
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=TEMPORARY_PREFIX, suffix=path.suffix
        )
    except OSError as error:
        raise write_error(path, error) from None
    os.close(handle)
    return Path(name)


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`, replacing an existing file."""
    # mkstemp creates private files; an output has the permissions of any other new file.
    mask = os.umask(0)
    os.umask(mask)
    try:
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from None


def shorten(name: str, max_bytes: int) -> str:
    """The start of a file name that takes at most `max_bytes` bytes, without half a character."""
    encoded = os.fsencode(name)
    if len(encoded) <= max_bytes:
        return name
    return encoded[:max_bytes].decode(errors="ignore").rstrip()


def check_not_source(path: Path, source: str) -> None:
    """Raise `UserError` if writing `path` would overwrite the file that is being read."""
    with suppress(OSError, ValueError):  # the source does not exist, or is not a valid path
        if path.samefile(source):
            raise UserError(
                f"Cannot write {path}: it is the source itself. Name another file or folder."
            )


def write_error(path: Path, error: OSError) -> UserError:
    """The `UserError` for a failed write, with the reason given by the operating system."""
    # error.strerror can hold a long message of a library, such as pyarrow.
    return UserError(f"Cannot write {path}: {os.strerror(error.errno or errno.EIO)}.")
