"""Where results go: one file per suffix, offering `to(path)`.

`to(path)` is a context manager that yields `write(result)`. A file that existed is replaced
only at the end. What a table was given before an interruption is kept in `PATH.part`, as JSON
lines, from which `to(path, resumed=True)` goes on.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from inspect import signature
from os import PathLike
from pathlib import Path

from mien.errors import UserError
from mien.io import atomic_file
from mien.registry import names, take, unknown
from mien.results import Write

SHELF = __name__

ALIASES = {"jpeg": "jpg", "ndjson": "jsonl"}


def can_be_resumed(path: Path) -> bool:
    """Whether another run can go on with what was given to this path."""
    suffix = _suffix(path)
    return suffix in names(SHELF) and _takes_resumed(suffix)


def holds_one(path: Path) -> bool:
    """Whether there is only room for one video, or one picture."""
    suffix = _suffix(path)
    return suffix in names(SHELF) and getattr(take(SHELF, suffix), "HOLDS_ONE", False)


def _takes_resumed(suffix: str) -> bool:
    return "resumed" in signature(take(SHELF, suffix).to).parameters


def _suffix(path: Path) -> str:
    """The name of the sink, whether there is one or not."""
    suffix = path.suffix.lower().removeprefix(".")
    is_folder = path.is_dir() or not suffix
    return "folder" if is_folder else ALIASES.get(suffix, suffix)


def to(path: str | PathLike[str], *, resumed: bool = False) -> AbstractContextManager[Write]:
    """The sink for a path, by its suffix; a folder gets one annotated picture per frame.

    resumed: go on with what an interrupted run left in `PATH.part`, where there is something.
    Raises `UserError` for a suffix that nobody writes, a suffix without a name, and `-`.
    """
    path = Path(path)
    try:
        suffix = _suffix(path)
    except OSError as error:
        raise atomic_file.cannot(path, error) from None
    nameless = path.name == "-" or (path.name.startswith(".") and not path.suffix)
    if nameless and not path.is_dir():
        raise UserError(f"Cannot write {path}: name a file, such as faces.jsonl, or a folder.")
    known = names(SHELF)
    if suffix not in known:
        endings = [f".{name}" for name in known if name != "folder"]
        raise unknown("output suffix", f".{suffix}", [*endings, "a folder"])
    if not path.parent.is_dir() and suffix != "folder":
        raise UserError(f"Cannot write {path}: there is no folder {path.parent}.")
    if not resumed:
        return take(SHELF, suffix).to(path)
    if not _takes_resumed(suffix):
        tables = " and ".join(f".{name}" for name in known if _takes_resumed(name))
        raise UserError(f"{path} cannot be resumed; leave it out. --resume works for {tables}.")
    return take(SHELF, suffix).to(path, resumed=True)
