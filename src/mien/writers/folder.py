"""Write one annotated image per frame to a folder, named after the source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from mien.errors import UserError
from mien.io.atomic_file import MAX_NAME_BYTES, shorten
from mien.results import Result, ResultWriter
from mien.writers._annotated_image import save

MAX_STEM_BYTES = MAX_NAME_BYTES - len("(999)-0000000.png")
"""Longer names of sources are shortened, so that a number and the suffix fit into the name."""


@contextmanager
def open_writer(path: Path) -> Iterator[ResultWriter]:
    """Write `NAME.png` for each image and `NAME-0000.png` for each frame of a video.

    The first frame of a multi-frame image, such as a TIFF, is written as `NAME.png`. Existing files
    are never overwritten: if a name is taken, the image is written as `NAME(2).png`. A `NAME` of
    more than `MAX_STEM_BYTES` bytes is shortened.

    Raises:
        UserError: The folder cannot be created, or a file cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot create folder {path}: {error.strerror}.") from None
    names: dict[str, str] = {}

    def write(result: Result) -> None:
        frame = result.frame
        has_number = frame.number or frame.is_video
        suffix = f"-{frame.number:04d}.png" if has_number else ".png"
        if not frame.number or frame.source not in names:
            stem = Path(frame.source).stem or "image"
            names[frame.source] = shorten(stem, MAX_STEM_BYTES)
        name = _unused_name(path, names[frame.source], suffix)
        if not frame.number:
            names[frame.source] = name
        save(path / f"{name}{suffix}", result)

    yield write


def _unused_name(folder: Path, stem: str, suffix: str) -> str:
    candidates = (stem if k == 1 else f"{stem}({k})" for k in count(1))
    # Checked on disk, because the file system may not distinguish A.png from a.png.
    return next(name for name in candidates if not os.path.lexists(folder / f"{name}{suffix}"))
