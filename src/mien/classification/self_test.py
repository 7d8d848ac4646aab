"""Check at load time that an int8 model computes correctly on this CPU.

Kernels for 8-bit integers differ between CPUs, and some round or saturate where others do not
(`tests/classification/saturation.py`). The file of an int8 model therefore contains the outputs for
a few synthetic inputs, computed at export in float32 arithmetic, which is the same everywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mien.onnx_runtime import InferenceSession, is_session_error

METADATA = "mien.self_test"
"""Name of the metadata entry: JSON, output name -> expected (N, K) outputs."""

COUNT, BLOCKS = 4, 12
"""Number of inputs, and of blocks along each side of an input."""

TOLERANCE = 0.04
"""The largest accepted difference from the expected outputs. Correct kernels round differently by
up to 0.018 on such inputs; saturation in an earlier 8-bit `default-int8` changed them by 0.17."""


def inputs(channels: int, side: int) -> np.ndarray:
    """Return the inputs, (`COUNT`, channels, side, side) uint8, which never change.

    They are random blocks, half of the inputs in gray levels and half in black and white, because
    saturation needs large activations.
    """
    # A hash is the same in every version of NumPy, unlike its random generators.
    levels = hashlib.shake_256(b"self-test").digest(COUNT * BLOCKS**2)
    blocks = np.frombuffer(levels, np.uint8).reshape(COUNT, 1, BLOCKS, BLOCKS).copy()
    blocks[COUNT // 2 :] = np.where(blocks[COUNT // 2 :] < 128, 0, 255)
    indices = np.arange(side) * BLOCKS // side
    return blocks[:, :, indices[:, None], indices].repeat(channels, 1)


def to_metadata(outputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the ONNX metadata with the expected outputs, output name -> (N, K)."""
    rounded = {name: np.round(array.astype(float), 4).tolist() for name, array in outputs.items()}
    return {METADATA: json.dumps(rounded)}


def max_error(
    session: InferenceSession, metadata: Mapping[str, str], run_options: Any = None
) -> float:
    """Return the largest difference of a model's outputs from those stored in its metadata.

    It is 0 for a model without stored outputs, and infinite if they do not fit the model.
    """
    try:
        expected = json.loads(metadata.get(METADATA, "{}"))
        if not expected:
            return 0.0
        (port,) = session.get_inputs()
        _, channels, side, _ = port.shape
        outputs = dict(zip(
            [port.name for port in session.get_outputs()],
            session.run(None, {port.name: inputs(channels, side)}, run_options),
            strict=True,
        ))  # fmt: skip
        errors = [np.abs(outputs[name] - expected[name]).max() for name in expected]
    except Exception as error:
        if isinstance(error, TypeError | KeyError) or is_session_error(error):
            return math.inf
        raise
    return float(np.max(errors))  # unlike max(), this keeps NaN
