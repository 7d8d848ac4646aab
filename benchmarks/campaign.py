"""Run the training queue in `results/CAMPAIGN.md` within a time limit.

    python benchmarks/campaign.py --dry-run                                 # list pending tasks
    python benchmarks/campaign.py --data fer2013/ --out runs --minutes 10   # run them in order
    python benchmarks/campaign.py --export-code code/                       # code for a GPU machine
    python benchmarks/campaign.py --extract archive/ --out runs             # results from there

Each line of the queue is a `mien train` or `mien distill` command with a time limit in minutes on a
GPU. A training that reaches its limit ends with usable weights. A task starts once the tasks that
produce the runs and logits in its command have finished or failed. Interrupted tasks are resumed
first, and finished tasks are skipped.

Results are copied to OUT/packed as soon as a task is finished, with weights in half precision.
With `--archive`, results that no earlier command archived are also written to a split tar file.
With `--parallel`, several tasks run at once; with `--gpu`, too, they share the GPU by CUDA MPS. The
exported code needs torch, filelock, NumPy and Pillow, and for some protocols and networks
scikit-learn, timm or torchvision. Without git, $MIEN_COMMIT must name the commit.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

# The exported code is not installed.
sys.path.insert(0, str(Path(__file__).parent.parent / "src"))
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import training_archive
from benchmarks.training_queue import (
    RESULT_FILES,
    Task,
    missing_runs,
    next_ready,
    parse_queue,
    pending_tasks,
)

QUEUE = Path(__file__).parent.parent / "results" / "CAMPAIGN.md"

EVALUATION_SECONDS = 50.0
"""Seconds reserved for evaluating and packing a run after its training."""

MIN_TRAINING_SECONDS = 15.0
"""Minimum seconds for a task to be started; a time factor below 1 reduces it, too."""

POLL_SECONDS = 0.1
"""Interval at which the processes of running tasks are checked."""

STOP_TIMEOUT_SECONDS = 30
"""Seconds that a stopped training has to write its checkpoint before it is killed."""

LOG_TAIL_LINES = 15
"""Number of log lines that are printed for a failed task."""


class Campaign:
    """Runs the pending tasks of a queue in processes.

    Args:
        tasks: All tasks of the queue, most valuable first.
        data: The folder of FER2013.
        out: The folder for runs, logs and packed results.
        time_factor: Factor by which the time limit of each task is multiplied.
        archive: Folder that is replaced by an archive after each task; None for no archive.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        data: Path,
        out: Path,
        time_factor: float = 1.0,
        archive: Path | None = None,
    ) -> None:
        self.tasks, self.data, self.out = tasks, data, out
        self.time_factor, self.archive = time_factor, archive
        self._pending = pending_tasks(tasks, out)
        self._failed: list[Task] = []  # including skipped tasks
        self._running: dict[subprocess.Popen, Task] = {}
        self._start = time.monotonic()

    def run(self, minutes: float, total_minutes: float = 0, parallel: int = 1) -> None:
        """Run tasks until all are finished or the time limit is reached.

        Args:
            minutes: Time limit of this command.
            total_minutes: Time limit of this and the following commands together, by which the time
                limits of the tasks are reduced; at least `minutes`. A task that is unfinished at
                the end of this command is stopped, and resumed by the next one.
            parallel: Number of tasks that run at once.
        """
        end = self._start + 60 * minutes
        total_end = self._start + 60 * max(minutes, total_minutes)
        while self._pending or self._running:
            while len(self._running) < parallel:
                task = next_ready(self._pending, self.tasks, self.out, self._failed)
                if task is None:
                    break
                self._pending.remove(task)
                self._start_task(task, total_end)
            if not self._running:
                break
            time.sleep(POLL_SECONDS)
            self._collect_ended_tasks()
            if time.monotonic() > end:
                break
        self._stop_running_tasks()

    def _start_task(self, task: Task, total_end: float) -> None:
        """Start a task without the teachers that failed, or skip it."""
        available = total_end - EVALUATION_SECONDS - time.monotonic()
        seconds = min(60 * self.time_factor * task.minutes, available)
        lost = missing_runs(task, self.tasks, self.out)
        for failed_task in self._failed:
            lost += failed_task.lost_runs
        reduced = task.without_runs(lost)
        if seconds < MIN_TRAINING_SECONDS * min(1.0, self.time_factor):
            self._print(f"{task.name}: skipped, too little time")
            self._failed.append(task)
        elif task.dependencies and not reduced.dependencies:
            self._print(f"{task.name}: skipped, no teachers")
            self._failed.append(task)
        else:
            self._print(f"{task.name}: {task.purpose}, {seconds:.0f} s")
            command = [
                sys.executable, __file__, "--task", shlex.join(reduced.arguments),
                "--task-name", task.name, "--data", str(self.data), "--out", str(self.out),
                "--task-seconds", f"{seconds:.1f}",
            ]  # fmt: skip
            with open(self._log_file(task), "ab") as log:
                self._running[subprocess.Popen(command, stdout=log, stderr=log)] = task

    def _collect_ended_tasks(self) -> None:
        for process in [process for process in self._running if process.poll() is not None]:
            task = self._running.pop(process)
            if process.returncode:
                self._failed.append(task)
                self._print(f"{task.name}: failed")
                # The log itself may stay on a remote machine.
                lines = self._log_file(task).read_text(errors="replace").splitlines()
                print(*(f"    {line}" for line in lines[-LOG_TAIL_LINES:]), sep="\n", flush=True)
            else:
                self._print(f"{task.name}: finished")
            if self.archive:
                training_archive.write_archive(self.tasks, self.out, self.archive)

    def _stop_running_tasks(self) -> None:
        for process, task in self._running.items():
            process.terminate()
            print(f"{task.name}: stopped; the next command resumes it", flush=True)
        for process in self._running:
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def _print(self, message: str) -> None:
        """Print a message after the seconds since the start."""
        print(f"{time.monotonic() - self._start:5.0f} s {message}", flush=True)

    def _log_file(self, task: Task) -> Path:
        return self.out / (task.name.replace("/", "-") + ".txt")


