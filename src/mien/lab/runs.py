"""A run folder: one training, all that is known of it. This module alone knows its file names."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

import mien
from mien.errors import UserError
from mien.io import atomic_file
from mien.lab.config import Config, from_json, to_json

PACKAGE = Path(mien.__file__).parent
"""The source of mien."""

LOCK = ".lock"
"""A file in a run folder, locked by the process that trains there; it stays, and says nothing."""


@dataclass(frozen=True, slots=True)
class Run:
    """The paths of a run folder, whether they exist yet or not."""

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
        """The recipe that the run follows."""
        return from_json(read_json(self.config_file))

    @property
    def about(self) -> dict:
        """Versions, commit, machine and data of the run, and the heads that it taught."""
        return read_json(self.about_file)

    @property
    def finished(self) -> bool:
        """Whether the training came to its end (the last thing it writes are the weights)."""
        return self.weights_file.exists()

    def log(self) -> list[dict]:
        """One dictionary per finished epoch; a half-written last line is left out."""
        if not self.log_file.exists():
            return []
        return list(_whole_lines(self.log_file.read_text()))


def start(folder: Path, config: Config, facts: dict | None = None) -> Run:
    """The run to go on with: new in an empty folder, resumed in one with the same recipe.

    facts: what else to remember of the run; its `data` must stay the same. Refuses, with a
    `UserError`, a folder that holds a run of another config or data, or somebody's files. Only
    one process at a time may start a run: `locked`.
    """
    facts = facts or {}
    run = _made(folder)
    if run.config_file.exists():
        if run.config != config:
            ours, theirs = to_json(config), to_json(run.config)
            differ = [f"{k}={theirs[k]}, not {ours[k]}" for k in ours if ours[k] != theirs[k]]
            raise UserError(
                f"{folder} holds a run of another config ({'; '.join(differ)}); choose another "
                "--out, or remove it."
            )
        if run.about.get("data", facts.get("data")) != facts.get("data"):
            raise UserError(f"{folder} holds a run on other data; choose another --out.")
        return run
    write_json(run.about_file, about() | facts)
    write_json(run.config_file, to_json(config))
    return run


def _made(folder: Path | str) -> Run:
    run = Run(Path(folder))
    if run.folder.exists() and not run.folder.is_dir():
        raise UserError(f"{folder} is a file; choose another --out.")
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise atomic_file.write_error(run.folder, error) from None
    # A start that was killed leaves about.json, or the temporary file of either.
    started = (LOCK, run.about_file.name, run.config_file.name, ".about.", ".config.")
    names = [path.name for path in run.folder.iterdir()]
    if not run.config_file.exists() and not all(name.startswith(started) for name in names):
        raise UserError(f"{folder} is not a run folder and not empty; choose another --out.")
    return run


class Busy(UserError):
    """Another process is at work on a run."""


@contextmanager
def locked(folder: Path | str) -> Iterator[None]:
    """Keep other processes from training in this folder; raises `Busy` if one does.

    The folder is made if it is not there. The lock ends with the process that holds it, however
    that ends.
    """
    from filelock import FileLock, Timeout  # whoever only reads runs need not have it

    run = _made(folder)
    with ExitStack() as held:
        try:
            held.enter_context(FileLock(run.folder / LOCK, blocking=False))
        except Timeout:
            raise Busy(f"{run.folder} is being trained by another process.") from None
        except (OSError, NotImplementedError):
            pass  # some drives have no locks; training goes on without
        yield


def open_run(folder: Path | str) -> Run:
    """The run in an existing folder; a `UserError` if there is none."""
    run = Run(Path(folder))
    if not run.config_file.exists():
        below = sorted(found.parent.name for found in run.folder.glob(f"*/{run.config_file.name}"))
        those = f" The runs in it are {', '.join(below)}." if below else ""
        raise UserError(f"{folder} is not a run folder: it has no {run.config_file.name}.{those}")
    return run


def about() -> dict:
    """Where and with what something is measured: versions, commit, processor, accelerator."""
    versions = {"python": platform.python_version(), "mien": mien.__version__}
    for name in ("torch", "numpy", "onnxruntime"):
        if loaded := sys.modules.get(name):
            versions[name] = loaded.__version__  # torch's names its build as well
            continue
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"versions": versions, "commit": commit(), "machine": machine(), **accelerator()}


def accelerator() -> dict[str, str]:
    """The GPU that torch would use, if there is one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return {}
    return {"accelerator": torch.cuda.get_device_name()}


def commit() -> str | None:
    """The commit of the running source, `-dirty` if it is changed; None outside git.

    A copy of the tree that has no history is told it by $MIEN_COMMIT.
    """
    if told := os.environ.get("MIEN_COMMIT"):
        return told
    found = _git("rev-parse", "--short=12", "HEAD")
    # What is written elsewhere in the tree, such as a result, changes nothing of what was run.
    return found and found + ("-dirty" if _git("status", "--porcelain", "--", PACKAGE) else "")


def _git(*words: str | Path) -> str | None:
    command = ["git", "--no-optional-locks", *words]  # writes nothing into the repository
    try:
        found = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None


def machine() -> str:
    """The processor in words, with the number of cores this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {count} core{'s' if count != 1 else ''}"


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    with atomic_file.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON object; a `UserError` if the file is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{path} is not JSON.") from None


def save_predictions(run: Run, arrays: dict[str, np.ndarray], result: dict) -> None:
    """Write what the run said of each face, and what that is worth, replacing the last time's.

    arrays: `rows` and `truth` (N,), `raters` (N, 10), a (N, K) array per head.
    result: says split, views and window.
    """
    run.metrics_file.unlink(missing_ok=True)
    with atomic_file.atomic_write(run.predictions_file) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    write_json(run.metrics_file, result)  # last: by it one knows that all is there


def load_predictions(run: Run) -> dict[str, np.ndarray]:
    """What `save_predictions` kept; a `UserError` that says what to type if there is nothing."""
    if not run.predictions_file.exists():
        raise UserError(f"{run.folder} is not measured yet: mien evaluate {run.folder} --data ...")
    try:
        with open(run.predictions_file, "rb") as file, np.load(file, allow_pickle=False) as saved:
            return dict(saved)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        raise UserError(
            f"{run.predictions_file} is damaged: mien evaluate {run.folder} --data ..."
        ) from None


def load_tensors(path: Path) -> dict:
    """What torch saved in a file, on the CPU; a `UserError` if it is damaged."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # it raises what it likes on damaged data
        raise UserError(f"{path} is damaged.") from None


def write_log(run: Run, entries: list[dict]) -> None:
    """Write the whole log again, at once: after a resume it must not repeat an epoch."""
    with atomic_file.atomic_write(run.log_file) as temporary:
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def _whole_lines(text: str) -> Iterator[dict]:
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return
