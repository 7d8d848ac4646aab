"""Write one annotated image per frame, named after the source, to a folder."""

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
"""Maximum length of a stem; longer ones are truncated, so that numbers and the suffix fit."""


@contextmanager
def open_writer(path: Path) -> Iterator[ResultWriter]:
    """Open a writer for a folder of annotated images.

    An image is written as `NAME.png`, and a frame of a video as `NAME-0000.png`. The first page of
    a multi-page TIFF is `NAME.png`, and the others are `NAME-0001.png` and so on. Files in the
    folder are never replaced: if a name exists, the image is written as `NAME(2).png`. A `NAME` of
    more than `MAX_STEM_BYTES` bytes is truncated.

    Raises:
        UserError: If the folder cannot be created, or a file cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot create folder {path}: {error.strerror}. Choose another output path."
        ) from None
    stems: dict[str, str] = {}  # by source

    def write(result: Result) -> None:
        frame = result.frame
        is_first_frame = frame.number == 0
        suffix = ".png" if is_first_frame and not frame.is_video else f"-{frame.number:04d}.png"
        # A source given twice gets a new stem at its second frame 0. A video that is not read from
        # its start has no frame 0.
        if is_first_frame or frame.source not in stems:
            stem = Path(frame.source).stem or "image"
            stems[frame.source] = shorten(stem, MAX_STEM_BYTES)
        stem = _unused_stem(path, stems[frame.source], suffix)
        if is_first_frame:  # the other frames of this source use the same stem
            stems[frame.source] = stem
        save(path / f"{stem}{suffix}", result)

    yield write


def _unused_stem(folder: Path, stem: str, suffix: str) -> str:
    """Return the first of `stem`, `stem(2)`, `stem(3)` and so on for which no file exists."""
    candidates = (stem if k == 1 else f"{stem}({k})" for k in count(1))
    # Check on disk, because the file system may not distinguish A.png from a.png.
    return next(c for c in candidates if not os.path.lexists(folder / f"{c}{suffix}"))
