"""A record per line while a run goes on, and the file that they become at its end.

A run that is stopped, however roughly, leaves the lines in `PATH.part`, from which another goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO, IOBase
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows; there, two that go on with the same are the person's own lookout
    fcntl = None  # type: ignore[assignment]

from mien.errors import UserError
from mien.io import atomic_file
from mien.results import Result, Write

Finish = Callable[[Iterator[dict], Path], None]
"""Writes records to a path, in the form that its suffix says."""


def part_path(path: Path) -> Path:
    """Where the lines are kept while a run goes on."""
    return path.with_name(path.name + ".part")


@contextmanager
def open_resumable(path: Path, resume: bool, finish: Finish | None = None) -> Iterator[Write]:
    """Keep what is written in `PATH.part`, line by line, and make `path` of it at the end.

    Without `finish`, the lines are the file. An error leaves the part, unless it is empty; without
    a frame there is no file. Raises `UserError` if there is a part already that holds something,
    and it is not `resume`, or if somebody else is writing it.
    """
    lines = part_path(path)
    with _opened(lines, resume) as file:

        def write(result: Result) -> None:
            _add(path, file, json.dumps(result.to_dict(), ensure_ascii=False) + "\n")

        try:
            yield write
            if file.tell() and finish is None:
                atomic_file.move_into_place(lines, path)
            elif file.tell() and finish is not None:
                with atomic_file.atomic_write(path) as temporary:
                    finish(read_records(path), temporary)
                file.truncate(0)
                file.seek(0)
        finally:
            if not file.tell():
                lines.unlink(missing_ok=True)


def read_common_records(paths: Sequence[Path]) -> Iterator[dict]:
    """The records that an interrupted run left for every one of these paths, in order.

    What one has more of than another is cut off. Raises `UserError` if only some have any.
    """
    left = [path for path in paths if part_path(path).exists()]
    if not left:
        return
    if len(left) < len(paths):
        parts = ", ".join(str(part_path(path)) for path in left)
        raise UserError(f"What was stopped left {parts} alone; --resume with the same --to.")
    truncate(paths, min(sum(1 for _ in read_records(path)) for path in paths))
    yield from read_records(paths[0])


def read_records(path: Path) -> Iterator[dict]:
    """The records that `PATH.part` holds; half a line at its end is left out."""
    with open(part_path(path), encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def truncate(paths: Sequence[Path], count: int) -> None:
    """Leave only the first so many records of what an interrupted run left."""
    for path in paths:
        with open(part_path(path), "rb+") as file:
            _lock(part_path(path), file)
            for _ in range(count):
                file.readline()
            file.truncate(file.tell())


@contextmanager
def _opened(lines: Path, resume: bool) -> Iterator[FileIO]:
    try:
        file = open(lines, "ab" if resume or fcntl else "xb", buffering=0)  # noqa: SIM115
    except FileExistsError:
        raise _holds(lines) from None
    except OSError as error:
        raise atomic_file.write_error(lines.with_suffix(""), error) from None
    with file:
        _lock(lines, file)
        if file.seek(0, 2) and not resume:
            raise _holds(lines)
        yield file


def _holds(lines: Path) -> UserError:
    return UserError(
        f"{lines} holds what a run found that was stopped. The same mien analyze with --resume "
        "goes on with it; or move it away."
    )


def _lock(lines: Path, file: IOBase) -> None:
    """Nobody else writes this part meanwhile; the claim ends with the process."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its name may have been taken from it since it was opened, by a run that just ended.
        mine = os.path.samestat(os.fstat(file.fileno()), lines.stat())
    except OSError:
        mine = False
    if not mine:
        raise UserError(f"{lines} is being written by another run.")


def _add(path: Path, file: FileIO, text: str) -> None:
    """Add text, whole or not at all."""
    start, rest = file.tell(), text.encode(errors="replace")  # a file's name need not be UTF-8
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        file.truncate(start)
        file.seek(start)
        raise atomic_file.write_error(path, error) from None
