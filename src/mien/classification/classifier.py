"""Classify face crops with an ONNX model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mien.classification import self_test
from mien.classification.model_spec import (
    LABELS_OUTPUT,
    MAX_REASON_LENGTH,
    OUTPUT,
    ModelSpec,
    from_metadata,
    from_sidecar,
)
from mien.classification.weights import ModelFile
from mien.errors import UserError, warn
from mien.onnx_runtime import (
    is_session_error,
    open_session,
    return_memory,
    time_limit,
)

MAX_BELOW_ZERO, MAX_SUM_ERROR = 1e-4, 0.05
"""Tolerated rounding errors of a model's output: how far a share may be below 0, and how far the
sum of shares may be from 1."""

MAX_FILE_BYTES = 2**31
"""Maximum size of a model file; protobuf, the file format, has the same limit."""

MAX_FIRST_RUN_SECONDS = 60.0
"""Time limit for each of the two checks when a model is loaded: its self-test, and the
classification of two crops."""


class Classifier:
    """An ONNX model that maps face crops to emotion shares. Safe to call from several threads.

    The input size, labels and preprocessing are read from the file's metadata, or from a TOML file
    of the same name in the same folder. If int8 arithmetic gives wrong results on this CPU, a
    warning is issued, and the model runs in float32.

    Args:
        file: Path of the `.onnx` file, or a `ModelFile` from `weights.model`.
        threads: Number of ONNX Runtime threads; 0 uses all cores.

    Attributes:
        name: The model's name, as stored in results.
        spec: The model's labels, input size and preprocessing.

    Raises:
        UserError: `threads` is negative; or the file is missing, too large or damaged, has no valid
            specification, has a fixed batch size above 1, lacks the requested head, or fails a
            check when it is loaded.

    Example:
        ```python
        classify = Classifier(weights.model("default"))
        shares = classify(np.zeros((1, 1, 48, 48), np.uint8))  # (1, 8) float64
        ```
    """

    def __init__(self, file: Path | ModelFile, threads: int = 0) -> None:
        file = file if isinstance(file, ModelFile) else ModelFile(file)
        path, head = file
        self.name = file.name
        if threads < 0:
            raise UserError(
                f"The number of threads is {threads}; use 0 for all cores, or a positive number."
            )
        self._run_options: Any = None  # the time limit of the check; None after loading
        if not path.is_file():  # reading a named pipe would wait
            raise UserError(f"Model file not found: {path}. Check the path.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"{path} is too large; a model file has at most 2 GiB.")
        try:
            self._session = open_session(str(path), threads)
            metadata = self._session.get_modelmeta().custom_metadata_map
            input_shapes = {node.name: node.shape for node in self._session.get_inputs()}
            outputs = [node.name for node in self._session.get_outputs()]
        except Exception as error:
            if is_session_error(error):
                raise UserError(f"{path} is damaged or not an ONNX model.") from error
            raise
        self.spec = _read_spec(path, metadata, input_shapes, outputs, head)
        batch_size = next(iter(input_shapes[self.spec.input]), None)
        if isinstance(batch_size, int) and batch_size > 1:
            raise UserError(
                f"{path} can only classify {batch_size} faces at a time; export it with a variable "
                "batch size, or with batch size 1."
            )
        self._has_batch_size_one = batch_size == 1
        self._run_self_test(path, threads)
        self._check_spec(path)
        return_memory()

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Predict emotion shares.

        Args:
            crops: (N, C, side, side) uint8, each as `crops.crop_face` returns it; N may be 0.

        Returns:
            (N, K) float64 in the order of `spec.labels`; each row sums to 1.

        Raises:
            UserError: The outputs of the graph are not probabilities.
        """
        if not len(crops):
            return np.zeros((0, len(self.spec.labels)))
        (outputs,) = self._run(crops, [self.spec.output])
        if self.spec.softmax:
            exponentials = np.exp(outputs - outputs.max(1, keepdims=True))
            return exponentials / exponentials.sum(1, keepdims=True)
        return self._normalize(outputs)

    def predict_all_heads(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Predict with all heads of a model that mien exported, in one run of its graph.

        Args:
            crops: (N, C, side, side) uint8.

        Returns:
            Head name -> (N, K) float64 probabilities, the first head first; each row sums to 1.

        Raises:
            UserError: The outputs of the graph are not probabilities.
        """
        heads = self.spec.card["heads"]
        names = [OUTPUT, LABELS_OUTPUT][: len(heads)]  # type: ignore[arg-type]
        outputs = map(self._normalize, self._run(crops, names))
        return dict(zip(heads, outputs, strict=True))  # type: ignore[call-overload]

    def _run(self, crops: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
        """Preprocess crops, run the session and return one float64 array per output."""
        inputs = self._preprocess(crops)
        batches = np.split(inputs, len(inputs)) if self._has_batch_size_one else [inputs]
        results = [
            self._session.run(outputs, {self.spec.input: batch}, self._run_options)
            for batch in batches
        ]
        return [np.concatenate(arrays).astype(np.float64) for arrays in zip(*results, strict=True)]

    def _preprocess(self, crops: np.ndarray) -> np.ndarray:
        """Convert crops to the model's dtype, normalization and layout."""
        spec, inputs = self.spec, crops
        if spec.dtype == "float32":
            mean = np.asarray(spec.mean, np.float32).reshape(-1, 1, 1)
            std = np.asarray(spec.std, np.float32).reshape(-1, 1, 1)
            inputs = (crops.astype(np.float32) - mean) / std
        if spec.layout == "NHWC":
            inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
        return inputs

    def _normalize(self, outputs: np.ndarray) -> np.ndarray:
        """Correct rounding errors; raise a `UserError` if the outputs are not probabilities."""
        if not outputs.min(initial=0) >= -MAX_BELOW_ZERO:  # true for NaN, too
            raise UserError(
                f"{self.name} outputs {outputs.min():.2g} to {outputs.max():.2g}, which are not "
                "probabilities. If its graph ends with logits, set softmax = true in its TOML file."
            )
        outputs = np.maximum(outputs, 0)
        sums = outputs.sum(1, keepdims=True)
        if not np.all(np.abs(sums - 1) < MAX_SUM_ERROR):
            raise UserError(
                f"{self.name} outputs shares whose sums are {sums.min():.2g} to {sums.max():.2g} "
                "instead of 1. If its graph ends with logits, set softmax = true in its TOML file."
            )
        return outputs / sums

    def _run_self_test(self, path: Path, threads: int) -> None:
        """Open the session again in float32 arithmetic if the model fails its self-test.

        Raise a `UserError` if it also fails in float32.
        """
        metadata = self._session.get_modelmeta().custom_metadata_map
        with time_limit(MAX_FIRST_RUN_SECONDS) as options:
            if self_test.max_error(self._session, metadata, options) <= self_test.TOLERANCE:
                return
            self._session = open_session(str(path), threads, int8_kernels=False)
            error = self_test.max_error(self._session, metadata, options)
        if not error <= self_test.TOLERANCE:
            raise UserError(
                f"{path} is damaged: its outputs differ from those stored in it. Replace the file."
            )
        warn(UserError(f"{self.name} gives wrong results in int8 arithmetic on this CPU, so it "
                       "runs in float32. A float32 model is faster on this CPU."))  # fmt: skip

    def _check_spec(self, path: Path) -> None:
        """Classify two gray crops, so that a wrong specification is an error at load time."""
        spec = self.spec
        crops = np.full((2, spec.channels, spec.side, spec.side), 128, np.uint8)
        started_at = time.monotonic()
        try:
            with time_limit(MAX_FIRST_RUN_SECONDS) as self._run_options:
                shape = self(crops).shape
        except Exception as error:
            if not is_session_error(error):
                raise
            reason = " ".join(str(error).split())[:MAX_REASON_LENGTH]
            if time.monotonic() - started_at > MAX_FIRST_RUN_SECONDS:
                reason = f"it does not classify two crops within {MAX_FIRST_RUN_SECONDS:g} seconds"
            raise UserError(f"{path} does not match its specification: {reason}.") from error
        finally:
            self._run_options = None
        if shape != (2, len(spec.labels)):
            raise UserError(
                f"{path} names {len(spec.labels)} labels but has outputs of shape {shape[1:]}; "
                "name one label per output value."
            )


def load_in_background(file: Path | ModelFile, threads: int = 0) -> Future[Classifier]:
    """Load a `Classifier` in a thread; ONNX Runtime releases the GIL while it loads.

    Args:
        file: Path of the `.onnx` file, or a `ModelFile` from `weights.model`.
        threads: Number of ONNX Runtime threads; 0 uses all cores.

    Returns:
        A future whose `result()` returns the classifier or raises its `UserError`.
    """
    executor = ThreadPoolExecutor(1)
    try:
        return executor.submit(Classifier, file, threads)
    finally:
        executor.shutdown(wait=False)


def _read_spec(
    path: Path,
    metadata: Mapping[str, str],
    input_shapes: Mapping[str, list],
    outputs: Sequence[str],
    head: str,
) -> ModelSpec:
    """Read the specification from the model's metadata or its TOML file.

    Args:
        path: The model file.
        metadata: The custom metadata of the model.
        input_shapes: Name -> shape of each input of the graph.
        outputs: Names of the outputs of the graph.
        head: Name of the head; empty for the first.

    Raises:
        UserError: There is no specification, or it is invalid or does not match the graph.
    """
    sidecar = path.with_suffix(".toml")
    if "mien.labels" in metadata:
        source = path
        spec = from_metadata(metadata, next(iter(input_shapes.values()), []), head)
    elif sidecar.exists():
        if head:
            raise UserError(f"{path} has no head {head!r}; it has one unnamed head.")
        source = sidecar
        spec = from_sidecar(sidecar)
    else:
        raise UserError(
            f"{path} does not name its labels and input size. Write them into {sidecar.name} "
            "in the same folder."
        )
    for kind, name, names in (
        ("input", spec.input, list(input_shapes)),
        ("output", spec.output, outputs),
    ):
        if name not in names:
            listed = str(names)[:MAX_REASON_LENGTH]
            raise UserError(f"{source}: the graph has no {kind} {name!r}; it has {listed}.")
    return spec