def run_task(arguments: list[str], name: str, data: Path, out: Path, seconds: float) -> None:
    """Run one task in this process, and copy its result to OUT/packed/NAME.

    Args:
        arguments: The arguments of `mien`. Folders that start with `runs/` are in `out`.
        name: Name of the task.
        data: The folder of FER2013.
        out: The folder for runs and packed results.
        seconds: Time limit of a training.
    """
    from mien.lab import config, evaluate, teacher_logits, train

    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--teacher", action="append", default=[])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--data")  # replaced by the --data of the campaign
    parser.add_argument("--out")
    options = parser.parse_args(arguments)
    folder, packed = out / options.out.removeprefix("runs/"), out / "packed" / name
    changes = [re.sub(r"(?<=[=,])runs/", f"{out}/", change) for change in options.set]
    run_config = config.parse(options.recipe, changes)
    if options.command == "train":
        run = train.fit(run_config, data, folder, seconds=seconds)
        # Packed before the evaluation, too, in case the evaluation does not end in time. The
        # evaluation uses the weights in full precision.
        training_archive.pack_run(folder, packed)
        evaluate.load_or_evaluate(run, data)
        training_archive.pack_run(folder, packed)
    else:
        teachers = [str(out / teacher.removeprefix("runs/")) for teacher in options.teacher]
        teacher_logits.store(run_config, data, folder, teachers, options.epochs)
        packed.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / RESULT_FILES["distill"], packed)


def share_gpu(processes: int) -> None:
    """Let several processes share the GPU by CUDA MPS, and the CPU cores by OMP_NUM_THREADS."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    folder = Path(tempfile.gettempdir()) / "mien-mps"
    folder.mkdir(exist_ok=True)
    mps_folders = {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    try:
        if not (folder / "control").exists():  # otherwise, the daemon of an earlier command runs
            command = ["nvidia-cuda-mps-control", "-d"]
            subprocess.run(command, check=True, timeout=20, env={**os.environ, **mps_folders})
    except (OSError, subprocess.SubprocessError) as error:
        print(f"CUDA MPS is not available: {error}", flush=True)
    else:
        os.environ |= mps_folders
        print("CUDA MPS is used", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="Folder of FER2013.")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="Folder for the runs.")
    parser.add_argument("--queue", type=Path, default=QUEUE, help="Markdown file with the tasks.")
    parser.add_argument("--existing-runs", type=Path, metavar="FOLDER",
                        help="Runs that tasks need but that the queue does not train.")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=60, help="Time limit of this command.")
    parser.add_argument("--total-minutes", type=float, default=0, metavar="MINUTES",
                        help="Time limit of this and the following commands together; at least "
                             "--minutes.")  # fmt: skip
    parser.add_argument("--parallel", type=int, default=1, help="Number of tasks that run at once.")
    parser.add_argument("--time-factor", type=float, default=1.0,
                        help="Factor for the time limit of each task.")  # fmt: skip
    parser.add_argument("--gpu", action="store_true", help="Exit with an error if there is no GPU.")
    parser.add_argument("--dry-run", action="store_true", help="Only list the pending tasks.")
    parser.add_argument("--archive", type=Path, metavar="FOLDER",
                        help="Replace this folder by a split tar file of new results.")  # fmt: skip
    parser.add_argument("--extract", type=Path, metavar="FOLDER",
                        help="Extract a tar file from this folder to --out, and exit.")  # fmt: skip
    parser.add_argument("--export-code", type=Path, metavar="FOLDER",
                        help="Copy the code to this folder, and exit.")  # fmt: skip
    # The arguments of the processes that run one task each.
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--task-name", help=argparse.SUPPRESS)
    parser.add_argument("--task-seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export_code:
        training_archive.export_code(options.export_code)
    elif options.extract:
        training_archive.extract_archive(options.extract, options.out)
    elif options.task:
        run_task(shlex.split(options.task), options.task_name, options.data, options.out,
                 options.task_seconds)  # fmt: skip
    else:
        _run_campaign(parser, options)


def _run_campaign(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    tasks = parse_queue(options.queue.read_text())
    out = options.out.resolve()
    if not options.dry_run:
        _check_options(parser, options)
        out.mkdir(parents=True, exist_ok=True)
        if options.existing_runs:
            for folder in options.existing_runs.iterdir():
                shutil.copytree(folder, out / folder.name, dirs_exist_ok=True)
        if options.gpu and options.parallel > 1:
            share_gpu(options.parallel)
        data = options.data.resolve()
        campaign = Campaign(tasks, data, out, options.time_factor, options.archive)
        campaign.run(options.minutes, options.total_minutes, options.parallel)
        if options.archive:
            # Recorded only now, because this archive replaces those written after each task.
            names = training_archive.write_archive(tasks, out, options.archive)
            training_archive.add_archived_names(names, out)
    for task in pending_tasks(tasks, out):
        print(f"pending: {task.name} ({task.minutes:g} min), {task.purpose}")


def _check_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Exit with an error if data, commit or GPU are missing."""
    import torch

    from mien.lab import runs

    if options.data is None:
        parser.error("--data is missing; give the folder of FER2013.")
    if not runs.commit():
        parser.error("The commit is unknown without git; set MIEN_COMMIT.")
    if options.gpu and not torch.cuda.is_available():
        parser.error("torch cannot use a GPU on this machine; omit --gpu to train on the CPU.")


if __name__ == "__main__":
    main()
