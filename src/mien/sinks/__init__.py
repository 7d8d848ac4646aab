"""Where results go: one file per suffix, offering `to(path)`.

`to(path)` is a context manager that yields `write(frame, faces)`. What was written before an
interruption is kept, in whole lines; a file that existed is replaced only at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from mien.errors import UserError
from mien.faces import Face, Frame
from mien.shelf import names, take, unknown

SHELF = __name__

Write = Callable[[Frame, list[Face]], None]

ALIASES = {"jpeg": "jpg", "ndjson": "jsonl"}


def to(path: Path | str) -> AbstractContextManager[Write]:
    """The sink for a path, by its suffix; a folder gets one annotated picture per frame.

    Raises `UserError` for a suffix that nobody writes.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    try:
        if path.is_dir() or not suffix:
            suffix = "folder"
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from None
    suffix = ALIASES.get(suffix, suffix)
    known = names(SHELF)
    if suffix not in known:
        endings = [f".{name}" for name in known if name != "folder"]
        raise unknown("output suffix", f".{suffix}", [*endings, "a folder"])
    if not path.parent.is_dir() and suffix != "folder":
        raise UserError(f"Cannot write {path}: there is no folder {path.parent}.")
    return take(SHELF, suffix).to(path)
