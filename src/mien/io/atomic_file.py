"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mien.errors import UserError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without error.

    A block that removes the file leaves `path` as it was. Missing parent folders are made. Raises
    `UserError` where the folder cannot be written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from None
    temporary = temporary_beside(path)
    try:
        yield temporary
        if temporary.exists():
            move_into_place(temporary, path)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise write_error(path, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A new empty file in the folder of `path`, with a hidden name that nobody else has."""
    try:
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix
        )
    except OSError as error:
        raise write_error(path, error) from None
    os.close(handle)
    return Path(name)


def move_into_place(temporary: Path, path: Path) -> None:
    """Give `temporary` the name `path`, in the place of a file that had it."""
    # mkstemp makes private files; a result is as readable as any other new file.
    mask = os.umask(0)
    os.umask(mask)
    try:
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise write_error(path, error) from None


def check_not_source(path: Path, source: str) -> None:
    """Raise `UserError` if writing `path` would destroy what it is made from."""
    with suppress(OSError, ValueError):  # no such file, or no name that a file can have
        if path.samefile(source):
            raise UserError(f"{path} is the source itself; name another file or folder.")


def write_error(path: Path, error: OSError) -> UserError:
    """The error that says that `path` cannot be written, and why."""
    # Not error.strerror, in which pyarrow tells a story.
    return UserError(f"Cannot write {path}: {os.strerror(error.errno or errno.EIO)}.")
