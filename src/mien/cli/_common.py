"""Exit codes, options, help sections, messages and imports that several commands share."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import click

from mien.errors import UserError
from mien.printable import printable

EXIT_USER_ERROR, EXIT_NO_FACE = 2, 3
"""Exit codes for an error the user can fix, and with `--strict` for an image without a face."""

MODEL_OPTION = click.option(
    "--model", default="default", show_default=True, metavar="MODEL",
    help="Name listed by `mien models`, or path of an .onnx file.",
)  # fmt: skip
DETECTOR_OPTION = click.option(
    "--detector", default="yunet", show_default=True, metavar="NAME",
    help="Detector: yunet, or whole for images cropped to one face.",
)  # fmt: skip

SECTIONS = ANALYSIS, SERVER, TRAINING = "Analysis", "Server", "Training and evaluation"
"""The sections of `mien --help`, in order; each command's module sets `SECTION` to one of them."""


def terminal() -> ModuleType:
    """Return the module that prints tables; imported on use, because rich takes 0.1 s to import."""
    return importlib.import_module("mien.visualization.terminal")


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Turn a missing library into a `UserError` that names the extra to install.

    Args:
        extra: Name of the extra (optional dependencies of mien), such as `"serve"`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        raise UserError(
            f"This command needs {error.name}; run in mien's repository: pip install '.[{extra}]'"
        ) from None


def print_message(message: object) -> None:
    """Print an error, a warning or a status as `mien: MESSAGE`, one line on standard error."""
    click.echo(f"mien: {printable(message)}", err=True)


class ErrorReporter:
    """Prints each error when it occurs.

    Attributes:
        count: Number of errors so far.
    """

    count = 0

    def __call__(self, error: UserError) -> None:
        self.count += 1
        print_message(error)
