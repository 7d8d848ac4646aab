"""Annotated pictures, one or many."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from mien.errors import UserError
from mien.io import atomic_file
from mien.results import Face, Frame, Write
from mien.visualization.annotate import draw


def save(path: Path, frame: Frame, faces: list[Face]) -> None:
    """Write one annotated picture, in the format of the path's suffix, never over its source."""
    atomic_file.not_over(path, frame.source)
    with atomic_file.writing(path) as temporary:
        Image.fromarray(draw(frame.pixels, faces)).save(temporary, quality=92)


@contextmanager
def one(path: Path) -> Iterator[Write]:
    """Write the only frame to `path`, at the end; a `UserError` if there is a second."""
    waiting: list[tuple[Frame, list[Face]]] = []

    def write(frame: Frame, faces: list[Face]) -> None:
        if waiting:
            raise UserError(
                f"{path} holds one picture, and there are more; name a folder instead: "
                f"--to {path.with_suffix('')}/"
            )
        waiting.append((frame, faces))

    yield write
    for frame, faces in waiting:
        save(path, frame, faces)
