"""Reduce the precision of an exported graph: float16 weights, int8 weights, or int8 throughout."""

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
"""Precisions of stored weights, which ONNX Runtime converts to float32 when it loads the model, so
that inference is not slower."""

MIN_ELEMENTS = 256
"""Weight tensors with fewer elements stay float32."""

FACES_PER_BATCH = 64
"""Approximate number of faces in a batch on which the ranges of activations are measured."""


def reduce_precision(proto: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """Store the larger weights in fewer bits, to be converted to float32 on loading.

    Args:
        proto: A graph with float32 weights; changed in place.
        precision: `"float16"`; or `"int8-weights"` for 8 bits with one factor per output channel,
            and float16 for vectors.

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
    existing_nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(conversions + existing_nodes)
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
    ort_quantization = import_quantization()

    class FaceReader(ort_quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            batch_count = max(1, len(faces) // FACES_PER_BATCH)
            self.batches = iter(np.array_split(faces, batch_count))

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch}

    with tempfile.TemporaryDirectory() as folder, exporter_warnings_off():
        original, prepared, quantized = (
            Path(folder) / f"{name}.onnx" for name in ("original", "prepared", "quantized")
        )
        onnx.save(proto, original)
        ort_quantization.shape_inference.quant_pre_process(
            original, prepared, skip_symbolic_shape=True
        )
        ort_quantization.quantize_static(
            prepared,
            quantized,
            FaceReader(),
            per_channel=True,
            # On x86 CPUs without VNNI, sums of two products saturate at 16 bits; they cannot with
            # 7-bit weights.
            reduce_range=True,
            activation_type=ort_quantization.QuantType.QUInt8,
            weight_type=ort_quantization.QuantType.QInt8,
            op_types_to_quantize=["Conv", "Gemm", "MatMul", "Add", "Relu", "AveragePool"],
        )
        result = onnx.load(quantized)
    onnx.helper.set_model_props(result, {p.key: p.value for p in proto.metadata_props})
    return result


def add_self_test(proto: onnx.ModelProto) -> None:
    """Store the expected outputs of the self-test in the metadata of an int8 model.

    Args:
        proto: An exported int8 model, whose metadata is changed in place.
    """
    # In float32, because integer kernels may be wrong on this CPU.
    session = open_session(proto.SerializeToString(), int8_kernels=False)
    _, channels, side, _ = session.get_inputs()[0].shape
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, {INPUT: self_test.inputs(channels, side)})
    expected = self_test.to_metadata(dict(zip(names, outputs, strict=True)))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    onnx.helper.set_model_props(proto, metadata | expected)


@contextmanager
def exporter_warnings_off() -> Iterator[None]:
    """Suppress the warnings of exporters, which concern their internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
