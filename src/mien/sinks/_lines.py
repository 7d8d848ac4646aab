"""Text that is written line by line and takes its name at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mien.errors import UserError


@contextmanager
def written(path: Path) -> Iterator[TextIO]:
    """A text file `PATH.part` that becomes `path` when the block ends.

    If the block ends in an error, what was written takes the name all the same (an interrupted
    job keeps its results), but an empty file is removed.
    """
    part = path.with_name(path.name + ".part")
    try:
        file = part.open("w", encoding="utf-8", newline="", buffering=1)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from None
    try:
        with file:
            yield file
    finally:
        if part.stat().st_size:
            part.replace(path)
        else:
            part.unlink()
