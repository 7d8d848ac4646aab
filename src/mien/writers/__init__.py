"""Write results to files, with one module per suffix.

Each module defines `open_writer(path)`, a context manager that yields a function `write(result)`.
An existing file is replaced only at the end. Modules whose files hold only one video or image
define `IS_SINGLE_SOURCE = True`. Writers that support resuming also accept `resume=True`; they
store the results of an interrupted run as JSON lines in `PATH.part`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from inspect import signature
from os import PathLike
from pathlib import Path

from mien.errors import UserError
from mien.io import atomic_file
from mien.registry import load_module, names, unknown_name_error
from mien.results import ResultWriter

REGISTRY = __name__

ALIASES = {"jpeg": "jpg", "ndjson": "jsonl"}
"""Other suffixes of the same formats."""


def is_single_source(path: Path) -> bool:
    """Return whether this output can hold only one video or image."""
    name = _writer_name(path)
    if name not in names(REGISTRY):
        return False
    return getattr(load_module(REGISTRY, name), "IS_SINGLE_SOURCE", False)


def open_writer(
    path: str | PathLike[str], *, resume: bool = False
) -> AbstractContextManager[ResultWriter]:
    """Open a writer for a path; its suffix determines the format.

    Args:
        path: A file, such as `faces.csv` or `annotated.mp4`, or a folder for one annotated image
            per frame.
        resume: Whether to continue with the results of an interrupted run in `PATH.part`, if any.

    Returns:
        A context manager that yields a function that writes one `Result`.

    Raises:
        UserError: If the suffix is not supported, the file has no name or is `-`, its folder does
            not exist, or `resume` is true for a format that does not support it. When writing: if
            the output cannot be written, or is the source of a result.

    Example:
        ```python
        from mien import writers

        with writers.open_writer("faces.csv") as write:
            for result in mien.Analyzer().stream("holiday/"):
                write(result)
        ```
    """
    path = Path(path)
    try:
        name = _writer_name(path)
    except OSError as error:
        raise atomic_file.write_error(path, error) from None
    # A file named only ".csv" has no suffix for pathlib.
    has_no_name = path.name == "-" or (path.name.startswith(".") and not path.suffix)
    if has_no_name and not path.is_dir():
        raise UserError(f"Cannot write {path}: give a file, such as faces.jsonl, or a folder.")
    known = names(REGISTRY)
    if name not in known:
        suffixes = [f".{writer}" for writer in known if writer != "folder"]
        raise unknown_name_error("output format", f".{name}", [*suffixes, "a folder"])
    if not path.parent.is_dir() and name != "folder":
        raise UserError(f"Cannot write {path}: folder {path.parent} not found. Create it first.")
    if not resume:
        return load_module(REGISTRY, name).open_writer(path)
    if not _accepts_resume(name):
        resumable = ", ".join(f".{writer}" for writer in known if _accepts_resume(writer))
        raise UserError(
            f"Cannot resume {path}: --resume supports only {resumable}. Omit this output."
        )
    return load_module(REGISTRY, name).open_writer(path, resume=True)


def _accepts_resume(name: str) -> bool:
    return "resume" in signature(load_module(REGISTRY, name).open_writer).parameters


def _writer_name(path: Path) -> str:
    """Return the name that a writer for this path has, even if there is no such writer."""
    suffix = path.suffix.lower().removeprefix(".")
    is_folder = path.is_dir() or not suffix
    return "folder" if is_folder else ALIASES.get(suffix, suffix)
