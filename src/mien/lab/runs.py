"""Run folders: each contains one training. The names of their files are defined only here."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

import mien
from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import file_checks
from mien.lab.config import Config, from_json, to_json
from mien.lab.heads import HEADS

PACKAGE = Path(mien.__file__).parent
"""Folder of the package `mien`."""

MAX_TEXT_BYTES = 2**28
"""Maximum size of a JSON file or log."""

LOCK_NAME = ".lock"
"""Name of the empty file in a run folder that a training process locks; it is not deleted."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder and the paths of its files, which need not exist."""

    folder: Path

    config_file = property(lambda self: self.folder / "config.json")
    about_file = property(lambda self: self.folder / "about.json")
    log_file = property(lambda self: self.folder / "log.jsonl")
    checkpoint_file = property(lambda self: self.folder / "checkpoint.pt")
    weights_file = property(lambda self: self.folder / "weights.pt")
    predictions_file = property(lambda self: self.folder / "predictions.npz")
    metrics_file = property(lambda self: self.folder / "metrics.json")

    @property
    def config(self) -> Config:
        """The config of the run; a `UserError` if it is missing or damaged."""
        saved = read_json(self.config_file)
        try:
            return from_json(saved)
        except UserError as error:
            raise UserError(f"{self.config_file} is damaged: {error}") from None

    @property
    def about(self) -> dict:
        """Versions, commit, machine, data and trained heads; a `UserError` if they are damaged."""
        saved = read_json(self.about_file)
        if not file_checks.is_about(saved):
            raise UserError(f"{self.about_file} is damaged. Restore it, or train again.")
        return saved

    @property
    def heads(self) -> list[str]:
        """The heads that the network was trained with; all of `HEADS` if they are not recorded."""
        return self.about.get("heads", list(HEADS))

    @property
    def finished(self) -> bool:
        """Whether the training is complete: the weights are written last."""
        return self.weights_file.exists()

    def log(self) -> list[dict]:
        """One dictionary per completed epoch, up to the first line that is not JSON.

        Without a log file the list is empty. A `UserError` if the entries are damaged.
        """
        if not self.log_file.exists():
            return []
        entries = list(_complete_lines(_read_text(self.log_file)))
        if not file_checks.are_log_entries(entries):
            raise UserError(f"{self.log_file} is damaged. Restore it, or train again.")
        return entries

    def result(self) -> dict:
        """The result that `mien evaluate` saved; a `UserError` if it is missing or damaged."""
        if not self.metrics_file.exists():
            raise UserError(
                f"{self.folder} is not evaluated yet. Run mien evaluate {self.folder} --data "
                "DATASET."
            )
        saved = read_json(self.metrics_file)
        if not file_checks.is_result(saved):
            raise UserError(
                f"{self.metrics_file} is damaged. Run mien evaluate {self.folder} --data DATASET."
            )
        return saved


def create(folder: Path, config: Config, about_run: dict | None = None) -> Run:
    """Create a run in an empty folder, or return the existing one to resume it.

    Only one process may call this for a folder at a time; see `locked`.

    Args:
        folder: Folder of the run; created if needed.
        config: Config of the training.
        about_run: Entries of `about.json` besides those of `environment`. A run can only be
            resumed with the same `data`.

    Raises:
        UserError: The folder has a run with another config or other data, or files of another
            kind; or it cannot be written.
    """
    about_run = about_run or {}
    run = _create_folder(folder)
    if run.config_file.exists():
        _check_resumable(run, config, about_run)
    else:
        write_json(run.about_file, environment() | about_run)
        write_json(run.config_file, to_json(config))
    return run


def _check_resumable(run: Run, config: Config, about_run: dict) -> None:
    if run.config != config:
        requested, existing = to_json(config), to_json(run.config)
        differing = [
            f"{name}={existing[name]}, not {value}"
            for name, value in requested.items()
            if existing[name] != value
        ]
        raise UserError(
            f"{run.folder} has a run with another config ({'; '.join(differing)}). Choose "
            "another --out, or delete the folder."
        )
    if run.about.get("data", about_run.get("data")) != about_run.get("data"):
        raise UserError(f"{run.folder} has a run on other data. Choose another --out.")


def _create_folder(folder: Path | str) -> Run:
    run = Run(Path(folder))
    if run.folder.exists() and not run.folder.is_dir():
        raise UserError(f"{folder} is a file. Choose another --out.")
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic_file.write_error(run.folder, error) from None
    # A process that is killed before it writes config.json leaves only these files.
    leftovers = (LOCK_NAME, run.about_file.name, atomic_file.TEMPORARY_PREFIX)
    names = [path.name for path in run.folder.iterdir()]
    if not run.config_file.exists() and not all(name.startswith(leftovers) for name in names):
        raise UserError(f"{folder} is not empty and not a run folder. Choose another --out.")
    return run


class RunLocked(UserError):
    """Another process is training in a run folder."""


@contextmanager
def locked(folder: Path | str) -> Iterator[None]:
    """Lock a run folder for training, and create it if needed.

    The operating system releases the lock when the process ends, even if it is killed.

    Raises:
        RunLocked: Another process has the lock.
        UserError: The folder cannot be created, or is not a run folder.
    """
    from filelock import FileLock, Timeout  # not needed to read runs

    run = _create_folder(folder)
    with ExitStack() as lock:
        try:
            lock.enter_context(FileLock(run.folder / LOCK_NAME, blocking=False))
        except Timeout:
            raise RunLocked(f"Another process is training in {run.folder}.") from None
        except (OSError, NotImplementedError):
            pass  # some file systems do not support locks; train without one
        yield


