"""What verbs have in common."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import click

from mien.errors import UserError

MISTAKE, NO_FACE, STOPPED = 2, 3, 130
"""Exit codes: the user's mistake, no face though one was asked for, Ctrl-C."""

PANELS = USING, SERVING, LABORATORY = "Using", "Serving", "Laboratory"
"""The panels of `mien --help`, in order; each command's file says with `PANEL` which is its own."""


def terminal() -> ModuleType:
    """The module that draws tables and bars; rich takes a tenth of a second to import."""
    return importlib.import_module("mien.visualization.terminal")


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """A missing library as a `UserError` that says which of mien's extras brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        why = f"This needs {error.name}: in mien's folder, pip install '.[{extra}]'."
        raise UserError(why) from None


def complain(message: object) -> None:
    """Tell what is wrong in one line; where in the code it arose is nothing to a person."""
    click.echo(f"mien: {message}", err=True)
