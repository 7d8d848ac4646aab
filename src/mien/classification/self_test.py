"""Check at load time that an int8 model computes correctly on this CPU.

Kernels for 8-bit integers differ between CPUs, and some round or saturate where others do not
(`tests/classification/saturation.py`). The file of an int8 model therefore contains the outputs for
a few synthetic inputs, computed at export in float32 arithmetic, which differs between CPUs only by
rounding.
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
"""Number of inputs, and number of blocks along each side of an input."""

TOLERANCE = 0.04
"""The largest accepted difference from the expected outputs. Correct kernels differ by up to 0.018
on such inputs, because they round differently. Saturation changed the outputs of an earlier
`default-int8` with 8-bit weights by 0.17."""


def inputs(channels: int, side: int) -> np.ndarray:
    """Return the inputs of the self-test, (`COUNT`, channels, side, side) uint8, always the same.

    They consist of random blocks, in gray levels in the first half of the inputs and in black and
    white in the second, because saturation needs large activations.
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
    """Compute the largest difference between a model's outputs and those stored in its metadata.

    Args:
        session: The model.
        metadata: Its custom metadata.
        run_options: Options of ONNX Runtime, such as those of `time_limit`.

    Returns:
        The largest absolute difference. It is 0 without stored outputs, NaN if an output is NaN,
        and infinite if the model cannot be run or its outputs cannot be compared with those stored.
    """
    try:
        expected = json.loads(metadata.get(METADATA, "{}"))
        if not expected:
            return 0.0
        (faces,) = session.get_inputs()
        _, channels, side, _ = faces.shape
        outputs = dict(zip(
            [output.name for output in session.get_outputs()],
            session.run(None, {faces.name: inputs(channels, side)}, run_options),
            strict=True,
        ))  # fmt: skip
        errors = [np.abs(outputs[name] - expected[name]).max() for name in expected]
    except Exception as error:
        if isinstance(error, TypeError | KeyError) or is_session_error(error):
            return math.inf
        raise
    return float(np.max(errors))  # unlike max(), this keeps NaN
