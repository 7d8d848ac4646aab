"""Exit codes, and messages on standard error."""

from __future__ import annotations

import click

from mien.errors import UserError
from mien.printable import printable

EXIT_USER_ERROR, EXIT_NO_FACE = 2, 3
"""Exit codes: an error the user can fix; with `--strict`, an image or frame without a face."""


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
