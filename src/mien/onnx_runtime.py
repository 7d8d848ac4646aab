"""ONNX Runtime with its telemetry switched off; the only module that imports it.

From 1.29 on, ONNX Runtime sends telemetry unless told otherwise: its first import writes a device
id and a queue of events under `~/.cache/Microsoft` and starts a thread that sends them. Setting
ORT_DISABLE_TELEMETRY prevents all of it, but only before that import.
https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import below; worker processes inherit it

import onnxruntime

# Where somebody imported it before mien, a first event is queued already; this prevents all others.
onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime", "quantization"]


def quantization() -> Any:
    """The module `onnxruntime.quantization`, imported when asked for: it needs onnx."""
    return import_module("onnxruntime.quantization")
