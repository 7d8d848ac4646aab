"""Where results go: one file per suffix, offering `to(path)`.

`to(path)` is a context manager that yields `write(frame, faces)`. What was written before an
interruption is kept, in whole lines, as `PATH.part` if there was a file before; a file that existed
is replaced only at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from mien import atomic
from mien.errors import UserError
from mien.faces import Face, Frame
from mien.shelf import names, take, unknown

SHELF = __name__

Write = Callable[[Frame, list[Face]], None]

ALIASES = {"jpeg": "jpg", "ndjson": "jsonl"}


def to(path: Path | str) -> AbstractContextManager[Write]:
    """The sink for a path, by its suffix; a folder gets one annotated picture per frame.

    Raises `UserError` for a suffix that nobody writes, a suffix without a name, and `-`.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise atomic.cannot(path, error) from None
    if not is_folder and (path.name == "-" or (path.name.startswith(".") and not suffix)):
        raise UserError(f"Cannot write {path}: name a file, such as faces.jsonl, or a folder.")
    if is_folder or not suffix:
        suffix = "folder"
    suffix = ALIASES.get(suffix, suffix)
    known = names(SHELF)
    if suffix not in known:
        endings = [f".{name}" for name in known if name != "folder"]
        raise unknown("output suffix", f".{suffix}", [*endings, "a folder"])
    if not path.parent.is_dir() and suffix != "folder":
        raise UserError(f"Cannot write {path}: there is no folder {path.parent}.")
    return take(SHELF, suffix).to(path)
