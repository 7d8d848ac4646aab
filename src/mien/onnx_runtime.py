"""ONNX Runtime with its telemetry switched off; the only module that imports it.

From 1.29 on, ONNX Runtime sends telemetry unless told otherwise: its first import writes a device
id and a queue of events under `~/.cache/Microsoft` and starts a thread that sends them. Setting
ORT_DISABLE_TELEMETRY prevents all of it, but only before that import.
https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; worker processes inherit it

import onnxruntime
from onnxruntime import InferenceSession

# Where somebody imported it before mien, a first event is queued already; this prevents all others.
onnxruntime.disable_telemetry_events()

__all__ = [
    "InferenceSession",
    "import_quantization",
    "onnxruntime",
    "open_session",
    "return_memory",
]


class _Session(InferenceSession):  # type: ignore[misc]
    """A session that pickles as its model's path or bytes; unpickling opens it again."""

    def __init__(self, model: str | bytes, threads: int) -> None:
        super().__init__(model, _options(threads), providers=["CPUExecutionProvider"])
        self._opened_with = model, threads

    def __reduce__(self) -> tuple:
        return _reopened, self._opened_with


@lru_cache(maxsize=8)
def _reopened(model: str | bytes, threads: int) -> InferenceSession:
    """One session for all copies unpickled in this process: pools send one with every task."""
    return _Session(model, threads)


_open: WeakValueDictionary[tuple, _Session] = WeakValueDictionary()
"""Sessions of files that somebody uses, so that both heads of a network share one."""


def open_session(model: str | bytes, threads: int = 0) -> InferenceSession:
    """An ONNX Runtime session on the CPU.

    Args:
        model: a path or the bytes of a model. A file that is open already is shared.
        threads: 0 is all cores.
    """
    if isinstance(model, bytes):
        return _Session(model, threads)
    try:
        about = Path(model).stat()
    except OSError:  # ONNX Runtime says what is wrong
        return _Session(model, threads)
    key = (model, threads, about.st_mtime_ns, about.st_size)
    if (session := _open.get(key)) is None:
        session = _open[key] = _Session(model, threads)
    return session


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores from other stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # It would keep a plan, and memory for it, for every size of input.
    options.enable_mem_pattern = False
    return options


def return_memory() -> None:
    """Return freed memory to the system: loading a model leaves about twice its size behind."""
    with suppress(OSError, AttributeError):  # only the GNU C library has it, and only it needs it
        ctypes.CDLL(None).malloc_trim(0)


def import_quantization() -> Any:
    """The module `onnxruntime.quantization`, imported when asked for: it needs onnx."""
    return import_module("onnxruntime.quantization")
