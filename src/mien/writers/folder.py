"""One annotated picture per frame, in a folder, named after its source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from mien.errors import UserError
from mien.results import Result, Write
from mien.writers._pictures import save


@contextmanager
def open_writer(path: Path) -> Iterator[Write]:
    """Write `NAME.png` for each still and `NAME-0000.png` for a video's frames; makes the folder.

    What has several frames and is no video, as a WebP, has its first as a still.

    No file is ever overwritten, of this run, of an earlier one or the user's own: where a name is
    taken, the picture gets a number, `NAME(2).png`.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make the folder {path}: {error.strerror}.") from None
    last: dict[str, str] = {}

    def write(result: Result) -> None:
        frame = result.frame
        numbered = frame.number or frame.is_video
        end = f"-{frame.number:04d}" if numbered else ""
        if not frame.number or frame.source not in last:
            last[frame.source] = Path(frame.source).stem or "picture"
        name = _free(path, last[frame.source], end)
        if not frame.number:
            last[frame.source] = name
        save(path / f"{name}{end}.png", result)

    yield write


def _free(folder: Path, stem: str, end: str) -> str:
    tries = (stem if k == 1 else f"{stem}({k})" for k in count(1))
    # The folder is asked, not a list of names: it may not tell A.png from a.png.
    return next(name for name in tries if not os.path.lexists(folder / f"{name}{end}.png"))
