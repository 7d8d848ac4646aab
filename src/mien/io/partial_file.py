"""Write resumable outputs.

A run writes records as JSON lines to the partial file `PATH.part`, and converts them to the output
at its end. An interrupted run leaves the partial file, from which another run can resume.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO, IOBase
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows, two runs that write to the same file are not detected
    fcntl = None  # type: ignore[assignment]

from mien.errors import UserError
from mien.io import atomic_file
from mien.io.atomic_file import MAX_NAME_BYTES, shorten
from mien.results import Result, ResultWriter

RecordConverter = Callable[[Iterator[dict], Path], None]
"""A function that writes records to a path in the format of the output."""


def part_path(path: Path) -> Path:
    """Return the partial file of an output, such as `faces.csv.part`; a long name is shortened."""
    name = path.name + ".part"
    if len(os.fsencode(name)) > MAX_NAME_BYTES >= len(os.fsencode(path.name)):
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
        ending = f"-{digest}.part"
        name = shorten(path.name, MAX_NAME_BYTES - len(ending)) + ending
    return path.with_name(name)


@contextmanager
def open_resumable(
    path: Path, resume: bool, convert: RecordConverter | None = None
) -> Iterator[ResultWriter]:
    """Append records to `PATH.part` line by line, and create `path` from them at the end.

    After an error, the partial file remains unless it is empty. Without records, `path` is not
    created.

    Args:
        path: The output.
        resume: Whether to append to an existing partial file.
        convert: Writes the records in the format of the output; None if that is JSON lines.

    Yields:
        A function that writes one `Result`.

    Raises:
        UserError: A partial file with records exists and `resume` is false, another run is writing
            to it, or a file cannot be written.
    """
    part = part_path(path)
    atomic_file.remove_abandoned(path.parent)
    with _open(part, path, resume) as file:

        def write(result: Result) -> None:
            _append(path, file, json.dumps(result.to_dict(), ensure_ascii=False) + "\n")

        try:
            yield write
            if file.tell():
                _finish(file, part, path, convert)
        finally:
            if not file.tell():
                part.unlink(missing_ok=True)


def _finish(file: FileIO, part: Path, path: Path, convert: RecordConverter | None) -> None:
    """Create the output: rename the partial file, or, with `convert`, convert it and empty it."""
    if convert is None:
        atomic_file.move_into_place(part, path)
        return
    with atomic_file.atomic_write(path) as temporary:
        convert(read_records(path), temporary)
    file.truncate(0)
    file.seek(0)


def synchronize_and_read(paths: Sequence[Path]) -> Iterator[dict]:
    """Make all partial files of an interrupted run contain the same records, and yield these.

    Files with more records than the shortest nonempty one are truncated. Empty and missing files,
    which a run leaves if it is interrupted while it opens or finishes its outputs, get a copy of
    another one.

    Args:
        paths: All outputs of the run.

    Raises:
        UserError: Another run is writing to a partial file.
    """
    counts = {path: sum(1 for _ in read_records(path)) for path in paths}
    existing = [path for path in paths if part_path(path).exists()]
    nonempty = [path for path in paths if counts[path]]
    truncate(existing, min((counts[path] for path in nonempty), default=0))
    for path in paths:
        if nonempty and not counts[path]:
            _copy(part_path(nonempty[0]), part_path(path))
    yield from read_records(paths[0])


def read_records(path: Path) -> Iterator[dict]:
    """Read the complete lines of `PATH.part` as records; a missing file has none."""
    if not part_path(path).exists():
        return
    with open(part_path(path), "rb") as file:  # the last line may end within a character
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def truncate(paths: Sequence[Path], count: int) -> None:
    """Keep only the first `count` records in the partial file of each output."""
    for path in paths:
        with open(part_path(path), "rb+") as file:
            _lock(part_path(path), file)
            for _ in range(count):
                file.readline()
            file.truncate(file.tell())


def _copy(source: Path, part: Path) -> None:
    with open(source, "rb") as records, open(part, "ab") as file:
        _lock(part, file)
        file.truncate(0)
        shutil.copyfileobj(records, file)


@contextmanager
def _open(part: Path, path: Path, resume: bool) -> Iterator[FileIO]:
    try:
        # Without locks, a new run rejects any existing file ("xb"), because it may be in use.
        file = open(part, "ab" if resume or fcntl else "xb", buffering=0)  # noqa: SIM115
    except FileExistsError:
        raise _interrupted_error(part) from None
    except OSError as error:
        raise atomic_file.write_error(path, error) from None
    with file:
        _lock(part, file)
        if file.seek(0, 2) and not resume:
            raise _interrupted_error(part)
        yield file


def _interrupted_error(part: Path) -> UserError:
    return UserError(
        f"{part} contains the results of an interrupted run. To continue a run of mien analyze, "
        "repeat the command with --resume; otherwise move or delete the file."
    )


def _lock(part: Path, file: IOBase) -> None:
    """Lock a partial file until it is closed; raise `UserError` if another run has locked it."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another run that ended in the meantime may have renamed or deleted the file.
        is_same_file = os.path.samestat(os.fstat(file.fileno()), part.stat())
    except (BlockingIOError, FileNotFoundError):
        is_same_file = False
    except OSError:  # the file system does not support locks
        return
    if not is_same_file:
        raise UserError(
            f"Cannot write {part}: another run is writing to it. "
            "Wait until it ends, or choose another output path."
        )


def _append(path: Path, file: FileIO, text: str) -> None:
    """Append text to the partial file of `path`, completely or not at all."""
    start = file.tell()
    remaining = text.encode(errors="replace")  # a string may contain surrogates
    try:
        while remaining:
            remaining = remaining[file.write(remaining) :]
    except OSError as error:
        file.truncate(start)
        file.seek(start)
        raise atomic_file.write_error(path, error) from None
