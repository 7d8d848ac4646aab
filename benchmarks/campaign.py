"""Run the training queue in `results/CAMPAIGN.md` within a time limit.

    python benchmarks/campaign.py --dry-run                                 # list pending tasks
    python benchmarks/campaign.py --data fer2013/ --out runs --minutes 10   # run them in order
    python benchmarks/campaign.py --export-code code/                       # code for a GPU machine
    python benchmarks/campaign.py --extract results-archive/ --out runs     # its results

Each line of the queue is a `mien train` or `mien distill` command with a time limit in minutes on a
GPU. A training that reaches its limit ends with usable weights. A task starts once the tasks that
produce the runs and logits in its command have finished or failed. Interrupted tasks are resumed
first, and finished tasks are skipped.

Results are copied to OUT/packed as soon as a task is finished, with weights in half precision.
With `--archive`, results that no earlier command archived are also written to a split tar file.
With `--parallel`, several tasks run at once, and share a GPU by CUDA MPS. The exported code needs
only torch, timm, scikit-learn, NumPy, Pillow and matplotlib. Without git, $MIEN_COMMIT must name
the commit.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))

QUEUE = ROOT / "results" / "CAMPAIGN.md"
EXPORTED = ("src", "benchmarks/campaign.py", "benchmarks/training_speed.py", "results/CAMPAIGN.md")

PART_BYTES, MAX_ARCHIVE_BYTES = 15_000_000, 60_000_000
"""Maximum size of one part of an archive, and of all parts together."""

EVALUATION_SECONDS = 50.0
"""Seconds reserved for evaluating and packing a run after its training."""

MIN_TRAINING_SECONDS = 15.0
"""Minimum seconds for a task to be started, multiplied by the time factor if that is below 1."""

STOP_TIMEOUT_SECONDS = 30
"""Seconds that a stopped training has to write its checkpoint before it is killed."""

LOG_TAIL_LINES = 15
"""Number of log lines that are printed for a failed task."""

RESULT_FILES = {"train": "metrics.json", "distill": "augmentation.json"}
"""Command -> the file that it writes last; if the file exists, the task is finished."""


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
    def name(self) -> str:
        """A unique name: the folder, and the teachers if several tasks write to the folder."""
        if self.command == "train":
            return self.folder
        return "-".join([self.folder, *(Path(name).name for name in self._named_folders())])

    @property
    def dependencies(self) -> list[str]:
        """The folders of runs and logits that this task reads."""
        return [name for name in self._named_folders() if name != self.folder]

    @property
    def lost_runs(self) -> list[str]:
        """The runs that other tasks cannot use as teachers if this task fails."""
        return [self.folder] if self.command == "train" else self.dependencies

    def _named_folders(self) -> list[str]:
        others = [argument for argument in self.arguments if argument != f"runs/{self.folder}"]
        return re.findall(r"(?:^|[=, ])runs/([^, ]+)", " ".join(others))

    def without_teachers(self, names: Iterable[str]) -> Task:
        """Return this task without the teachers with these names."""
        arguments = list(self.arguments)
        for name in names:
            in_list = rf"(?<=[=,])runs/{re.escape(name)}(,|$)"
            arguments = [re.sub(in_list, "", argument) for argument in arguments]
            while f"runs/{name}" in arguments:
                index = arguments.index(f"runs/{name}")
                del arguments[index - 1 : index + 1]  # with its option, --teacher
        cleaned = tuple(argument.rstrip(",") for argument in arguments)
        return Task(self.purpose, cleaned, self.minutes)


def parse_queue(text: str) -> list[Task]:
    """Read the tasks from a Markdown table with columns purpose, `mien ...` and minutes."""
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
    """Return whether the result of a task is packed."""
    return (out / "packed" / task.name / RESULT_FILES[task.command]).exists()


def pending_tasks(tasks: Iterable[Task], out: Path) -> list[Task]:
    """Return the unfinished tasks, those with a checkpoint first."""
    pending = [task for task in tasks if not is_finished(task, out)]
    return sorted(pending, key=lambda task: not (out / task.folder / "checkpoint.pt").exists())


def log_file(task: Task, out: Path) -> Path:
    """Return the path of the file with the output of a task."""
    return out / (task.name.replace("/", "-") + ".txt")


def run_task(arguments: list[str], name: str, data: Path, out: Path, seconds: float) -> None:
    """Run one task in this process, and pack its result under the given name."""
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
        pack_run(folder, packed)  # weights are kept even if the evaluation does not end in time
        evaluate.load_or_evaluate(run, data)
        pack_run(folder, packed)
    else:
        teachers = [str(out / teacher.removeprefix("runs/")) for teacher in options.teacher]
        teacher_logits.store(run_config, data, folder, teachers, options.epochs)
        packed.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / RESULT_FILES["distill"], packed)


def pack_run(folder: Path, destination: Path) -> None:
    """Copy the files of a trained run, with weights in half precision.

    The evaluation uses the weights in full precision.
    """
    import torch

    result_file = folder / RESULT_FILES["train"]
    # The result file is copied last, because its presence means that the task is finished.
    for path in sorted(folder.iterdir(), key=lambda path: (path == result_file, path)):
        destination.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".json", ".jsonl", ".csv", ".npz"):
            shutil.copy(path, destination / path.name)
        elif path.name == "weights.pt":
            weights = torch.load(path, map_location="cpu", weights_only=True)
            # One-dimensional tensors stay float32: half precision can round small variances to 0.
            half = {key: value.half() if value.is_floating_point() and value.ndim > 1 else value
                    for key, value in weights.items()}  # fmt: skip
            torch.save(half, destination / path.name)


def write_archive(tasks: Iterable[Task], out: Path, destination: Path) -> list[str]:
    """Write results that are not archived yet to a tar file in parts of limited size.

    Results come first, then weights, then checkpoints of unfinished tasks, small files first. Files
    that no longer fit into `MAX_ARCHIVE_BYTES` are left for the archive of a later command.

    Returns:
        The names of the archived files.
    """
    paths = _files_to_archive(tasks, out)
    archived = _archived_names(out)
    priorities = {"weights.pt": 1, "checkpoint.pt": 2}
    sizes = {name: path.stat().st_size + 2048 for name, path in paths.items()}  # with tar header
    ordered = sorted(paths, key=lambda name: (priorities.get(paths[name].name, 0), sizes[name]))
    remaining_bytes, names = MAX_ARCHIVE_BYTES, []
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ordered:
            if name not in archived and sizes[name] <= remaining_bytes:
                # A running task can replace its files, so each is read at once.
                content = paths[name].read_bytes()
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
                remaining_bytes -= sizes[name]
                names.append(name)
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    content = buffer.getvalue()
    for k, start in enumerate(range(0, len(content), PART_BYTES)):
        part = content[start : start + PART_BYTES]
        (destination / f"archive.tar.{k:02d}").write_bytes(part)
    return names


def _files_to_archive(tasks: Iterable[Task], out: Path) -> dict[str, Path]:
    """Return packed results and checkpoints of unfinished tasks: name in the archive -> path."""
    paths = {}
    for task in tasks:
        for path in sorted((out / "packed" / task.name).rglob("*")):
            if path.is_file():
                paths[str(path.relative_to(out / "packed"))] = path
        checkpoint = out / task.folder / "checkpoint.pt"
        if checkpoint.exists() and not is_finished(task, out):
            for path in (checkpoint, *checkpoint.parent.glob("[!.]*.json*")):
                paths[str(path.relative_to(out))] = path
    return paths


def _archived_names(out: Path) -> list[str]:
    """Return the names of the files that earlier commands archived."""
    path = out / "archived.json"
    return json.loads(path.read_text()) if path.exists() else []


def extract_archive(parts: Path, destination: Path) -> None:
    """Extract an archive to the folder of a campaign, which then counts its tasks as finished."""
    files = sorted(parts.glob("archive.tar.[0-9][0-9]"))
    content = b"".join(path.read_bytes() for path in files)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for folder in (destination, destination / "packed"):
            archive.extractall(folder, filter="data")
        for name in archive.getnames():
            print(destination / name)


def export_code(destination: Path) -> None:
    """Copy the code that a campaign needs to a folder, without models and documents."""
    ignored = shutil.ignore_patterns("*.onnx", "__pycache__", "static", "web", "*.woff2")
    for name in EXPORTED:
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, destination / name, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, destination / name)


def run_queue(
    tasks: Sequence[Task],
    data: Path,
    out: Path,
    minutes: float,
    *,
    parallel: int = 1,
    total_minutes: float = 0,
    archive: Path | None = None,
    time_factor: float = 1.0,
) -> None:
    """Run the pending tasks of a queue until the time limit.

    Args:
        tasks: All tasks of the queue, most valuable first.
        data: The folder of FER2013.
        out: The folder for runs and packed results.
        minutes: Time limit of this command.
        parallel: Number of tasks that run at once.
        total_minutes: Time limit of this command and the following ones together. A task that is
            unfinished at the end of this command is stopped, and resumed by the next one.
        archive: Folder for an archive that is written after each task.
        time_factor: Factor by which the time limit of each task is multiplied.
    """
    start = time.monotonic()
    end, total_end = start + 60 * minutes, start + 60 * max(minutes, total_minutes)
    pending, failed = pending_tasks(tasks, out), []
    running: dict[subprocess.Popen, Task] = {}
    while pending or running:
        while len(running) < parallel and (task := _next_ready(pending, tasks, out, failed)):
            pending.remove(task)
            available = total_end - EVALUATION_SECONDS - time.monotonic()
            seconds = min(60 * time_factor * task.minutes, available)
            lost = [run for failed_task in failed for run in failed_task.lost_runs]
            reduced = task.without_teachers([*lost, *_missing_runs(task, tasks, out)])
            if seconds < MIN_TRAINING_SECONDS * min(1.0, time_factor):
                print(f"{_elapsed(start)} {task.name}: skipped, too little time", flush=True)
                failed.append(task)
                continue
            if task.dependencies and not reduced.dependencies:
                print(f"{_elapsed(start)} {task.name}: skipped, no teachers", flush=True)
                failed.append(task)
                continue
            print(f"{_elapsed(start)} {task.name}: {task.purpose}, {seconds:.0f} s", flush=True)
            running[_start_process(task, reduced.arguments, data, out, seconds)] = task
        if not running:
            break
        time.sleep(0.1)
        for process in [process for process in running if process.poll() is not None]:
            task = running.pop(process)
            outcome = "failed" if process.returncode else "finished"
            print(f"{_elapsed(start)} {task.name}: {outcome}", flush=True)
            if process.returncode:
                failed.append(task)
                _print_log_tail(task, out)
            if archive:
                write_archive(tasks, out, archive)
        if time.monotonic() > end:
            break
    _stop(running)


def _stop(running: dict[subprocess.Popen, Task]) -> None:
    for process, task in running.items():
        process.terminate()
        print(f"{task.name}: stopped; the next command resumes it", flush=True)
    for process in running:
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _elapsed(start: float) -> str:
    return f"{time.monotonic() - start:5.0f} s"


def _print_log_tail(task: Task, out: Path) -> None:
    """Print the end of a failed task's log, because the log itself may stay on a remote machine."""
    lines = log_file(task, out).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    print(*(f"    {line}" for line in lines), sep="\n", flush=True)