def open_run(folder: Path | str) -> Run:
    """Open an existing run; a `UserError` if the folder is not a run folder."""
    run = Run(Path(folder))
    if not run.config_file.exists():
        names = sorted(path.parent.name for path in run.folder.glob(f"*/{run.config_file.name}"))
        hint = f" It contains the runs {', '.join(names)}." if names else ""
        raise UserError(
            f"{folder} is not a run folder: it has no {run.config_file.name}; give the --out of "
            f"`mien train`.{hint}"
        )
    return run


def environment() -> dict:
    """The environment of a measurement.

    Returns:
        `versions` of Python, mien, torch, NumPy and ONNX Runtime, as far as installed; `commit`;
        `machine`; and, if torch is imported and finds a CUDA GPU, its name as `accelerator`.
    """
    versions = {"python": platform.python_version(), "mien": mien.__version__}
    for name in ("torch", "numpy", "onnxruntime"):
        if name in sys.modules:
            versions[name] = sys.modules[name].__version__  # for torch this includes the build
        else:
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
    described = {"versions": versions, "commit": commit(), "machine": machine()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        described["accelerator"] = torch.cuda.get_device_name()
    return described


def commit() -> str | None:
    """The commit of the running package, with `-dirty` for uncommitted changes to it.

    None if the package is not in a git repository. The environment variable MIEN_COMMIT overrides
    the commit, for copies without git history.
    """
    if override := os.environ.get("MIEN_COMMIT"):
        return override
    head = _git("rev-parse", "--short=12", "HEAD")
    # A virtual environment can be in the folder of another repository, which ignores its files.
    is_tracked = _git("ls-files", "--", PACKAGE) is not None
    if head is None or not is_tracked:
        return None
    # Changes outside the package, such as those of results, do not affect the code that runs.
    is_dirty = _git("status", "--porcelain", "--", PACKAGE) is not None
    return f"{head}-dirty" if is_dirty else head


def _git(*arguments: str | Path) -> str | None:
    """Return the output of a git command in the package; None if it is empty or git fails."""
    command = ["git", "--no-optional-locks", *arguments]  # do not write to the repository
    try:
        result = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def machine() -> str:
    """The name of the processor and the number of cores that this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {count} core{'s' if count != 1 else ''}"


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically."""
    with atomic_file.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON object; a `UserError` if the file is missing or damaged."""
    text = _read_text(path)
    try:
        value = json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise UserError(f"{path} is not JSON.") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object.")
    return value


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_text(path: Path) -> str:
    """Read a text file of a run folder; a `UserError` if that is not possible."""
    check_file(path, MAX_TEXT_BYTES)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not JSON.") from None


def check_file(path: Path, max_bytes: float = math.inf) -> None:
    """Raise a `UserError` if a file does not exist, is not a regular file, or is too large."""
    if not path.exists():
        raise UserError(f"{path} does not exist.")
    if not path.is_file():  # reading a named pipe would wait
        raise UserError(f"{path} is not a file.")
    if path.stat().st_size > max_bytes:
        raise UserError(f"{path} is too large; it is not from a run folder.")


def save_predictions(run: Run, arrays: dict[str, np.ndarray], result: dict) -> None:
    """Write predictions and their metrics, replacing previous ones.

    Args:
        run: The evaluated run.
        arrays: `rows` (N,) of the faces, `truth` (N,) labels with -1 for none, `raters` (N, 10)
            votes, and for each head its (N, K) probabilities.
        result: The result of `mien evaluate`.
    """
    run.metrics_file.unlink(missing_ok=True)
    with atomic_file.atomic_write(run.predictions_file) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    write_json(run.metrics_file, result)  # last: if it exists, both files are complete


def load_predictions(run: Run) -> dict[str, np.ndarray]:
    """Load the arrays of `save_predictions`; a `UserError` if the file is missing or damaged."""
    if not run.predictions_file.exists():
        raise UserError(
            f"{run.folder} is not evaluated yet. Run mien evaluate {run.folder} --data DATASET."
        )
    damaged = UserError(
        f"{run.predictions_file} is damaged. Run mien evaluate {run.folder} --data DATASET."
    )
    check_file(run.predictions_file)
    try:
        with open(run.predictions_file, "rb") as file, np.load(file, allow_pickle=False) as saved:
            arrays = dict(saved)
    except Exception:  # NumPy and zipfile raise many types of errors on damaged data
        raise damaged from None
    if not file_checks.are_predictions(arrays):
        raise damaged
    return arrays


def load_tensors(path: Path) -> dict:
    """Load a dictionary with texts as keys that `torch.save` wrote, with its tensors on the CPU.

    Raises:
        UserError: The file is missing, cannot be read or is damaged.
    """
    import torch

    check_file(path)
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None
    except Exception:  # torch raises many types of errors on damaged data
        raise UserError(f"{path} is damaged. Delete it and train again.") from None
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise UserError(f"{path} is damaged. Delete it and train again.")
    return tensors


def load_weights(run: Run) -> dict:
    """Load the weights of a run, name -> tensor; a `UserError` if they are missing or damaged."""
    import torch

    weights = load_tensors(run.weights_file)
    if not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"{run.weights_file} is damaged. Delete it and train again.")
    return weights


def write_log(run: Run, entries: list[dict]) -> None:
    """Rewrite the whole log atomically, so that a resumed run does not log an epoch twice."""
    with atomic_file.atomic_write(run.log_file) as temporary:
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def _complete_lines(text: str) -> Iterator[dict]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):  # also for numbers that are too long for Python
            return
