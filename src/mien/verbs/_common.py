"""What verbs have in common."""

from __future__ import annotations

import importlib
from types import ModuleType

import click

MISTAKE, NO_FACE, STOPPED = 2, 3, 130
"""Exit codes: the user's mistake, no face though one was asked for, Ctrl-C."""


def terminal() -> ModuleType:
    """The module that draws tables and bars; rich takes a tenth of a second to import."""
    return importlib.import_module("mien.terminal")


def complain(message: object) -> None:
    """Tell what is wrong in one line; where in the code it arose is nothing to a person."""
    click.echo(f"mien: {message}", err=True)
