"""What the laboratory's verbs have in common; torch is imported only where a verb needs it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from mien.cli._common import require_extra, terminal


def lab(name: str, extra: str = "lab") -> ModuleType:
    """A module of the laboratory; a `UserError` that says which extra to install if it needs one.

    extra: `"report"` for modules that only read results, which need no torch.
    """
    with require_extra(extra):
        return importlib.import_module(f"mien.lab.{name}")


DATA = click.option("--data", type=click.Path(path_type=Path), required=True,
                    help="fer2013.csv, its folder, or train/EMOTION/, val/EMOTION/.")  # fmt: skip
OUT = click.option("--out", type=click.Path(path_type=Path), required=True,
                   help="The folder of the runs; finished ones are used again.")  # fmt: skip
CHANGES = click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE",
                       help="Change one field of the recipe.")  # fmt: skip


def is_first() -> bool:
    """Whether this process speaks for all that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def watching():  # type: ignore[no-untyped-def]
    """A bar for one or many trainings: gives what `trials` and `reproduce` take as `watch`."""
    if not is_first():
        yield lambda *_: lambda *_: None
        return
    with terminal().progress("training", None) as bar:
        (task,) = bar.task_ids

        def watch(name: str, recipe: Any) -> Callable[[str, int, int], None]:
            epoch = 0

            def step(what: str, done: int, total: int) -> None:
                nonlocal epoch
                if what == "epoch":
                    epoch = done
                    return
                title = f"{name}, epoch {epoch + 1} of {recipe.epochs}"
                done, total = epoch * total + done, recipe.epochs * total
                bar.update(task, description=title, completed=done, total=total)

            return step

        yield watch
