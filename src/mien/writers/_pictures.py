"""Annotated pictures, one or many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import UserError
from mien.io import atomic_file
from mien.results import Result, Write


def save(path: Path, result: Result) -> None:
    """Write one annotated picture, in the format of the path's suffix, never over its source."""
    atomic_file.check_not_source(path, result.frame.source)
    with atomic_file.atomic_write(path) as temporary:
        result.plot().save(temporary, quality=92)


@contextmanager
def one(path: Path) -> Iterator[Write]:
    """Write the only frame to `path`, at the end; a `UserError` if there is a second."""
    waiting: list[Result] = []

    def write(result: Result) -> None:
        if waiting:
            raise UserError(
                f"{path} holds one picture, and there are more; name a folder instead: "
                f"--to {path.with_suffix('')}/"
            )
        waiting.append(result)

    yield write
    for result in waiting:
        save(path, result)
