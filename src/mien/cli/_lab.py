"""Options and helpers shared by the laboratory commands, which import torch only if needed."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from mien.cli._common import require_extra, terminal
from mien.cli._training_log import TrainingLog


def lab(name: str, extra: str = "lab") -> ModuleType:
    """Import a module of the laboratory.

    Args:
        name: name of the module in `mien.lab`.
        extra: extra that the module needs: "lab", or "report" for modules that do not use torch.

    Raises:
        UserError: the extra is not installed.
    """
    with require_extra(extra):
        return importlib.import_module(f"mien.lab.{name}")


DATA = click.option("--data", type=click.Path(path_type=Path), required=True,
                    help="fer2013.csv, its folder, or a folder with train/EMOTION/ and "
                    "val/EMOTION/.")  # fmt: skip
OUT = click.option("--out", type=click.Path(path_type=Path), required=True,
                   help="Folder for the runs. Finished runs in it are reused.")  # fmt: skip
CHANGES = click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE",
                       help="Change a field of the recipe; can be repeated.")  # fmt: skip


def is_main_process() -> bool:
    """Whether this is the only process, or rank 0 of the processes that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def training_progress():  # type: ignore[no-untyped-def]
    """Show a progress bar for one or several trainings; yield an `experiments.RunProgress`.

    If standard error is not a terminal, a line is printed every minute instead.
    """
    if not is_main_process():
        yield lambda *_: lambda *_: None
        return
    if not terminal().err.is_terminal:
        yield lambda name, _, seconds=math.inf: TrainingLog(name, seconds)
        return
    with terminal().progress("training", None) as bar:
        (task,) = bar.task_ids

        def on_progress(name: str, config: Any, *_: float) -> Callable[..., None]:
            epoch = 0

            def update(unit: str, done: int, total: int, *_: object) -> None:
                nonlocal epoch
                if unit == "epoch":
                    epoch = done
                    return
                title = f"{name}, epoch {epoch + 1} of {config.epochs}"
                done, total = epoch * total + done, config.epochs * total
                bar.update(task, description=title, completed=done, total=total)

            return update

        yield on_progress
