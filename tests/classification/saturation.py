"""Simulate in NumPy how x86 CPUs without VNNI compute an int8 model.

Their instruction `vpmaddubsw` multiplies unsigned activations by signed weights and adds pairs of
neighboring products in 16 bits. The sums saturate at -32768 and 32767. The results were compared
with those of ONNX Runtime 1.32 under `qemu-x86_64 -cpu Haswell`.
"""

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

DOMAIN = "mien.tests"
INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1


def multiply(x, w, saturate):
    """(N, K) uint8 @ (K, M) int8 -> (N, M) float64; if `saturate`, sums of pairs saturate."""
    unpaired = x.shape[1] % 2  # an odd K is padded with a zero
    x, w = np.pad(x, [(0, 0), (0, unpaired)]), np.pad(w, [(0, unpaired), (0, 0)])
    sums = x.astype(np.float64) @ w  # exact, because sums are far below 2**53
    if saturate:
        x, w = x.astype(np.int32), w.astype(np.int32)
        for column, (first, second) in enumerate(zip(w[::2].T, w[1::2].T, strict=True)):
            bound = 255 * np.maximum(
                np.maximum(first, 0) + np.maximum(second, 0),
                -np.minimum(first, 0) - np.minimum(second, 0),
            )
            (pairs,) = np.nonzero(bound > INT16_MAX)  # other pairs cannot saturate
            pair_sums = x[:, 2 * pairs] * first[pairs] + x[:, 2 * pairs + 1] * second[pairs]
            sums[:, column] += (np.clip(pair_sums, INT16_MIN, INT16_MAX) - pair_sums).sum(1)
    return sums


class Quantized(OpRun):
    """A convolution or linear layer of 8-bit integers, with float32 outputs."""

    op_domain = DOMAIN

    def _run(self, x, x_scale, x_zero, w, w_scale, bias, saturate, pads=(0,) * 4, strides=(1, 1)):
        if x.ndim == 2:
            sums = multiply(x, w.T, saturate)
            sums -= float(x_zero) * w.sum(1, dtype=np.float64)
            return ((sums * x_scale * w_scale + bias).astype(np.float32),)
        top, left, bottom, right = pads
        padded = np.pad(
            x, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=int(x_zero)
        )
        windows = sliding_window_view(padded, w.shape[2:], (2, 3))
        windows = windows[:, :, :: strides[0], :: strides[1]]
        count, _, height, width = windows.shape[:4]
        # ONNX Runtime stores channels last, so that pairs are neighboring channels.
        rows = windows.transpose(0, 2, 3, 4, 5, 1).reshape(count * height * width, -1)
        columns = w.transpose(2, 3, 1, 0).reshape(-1, len(w))
        sums = multiply(rows, columns, saturate)
        sums -= float(x_zero) * columns.sum(0, dtype=np.float64)
        values = (sums * x_scale * w_scale + bias).astype(np.float32)
        return (values.reshape(count, height, width, -1).transpose(0, 3, 1, 2),)


def probabilities(path, faces, saturate):
    """The first output of an int8 model, with or without saturation: (N, K) float32."""
    session = evaluator(path, saturate)
    batches = (faces[k : k + 25] for k in range(0, len(faces), 25))  # to limit the memory
    return np.concatenate([session.run(None, {"faces": batch})[0] for batch in batches])


def evaluator(path, saturate):
    """A `ReferenceEvaluator` of an int8 model, with or without saturation."""
    model = onnx.load(path)
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        x, w = (producers[name] for name in node.input[:2])
        assert (x.op_type, w.op_type) == ("DequantizeLinear",) * 2, f"{node.name} is not quantized"
        inputs = [*x.input, *w.input[:2], node.input[2]]
        attributes = [a for a in node.attribute if a.name in ("pads", "strides")]
        # `Quantized` computes neither grouped convolutions nor untransposed weights.
        assert all(a.i == 1 for a in node.attribute if a.name in ("group", "transB"))
        replacement = helper.make_node("Quantized", inputs, node.output, domain=DOMAIN)
        replacement.attribute.extend(
            [*attributes, helper.make_attribute("saturate", int(saturate))]
        )
        node.CopyFrom(replacement)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return ReferenceEvaluator(model, new_ops=[Quantized])
