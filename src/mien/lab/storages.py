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
from mien.onnx_runtime import quantization


def with_half_weights(proto: onnx.ModelProto, smallest: int = 256) -> onnx.ModelProto:
    """The same graph with its larger weights stored as float16 and widened when it is loaded.

    ONNX Runtime folds the casts away at the start, so that it computes as fast as before.
    """
    casts = []
    for weight in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < smallest:
            continue
        name = weight.name
        half = onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half")
        weight.CopyFrom(half)
        casts.append(onnx.helper.make_node("Cast", [half.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(casts + nodes)
    onnx.checker.check_model(proto)
    return proto


def quantized(proto: onnx.ModelProto, faces: np.ndarray) -> onnx.ModelProto:
    """The same graph with 8-bit weights and activations: ranges as they occur on `faces`.

    faces: (N, channels, 48, 48) uint8. Weights per output channel, activations per tensor.
    """
    q = quantization()

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
