"""Copy code to the machine of a training queue, and results from it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.training_queue import RESULT_FILES, Task, is_finished

ROOT = Path(__file__).parent.parent

EXPORTED = (
    "src",
    "benchmarks/campaign.py",
    "benchmarks/training_archive.py",
    "benchmarks/training_queue.py",
    "benchmarks/training_speed.py",
    "results/CAMPAIGN.md",
)
"""Files and folders that a training queue needs."""

PART_BYTES, MAX_ARCHIVE_BYTES = 15_000_000, 60_000_000
"""Maximum size of one part of an archive, and of all parts together."""

TAR_OVERHEAD_BYTES = 2048
"""Upper limit of the bytes that a tar file adds to a member: its header and padding."""


def export_code(destination: Path) -> None:
    """Copy the code that a training queue needs to a folder, without models and documents."""
    ignored = shutil.ignore_patterns("*.onnx", "__pycache__")
    for name in EXPORTED:
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, destination / name, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, destination / name)


def pack_run(folder: Path, destination: Path) -> None:
    """Copy the files of a trained run, with weights in half precision."""
    import torch

    destination.mkdir(parents=True, exist_ok=True)
    result_file = folder / RESULT_FILES["train"]
    # The result file is copied last, because its presence means that the task is finished.
    for path in sorted(folder.iterdir(), key=lambda path: (path == result_file, path)):
        if path.suffix in (".json", ".jsonl", ".csv", ".npz"):
            shutil.copy(path, destination / path.name)
        elif path.name == "weights.pt":
            weights = torch.load(path, map_location="cpu", weights_only=True)
            # One-dimensional tensors stay float32: half precision can round small variances to 0.
            half = {key: value.half() if value.is_floating_point() and value.ndim > 1 else value
                    for key, value in weights.items()}  # fmt: skip
            torch.save(half, destination / path.name)


def write_archive(tasks: Iterable[Task], out: Path, destination: Path) -> list[str]:
    """Replace a folder by results that are not archived yet, as a tar file in parts.

    Results come first, then weights, then checkpoints of unfinished tasks, small files first. Files
    that no longer fit into `MAX_ARCHIVE_BYTES` are left for the archive of a later command.

    Returns:
        The names of the archived files.
    """
    paths = _files_to_archive(tasks, out)
    archived = archived_names(out)
    priorities = {"weights.pt": 1, "checkpoint.pt": 2}
    sizes = {name: path.stat().st_size + TAR_OVERHEAD_BYTES for name, path in paths.items()}
    ordered = sorted(paths, key=lambda name: (priorities.get(paths[name].name, 0), sizes[name]))
    remaining_bytes, names = MAX_ARCHIVE_BYTES, []
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ordered:
            if name not in archived and sizes[name] <= remaining_bytes:
                # Read at once, because a running task can replace the file while it is archived.
                content = paths[name].read_bytes()
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
                remaining_bytes -= sizes[name]
                names.append(name)
    _write_parts(buffer.getvalue(), destination)
    return names


def _files_to_archive(tasks: Iterable[Task], out: Path) -> dict[str, Path]:
    """Return packed results, and checkpoints of unfinished tasks with logs: member name -> path."""
    paths = {}
    for task in tasks:
        for path in sorted((out / "packed" / task.name).rglob("*")):
            if path.is_file():
                paths[str(path.relative_to(out / "packed"))] = path
        checkpoint = out / task.folder / "checkpoint.pt"
        if checkpoint.exists() and not is_finished(task, out):
            # Names with a dot at the start are temporary files of a running task.
            for path in (checkpoint, *checkpoint.parent.glob("[!.]*.json*")):
                paths[str(path.relative_to(out))] = path
    return paths


def _write_parts(content: bytes, destination: Path) -> None:
    """Replace a folder by one with the parts of a tar file."""
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    for k, start in enumerate(range(0, len(content), PART_BYTES)):
        part = content[start : start + PART_BYTES]
        (destination / f"archive.tar.{k:02d}").write_bytes(part)


def archived_names(out: Path) -> list[str]:
    """Return the names of the results that earlier commands archived."""
    path = out / "archived.json"
    return json.loads(path.read_text()) if path.exists() else []


def add_archived_names(names: list[str], out: Path) -> None:
    """Record the names of archived results, so that later commands do not archive them again.

    The files of tasks that are not packed yet are not recorded, because they will change.
    """
    packed = [name for name in names if (out / "packed" / name).exists()]
    (out / "archived.json").write_text(json.dumps(archived_names(out) + packed))


def extract_archive(parts: Path, destination: Path) -> None:
    """Extract an archive to the `--out` folder of a queue, whose tasks then count as finished.

    The files are written to the folder itself, where tasks look for runs and checkpoints, and to
    its subfolder `packed`, where `is_finished` looks for results.
    """
    files = sorted(parts.glob("archive.tar.[0-9][0-9]"))
    content = b"".join(path.read_bytes() for path in files)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for folder in (destination, destination / "packed"):
            archive.extractall(folder, filter="data")
        for name in archive.getnames():
            print(destination / name)
