"""The tasks of a training queue, their dependencies, and which of them are finished."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

RESULT_FILES = {"train": "metrics.json", "distill": "augmentation.json"}
"""Command -> result file, which is packed last; if it is in `OUT/packed`, the task is finished."""

FOLDER_PATTERN = re.compile(r"(?:^|[=,])runs/([^,]+)")
"""A folder in an argument, such as `runs/a`, `init_from=runs/a` or `teachers=runs/a,runs/b`."""


@dataclass(frozen=True, slots=True)
class Task:
    """A line of the queue.

    Attributes:
        purpose: What the result is for.
        arguments: The arguments of `mien`, starting with `train` or `distill`.
        minutes: Time limit.
    """

    purpose: str
    arguments: tuple[str, ...]
    minutes: float

    @property
    def command(self) -> str:
        """Either `train` or `distill`."""
        return self.arguments[0]

    @property
    def folder(self) -> str:
        """The value of `--out` without the prefix `runs/`, such as `board/li-slim-seed0`."""
        return self.arguments[self.arguments.index("--out") + 1].removeprefix("runs/")

    @property
    def dependencies(self) -> list[str]:
        """The folders of runs and logits that this task reads, without the prefix `runs/`."""
        folders = []
        for argument in self.arguments:
            folders += FOLDER_PATTERN.findall(argument)
        return [folder for folder in folders if folder != self.folder]

    @property
    def name(self) -> str:
        """A unique name: the folder, and for `distill`, which adds to a folder, the teachers."""
        if self.command == "train":
            return self.folder
        return "-".join([self.folder, *(Path(folder).name for folder in self.dependencies)])

    @property
    def lost_runs(self) -> list[str]:
        """The runs that later tasks cannot use as teachers if this task fails.

        If `distill` fails, these are its teachers, because their logits are missing.
        """
        return [self.folder] if self.command == "train" else self.dependencies

    def without_runs(self, folders: Iterable[str]) -> Task:
        """Return this task without the teachers and initial weights from these folders."""
        removed = {f"runs/{folder}" for folder in folders}
        arguments: list[str] = []
        for argument in self.arguments:
            if argument in removed:
                arguments.pop()  # its option, --teacher
                continue
            field, equals_sign, value = argument.partition("=")
            kept = [item for item in value.split(",") if item not in removed]
            arguments.append(field + equals_sign + ",".join(kept))
        return replace(self, arguments=tuple(arguments))


def parse_queue(text: str) -> list[Task]:
    """Read the tasks from a Markdown table with columns purpose, `mien ...` and minutes.

    Other lines are ignored.

    Raises:
        SystemExit: A command is neither `mien train` nor `mien distill`.
    """
    tasks = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and cells[1].startswith("`mien "):
            arguments = tuple(shlex.split(cells[1].strip("`")))[1:]
            if arguments[0] not in RESULT_FILES:
                supported = " and ".join(RESULT_FILES)
                raise SystemExit(f"Cannot run mien {arguments[0]}; the queue supports {supported}.")
            tasks.append(Task(cells[0], arguments, float(cells[2])))
    return tasks


def is_finished(task: Task, out: Path) -> bool:
    """Return whether the result of a task is in `out/packed`."""
    return (out / "packed" / task.name / RESULT_FILES[task.command]).exists()


def pending_tasks(tasks: Iterable[Task], out: Path) -> list[Task]:
    """Return the unfinished tasks, those with a checkpoint in `out` first."""
    pending = [task for task in tasks if not is_finished(task, out)]
    return sorted(pending, key=lambda task: not (out / task.folder / "checkpoint.pt").exists())


def next_ready(
    pending: Iterable[Task], tasks: Sequence[Task], out: Path, failed: Sequence[Task]
) -> Task | None:
    """Return the first pending task whose dependencies are finished or failed, or None."""
    for task in pending:
        producers = [other for other in tasks if needs(task, other) and other not in failed]
        if all(is_finished(producer, out) for producer in producers):
            return task
    return None


def needs(task: Task, producer: Task) -> bool:
    """Return whether a task reads the run, or the logits of one of its teachers, from another."""
    if producer.folder not in task.dependencies:
        return False
    if producer.command == "train":
        return True
    return not set(producer.dependencies).isdisjoint(task.dependencies)


def missing_runs(task: Task, tasks: Sequence[Task], out: Path) -> list[str]:
    """Return the dependencies of a task that no task produces and that are not in `out`."""
    produced = {other.folder for other in tasks}
    return [
        folder
        for folder in task.dependencies
        if folder not in produced and not (out / folder / "weights.pt").exists()
    ]
