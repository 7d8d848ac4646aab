"""Reduce the file size of an exported graph: float16 weights, int8 weights, or full int8."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from mien.classification import self_test
from mien.classification.model_spec import INPUT
from mien.onnx_runtime import import_quantization, open_session

REDUCED_PRECISION = ("float16", "int8-weights")
"""Precisions that are converted to float32 on loading, so that inference is not slower."""

MIN_ELEMENTS = 256
"""Weight tensors with fewer elements stay float32."""


def reduce_precision(proto: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """Store the larger weights in fewer bits and convert them to float32 on loading.

    Args:
        proto: A graph with float32 weights; changed in place.
        precision: `"float16"`, or `"int8-weights"` for 8 bits with one factor per output channel.

    Returns:
        The changed graph.
    """
    conversions = []
    weights = {weight.name: weight for weight in proto.graph.initializer}
    for name, weight in weights.items():
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= MIN_ELEMENTS:
            convert = _to_float16 if precision == "float16" or values.ndim < 2 else _to_int8
            stored, nodes = convert(name, values)
            proto.graph.initializer.remove(weight)
            proto.graph.initializer.extend(stored)
            conversions += nodes
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(conversions + nodes)
    onnx.checker.check_model(proto)
    return proto


StoredWeight = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]
"""The tensors that replace a weight, and the nodes that convert them back to float32."""


def _to_float16(name: str, values: np.ndarray) -> StoredWeight:
    half = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
    cast = onnx.helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT)
    return [half], [cast]


def _to_int8(name: str, values: np.ndarray) -> StoredWeight:
    largest = np.abs(values).max(tuple(range(1, values.ndim)), keepdims=True)
    factor = (np.maximum(largest, 1e-12) / 127).astype(np.float32)
    integers = np.rint(values / factor).astype(np.int8)
    stored = [
        onnx.numpy_helper.from_array(integers, f"{name}.int8"),
        onnx.numpy_helper.from_array(factor, f"{name}.factor"),
    ]
    cast = onnx.helper.make_node(
        "Cast", [f"{name}.int8"], [f"{name}.wide"], to=onnx.TensorProto.FLOAT
    )
    return stored, [cast, onnx.helper.make_node("Mul", [f"{name}.wide", f"{name}.factor"], [name])]


def quantize(proto: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
    """Quantize weights and activations statically to 8 bits.

    Args:
        proto: A graph with float32 weights.
        faces: (N, channels, 48, 48) uint8, to measure the ranges of the activations.

    Returns:
        A new graph, with weights quantized per output channel and activations per tensor.
    """
    q = import_quantization()

    class FaceReader(q.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.parts = iter(np.array_split(faces, max(1, len(faces) // 64)))

        def get_next(self) -> dict[str, np.ndarray] | None:
            part = next(self.parts, None)
            return None if part is None else {INPUT: part}

    with tempfile.TemporaryDirectory() as folder, exporter_warnings_off():
        original, prepared, quantized_file = (
            Path(folder) / f"{name}.onnx" for name in ("a", "b", "c")
        )
        onnx.save(proto, original)
        q.shape_inference.quant_pre_process(original, prepared, skip_symbolic_shape=True)
        q.quantize_static(
            prepared,
            quantized_file,
            FaceReader(),
            per_channel=True,
            # On CPUs without VNNI, sums of 8-bit products overflow 16 bits; those of 7 bits do not.
            reduce_range=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "Relu", "AveragePool"],
        )
        quantized = onnx.load(quantized_file)
    onnx.helper.set_model_props(quantized, {p.key: p.value for p in proto.metadata_props})
    return quantized


def add_self_test(proto: onnx.ModelProto) -> None:
    """Add to the metadata of an int8 model the outputs that are correct on every CPU.

    Args:
        proto: An exported int8 model; changed in place, without changing its graph.
    """
    session = open_session(proto.SerializeToString(), int8_kernels=False)
    _, channels, side, _ = session.get_inputs()[0].shape
    names = [port.name for port in session.get_outputs()]
    outputs = session.run(names, {INPUT: self_test.inputs(channels, side)})
    expected = self_test.to_metadata(dict(zip(names, outputs, strict=True)))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.helper.set_model_props(proto, metadata | expected)


@contextmanager
def exporter_warnings_off() -> Iterator[None]:
    """Suppress the exporter's warnings about its internals, which users cannot fix."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
