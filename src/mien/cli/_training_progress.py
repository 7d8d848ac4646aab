"""Show the progress of trainings: as a bar on a terminal, otherwise as lines."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from mien.cli._imports import terminal
from mien.cli._messages import print_message
from mien.cli._training_log import TrainingLog

if TYPE_CHECKING:
    from mien.lab.config import Config
    from mien.lab.progress import ProgressCallback


class StartProgress(Protocol):
    """A function that starts to show the progress of a training."""

    def __call__(
        self, name: str, config: Config, time_limit: float = math.inf, /
    ) -> ProgressCallback:
        """Return the progress callback of a training; `time_limit` is in seconds."""


def is_main_process() -> bool:
    """Return whether this is the only process, or rank 0 of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def training_progress() -> Iterator[StartProgress]:
    """Show the progress of one or more trainings.

    On a terminal, this is a progress bar; otherwise, a line is printed every minute. After Ctrl-C,
    print how to resume the trainings. Only the main process prints.
    """
    try:
        with _open_view() as start_progress:
            yield start_progress
    except KeyboardInterrupt:
        if is_main_process():
            print_message("run the same command again to resume")
        raise


@contextmanager
def _open_view() -> Iterator[StartProgress]:
    if not is_main_process():
        yield _show_nothing
    elif not terminal().err.is_terminal:
        yield _print_lines
    else:
        with terminal().progress("training", None) as bar:
            yield partial(_update_bar, bar)


def _show_nothing(_name: str, _config: Config, _time_limit: float = math.inf) -> ProgressCallback:
    return lambda *_: None


def _print_lines(name: str, _config: Config, time_limit: float = math.inf) -> ProgressCallback:
    return TrainingLog(name, time_limit)


def _update_bar(
    bar: Any, name: str, config: Config, _time_limit: float = math.inf
) -> ProgressCallback:
    (task,) = bar.task_ids
    epoch = 0

    def update(unit: str, done: int, total: int, *_: object) -> None:
        nonlocal epoch
        if unit == "epoch":
            epoch = done
            return
        title = f"{name}, epoch {epoch + 1} of {config.epochs}"
        all_done, all_steps = epoch * total + done, config.epochs * total
        bar.update(task, description=title, completed=all_done, total=all_steps)

    return update
