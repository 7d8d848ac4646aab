"""Text that is written piece by piece and takes its name at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from io import FileIO
from itertools import chain, count
from pathlib import Path

from mien import atomic
from mien.errors import UserError


@contextmanager
def written(path: Path) -> Iterator[Callable[[str], None]]:
    """A function that adds text, whole or not at all, to a file that gets its name at the end.

    If the block ends in an error, what was added takes the name only if no file has it, and is kept
    as `PATH.part` otherwise. Where nothing was added, there is no file.
    """
    hidden = atomic.beside(path)
    try:
        with hidden.open("wb", buffering=0) as file:
            yield partial(_add, path, file)
        _name(hidden, path)
    except BaseException:
        # Nothing may hide the first error; where this fails as well, the hidden file is left.
        with suppress(OSError, UserError):
            _name(hidden, path, fresh=True)
        raise


def _add(path: Path, file: FileIO, text: str) -> None:
    start, rest = file.tell(), text.encode()
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        file.truncate(start)
        file.seek(start)
        raise atomic.cannot(path, error) from None


def _name(hidden: Path, path: Path, *, fresh: bool = False) -> None:
    if hidden.stat().st_size:
        atomic.place(hidden, _free(path) if fresh else path)
    else:
        hidden.unlink()


def _free(path: Path) -> Path:
    """`path`, or the first of PATH.part, PATH.part(2), ... that no file has; made, to keep it."""
    parts = (f"{path.name}.part" + (f"({k})" if k > 1 else "") for k in count(1))
    return next(filter(_made, map(path.with_name, chain([path.name], parts))))


def _made(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
