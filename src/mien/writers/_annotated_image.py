"""Write annotated images, for the image and folder writers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import UserError
from mien.io import atomic_file
from mien.results import Result, ResultWriter

JPEG_QUALITY = 92
"""Quality of JPEG files, 0 to 100; PNG files are lossless."""


def save(path: Path, result: Result) -> None:
    """Write one annotated image in the format of the path's suffix.

    Raises:
        UserError: If the path is the input file, or cannot be written.
    """
    atomic_file.check_not_source(path, result.frame.location or result.frame.source)
    with atomic_file.atomic_write(path) as temporary:
        result.plot().save(temporary, quality=JPEG_QUALITY)


@contextmanager
def open_single(path: Path) -> Iterator[ResultWriter]:
    """Open a writer for a single annotated image.

    The image is written when the writer is closed, so that no file remains after the error about a
    second frame.

    Raises:
        UserError: If a second frame is written, or the path cannot be written.
    """
    results: list[Result] = []

    def write(result: Result) -> None:
        if results:
            raise UserError(
                f"{path} can hold only one image. Write to a folder instead: "
                f"--to {path.with_suffix('')}/"
            )
        results.append(result)

    yield write
    for result in results:
        save(path, result)
