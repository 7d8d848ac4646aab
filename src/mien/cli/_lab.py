"""Options, imports and progress of the training and evaluation commands.

Modules of `mien.lab` are imported on use, because not all of them need torch.
"""

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

from mien.cli._common import print_message, require_extra, terminal
from mien.cli._training_log import TrainingLog


def lab(name: str, extra: str = "lab") -> ModuleType:
    """Import a module of `mien.lab`, the package for training and evaluation.

    Args:
        name: Name of the module.
        extra: The extra that contains its dependencies: "lab", or "report" if it needs no torch.

    Raises:
        UserError: A dependency is not installed.
    """
    with require_extra(extra):
        return importlib.import_module(f"mien.lab.{name}")


DATA_OPTION = click.option(
    "--data", type=click.Path(path_type=Path), required=True,
    help="fer2013.csv, its folder, or a folder with train/EMOTION/ and val/EMOTION/.",
)  # fmt: skip
OUT_OPTION = click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="Folder for the runs. Finished runs in it are reused.",
)  # fmt: skip
SET_OPTION = click.option(
    "--set", "changes", multiple=True, metavar="FIELD=VALUE",
    help="Change a field of the recipe; can be repeated.",
)  # fmt: skip


def is_main_process() -> bool:
    """Return whether this is the only process, or rank 0 of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def training_progress():  # type: ignore[no-untyped-def]
    """Show the progress of one or more trainings.

    On a terminal, this is a progress bar; otherwise, a line is printed every minute. After Ctrl-C,
    print how to resume the trainings.

    Yields:
        A function that takes the name and the config of a training, and optionally its time limit
        in seconds, and returns the `ProgressCallback` of the training.
    """
    try:
        with _show_progress() as on_progress:
            yield on_progress
    except KeyboardInterrupt:
        if is_main_process():
            print_message("run the same command again to resume")
        raise


@contextmanager
def _show_progress():  # type: ignore[no-untyped-def]
    if not is_main_process():
        yield lambda *_: lambda *_: None
        return
    if not terminal().err.is_terminal:
        yield lambda name, _config, time_limit=math.inf: TrainingLog(name, time_limit)
        return
    with terminal().progress("training", None) as bar:
        (task,) = bar.task_ids

        def on_progress(
            name: str, config: Any, _time_limit: float = math.inf
        ) -> Callable[..., None]:
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
