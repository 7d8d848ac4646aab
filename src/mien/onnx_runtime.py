"""Import ONNX Runtime with its telemetry disabled; other modules import it from here.

Official builds of ONNX Runtime send telemetry by default: on Windows through the operating system
and, since version 1.29, also on Linux and macOS. On Linux, the first import writes a device id and
a queue of events under `~/.cache/Microsoft`, and starts a thread that sends them. If
ORT_DISABLE_TELEMETRY is set before that import, nothing is written or sent; the variable has no
effect on Windows.
https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # must precede the import; worker processes inherit it

import onnxruntime
from onnxruntime import InferenceSession

# For Windows, and for programs that import onnxruntime before mien. An event that is already queued
# is still sent.
onnxruntime.disable_telemetry_events()

__all__ = [
    "InferenceSession",
    "import_quantization",
    "is_session_error",
    "onnxruntime",
    "open_session",
    "return_memory",
    "shrink_options",
    "time_limit",
]


class _Session(InferenceSession):  # type: ignore[misc]
    """A session that is pickled as its arguments; unpickling opens the model again."""

    def __init__(self, model: str | bytes, threads: int, int8_kernels: bool) -> None:
        options = _options(threads, int8_kernels)
        super().__init__(model, options, providers=["CPUExecutionProvider"])
        self._arguments = model, threads, int8_kernels

    def __reduce__(self) -> tuple:
        return _reopen, self._arguments


@lru_cache(maxsize=8)
def _reopen(model: str | bytes, threads: int, int8_kernels: bool) -> InferenceSession:
    """Open a session once per process, because process pools unpickle it with every task."""
    return _Session(model, threads, int8_kernels)


_sessions: WeakValueDictionary[tuple, _Session] = WeakValueDictionary()
"""Open sessions by file and options; the heads of a model file share a session."""


def open_session(
    model: str | bytes, threads: int = 0, *, int8_kernels: bool = True
) -> InferenceSession:
    """Open a model on the CPU.

    Args:
        model: The path or the bytes of a model. A file that is already open with the same options
            and has not changed is not opened again.
        threads: Number of threads; 0 uses all cores.
        int8_kernels: Whether to compute the quantized layers of an int8 model in integers. In
            float32, they are slower but give the same result on every CPU.

    Raises:
        Exception: An error for which `is_session_error` is true, if the model cannot be opened.
    """
    if isinstance(model, bytes):
        return _Session(model, threads, int8_kernels)
    try:
        stat = Path(model).stat()
    except OSError:  # ONNX Runtime raises an error that describes the problem
        return _Session(model, threads, int8_kernels)
    key = (model, threads, int8_kernels, stat.st_mtime_ns, stat.st_size)
    if (session := _sessions.get(key)) is None:
        session = _sessions[key] = _Session(model, threads, int8_kernels)
    return session


def _options(threads: int, int8_kernels: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised; do not print them as well
    # Spinning threads would take CPU time from detection, decoding and other stages.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Memory patterns would keep a memory plan for every input size.
    options.enable_mem_pattern = False
    if not int8_kernels:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def is_session_error(error: Exception) -> bool:
    """Return whether an error has a type that opening or running a session raises.

    The errors of ONNX Runtime have no public base class.
    """
    is_builtin = isinstance(error, RuntimeError | ValueError | MemoryError)
    return is_builtin or type(error).__module__.startswith("onnxruntime")


@contextmanager
def time_limit(seconds: float) -> Iterator[Any]:
    """Yield options that abort a run, such as one with an endless loop, after `seconds`.

    Pass them to `InferenceSession.run`. The time is counted from the start of the `with` block. An
    aborted run raises an error for which `is_session_error` is true.
    """
    options = onnxruntime.RunOptions()
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def shrink_options() -> Any:
    """Return options for `InferenceSession.run` that then free the session's unused memory."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def return_memory() -> None:
    """Return freed memory to the operating system.

    Loading a model allocates and frees about twice the size of its file.
    """
    with suppress(OSError, AttributeError):  # only the GNU C library has and needs malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


def import_quantization() -> Any:
    """Return the module `onnxruntime.quantization`, imported on use because it needs onnx."""
    return import_module("onnxruntime.quantization")
