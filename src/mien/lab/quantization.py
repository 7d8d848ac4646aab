"""How the weights of an exported graph are kept: halved, or as whole numbers of 8 bits."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from mien.classification.model_spec import INPUT
from mien.onnx_runtime import import_quantization

NARROWED = ("float16", "int8-weights")
"""Storages whose weights ONNX Runtime widens when it loads them, so that it computes as fast."""

SMALLEST = 256
"""Weights of fewer numbers stay as they are."""


def narrowed(proto: onnx.ModelProto, storage: str) -> onnx.ModelProto:
    """The same graph with its larger weights stored in fewer bits and widened when it is loaded.

    Args:
        proto: of float32 weights.
        storage: `"float16"`, or `"int8-weights"`: 8 bits and a factor for each output channel.

    Returns:
        The graph, changed in place.
    """
    widening = []
    weights = {weight.name: weight for weight in proto.graph.initializer}
    for name, weight in weights.items():
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= SMALLEST:
            make = _halved if storage == "float16" or values.ndim < 2 else _whole_numbers
            stored, nodes = make(name, values)
            proto.graph.initializer.remove(weight)
            proto.graph.initializer.extend(stored)
            widening += nodes
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(widening + nodes)
    onnx.checker.check_model(proto)
    return proto


Stored = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]
"""What replaces a weight, and the nodes that make it again."""


def _halved(name: str, values: np.ndarray) -> Stored:
    half = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
    cast = onnx.helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT)
    return [half], [cast]


def _whole_numbers(name: str, values: np.ndarray) -> Stored:
    largest = np.abs(values).max(tuple(range(1, values.ndim)), keepdims=True)
    factor = (np.maximum(largest, 1e-12) / 127).astype(np.float32)
    whole = np.rint(values / factor).astype(np.int8)
    stored = [
        onnx.numpy_helper.from_array(whole, f"{name}.int8"),
        onnx.numpy_helper.from_array(factor, f"{name}.factor"),
    ]
    cast = onnx.helper.make_node(
        "Cast", [f"{name}.int8"], [f"{name}.wide"], to=onnx.TensorProto.FLOAT
    )
    return stored, [cast, onnx.helper.make_node("Mul", [f"{name}.wide", f"{name}.factor"], [name])]


def quantized(proto: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
    """The same graph with 8-bit weights and activations: ranges as they occur on `faces`.

    faces: (N, channels, 48, 48) uint8. Weights per output channel, activations per tensor.
    """
    q = import_quantization()

    class Reader(q.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.parts = iter(np.array_split(faces, max(1, len(faces) // 64)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self.parts, None)
            return None if part is None else {INPUT: part}

    with tempfile.TemporaryDirectory() as folder, quiet():
        before, ready, after = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
        onnx.save(proto, before)
        q.shape_inference.quant_pre_process(before, ready, skip_symbolic_shape=True)
        q.quantize_static(
            ready,
            after,
            Reader(),
            per_channel=True,
            # Without VNNI the products of 8-bit numbers saturate at 16 bits; 7 bits never do.
            reduce_range=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "Relu", "AveragePool"],
        )
        made = onnx.load(after)
    onnx.helper.set_model_props(made, {p.key: p.value for p in proto.metadata_props})
    return made


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter warns of its own internals; nothing of that is news to its user."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
