"""Exit codes, help sections, error messages and optional dependencies of all commands."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import click

from mien.errors import UserError
from mien.printable import printable

EXIT_USER_ERROR, EXIT_NO_FACE = 2, 3
"""Exit codes: an error the user can fix, no face with `--strict`."""

SECTIONS = ANALYSIS, SERVER, TRAINING = "Analysis", "Server", "Training and evaluation"
"""The sections of `mien --help`, in order; each command's module sets `SECTION` to one of them."""


def terminal() -> ModuleType:
    """Return the module that prints tables; imported on use, because rich takes 0.1 s to import."""
    return importlib.import_module("mien.visualization.terminal")


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Turn a missing library into a `UserError` that names the extra to install.

    Args:
        extra: An optional dependency group of mien, such as `"serve"`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        raise UserError(
            f"This command needs {error.name}; in the mien repository: pip install '.[{extra}]'"
        ) from None


def print_error(message: object) -> None:
    """Print an error, a warning or a status as `mien: MESSAGE`, one line on standard error."""
    click.echo(f"mien: {printable(message)}", err=True)


class ErrorReporter:
    """Prints errors as they occur, and counts them."""

    count = 0

    def __call__(self, error: UserError) -> None:
        self.count += 1
        print_error(error)