def _start_process(
    task: Task, arguments: Sequence[str], data: Path, out: Path, seconds: float
) -> subprocess.Popen:
    command = [
        sys.executable, __file__, "--task", shlex.join(arguments), "--task-name", task.name,
        "--data", str(data), "--out", str(out), "--task-seconds", f"{seconds:.1f}",
    ]  # fmt: skip
    with open(log_file(task, out), "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _next_ready(
    pending: list[Task], tasks: Sequence[Task], out: Path, failed: list[Task]
) -> Task | None:
    """Return the first pending task whose dependencies are finished or failed."""
    for task in pending:
        producers = [other for other in tasks if _needs(task, other) and other not in failed]
        if all(is_finished(producer, out) for producer in producers):
            return task
    return None


def _needs(task: Task, producer: Task) -> bool:
    """Return whether a task reads the run, or the logits of one of its teachers, from another."""
    if producer.folder not in task.dependencies:
        return False
    return producer.command == "train" or bool({*producer.dependencies} & {*task.dependencies})


def _missing_runs(task: Task, tasks: Sequence[Task], out: Path) -> list[str]:
    """Return the dependencies of a task that do not exist and that no task produces."""
    produced = {other.folder for other in tasks}
    return [
        name
        for name in task.dependencies
        if name not in produced and not (out / name / "weights.pt").exists()
    ]


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
                        help="Time limit of this and the following commands together.")  # fmt: skip
    parser.add_argument("--parallel", type=int, default=1, help="Number of tasks that run at once.")
    parser.add_argument("--time-factor", type=float, default=1.0,
                        help="Factor for the time limit of each task.")  # fmt: skip
    parser.add_argument("--gpu", action="store_true", help="Exit with an error if there is no GPU.")
    parser.add_argument("--dry-run", action="store_true", help="Only list the pending tasks.")
    parser.add_argument("--archive", type=Path, metavar="FOLDER",
                        help="Write new results to this folder as a split tar file.")  # fmt: skip
    parser.add_argument("--extract", type=Path, metavar="FOLDER",
                        help="Extract a tar file from this folder to --out, and exit.")  # fmt: skip
    parser.add_argument("--export-code", type=Path, metavar="FOLDER",
                        help="Copy the code to this folder, and exit.")  # fmt: skip
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--task-name", help=argparse.SUPPRESS)
    parser.add_argument("--task-seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.export_code:
        export_code(options.export_code)
    elif options.extract:
        extract_archive(options.extract, options.out)
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
        for folder in options.existing_runs.iterdir() if options.existing_runs else ():
            shutil.copytree(folder, out / folder.name, dirs_exist_ok=True)
        if options.gpu and options.parallel > 1:
            share_gpu(options.parallel)
        run_queue(
            tasks, options.data.resolve(), out, options.minutes, parallel=options.parallel,
            total_minutes=options.total_minutes, archive=options.archive,
            time_factor=options.time_factor,
        )  # fmt: skip
        if options.archive:
            archived = _archived_names(out) + write_archive(tasks, out, options.archive)
            (out / "archived.json").write_text(json.dumps(archived))
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
