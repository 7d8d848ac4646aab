"""Where results go: one file per suffix, offering `to(path)`.

`to(path)` is a context manager that yields `write(result)`. A file that existed is replaced
only at the end. What a table was given before an interruption is kept in `PATH.part`, as JSON
lines, from which `to(path, resume=True)` goes on.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from inspect import signature
from os import PathLike
from pathlib import Path

from mien.errors import UserError
from mien.io import atomic_file
from mien.registry import load_module, names, unknown_name_error
from mien.results import Write

REGISTRY = __name__

ALIASES = {"jpeg": "jpg", "ndjson": "jsonl"}


def supports_resume(path: Path) -> bool:
    """Whether another run can go on with what was given to this path."""
    suffix = _suffix(path)
    return suffix in names(REGISTRY) and _takes_resumed(suffix)


def is_single_source(path: Path) -> bool:
    """Whether there is only room for one video, or one picture."""
    suffix = _suffix(path)
    return suffix in names(REGISTRY) and getattr(
        load_module(REGISTRY, suffix), "SINGLE_SOURCE", False
    )


def _takes_resumed(suffix: str) -> bool:
    return "resume" in signature(load_module(REGISTRY, suffix).open_writer).parameters


def _suffix(path: Path) -> str:
    """The name of the sink, whether there is one or not."""
    suffix = path.suffix.lower().removeprefix(".")
    is_folder = path.is_dir() or not suffix
    return "folder" if is_folder else ALIASES.get(suffix, suffix)


def open_writer(
    path: str | PathLike[str], *, resume: bool = False
) -> AbstractContextManager[Write]:
    """The sink for a path, by its suffix; a folder gets one annotated picture per frame.

    resume: go on with what an interrupted run left in `PATH.part`, where there is something.
    Raises `UserError` for a suffix that nobody writes, a suffix without a name, and `-`.
    """
    path = Path(path)
    try:
        suffix = _suffix(path)
    except OSError as error:
        raise atomic_file.write_error(path, error) from None
    nameless = path.name == "-" or (path.name.startswith(".") and not path.suffix)
    if nameless and not path.is_dir():
        raise UserError(f"Cannot write {path}: name a file, such as faces.jsonl, or a folder.")
    known = names(REGISTRY)
    if suffix not in known:
        endings = [f".{name}" for name in known if name != "folder"]
        raise unknown_name_error("output suffix", f".{suffix}", [*endings, "a folder"])
    if not path.parent.is_dir() and suffix != "folder":
        raise UserError(f"Cannot write {path}: there is no folder {path.parent}.")
    if not resume:
        return load_module(REGISTRY, suffix).open_writer(path)
    if not _takes_resumed(suffix):
        tables = " and ".join(f".{name}" for name in known if _takes_resumed(name))
        raise UserError(f"{path} cannot be resumed; leave it out. --resume works for {tables}.")
    return load_module(REGISTRY, suffix).open_writer(path, resume=True)
