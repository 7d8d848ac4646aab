"""The self-test of int8 models when they are loaded."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.classification import self_test, weights
from mien.classification.classifier import Classifier
from mien.errors import UserError
from mien.lab import quantization
from mien.labels import EMOTIONS_AND_CONTEMPT
from mien.onnx_runtime import open_session
from tests.classification import saturation

HAPPY = EMOTIONS_AND_CONTEMPT.index("happy")

INT8_MODELS = [name for name in weights.models() if name.endswith("-int8")]


def overflowing_model() -> onnx.ModelProto:
    """Return an int8 model with a sum for which int8 kernels compute the wrong sign.

    All of its 48 x 48 x 32 activations are 255, and the weights of "happy" are 127. The sum of
    their products, 2.4e9, is above the maximum of 32-bit integers, 2.1e9.
    """
    copies = 32
    quantized = np.zeros((48 * 48 * copies, 8), np.int8)
    quantized[:, HAPPY] = 127
    constants = {
        "weights": quantized, "copies": np.array([1, copies]), "white": np.float32(255),
        "one": np.float32(1), "zero": np.uint8(0), "weight_zero": np.int8(0),
        "sum_scale": np.float32(5e7), "sum_zero": np.uint8(128), "logit_scale": np.float32(1e-8),
    }  # fmt: skip
    layers = [
        ("Cast", ["faces"], "pixels", {"to": TensorProto.FLOAT}),
        ("Flatten", ["pixels"], "flat", {}),
        ("Max", ["flat", "white"], "whitened", {}),
        ("Tile", ["whitened", "copies"], "activations", {}),
        ("QuantizeLinear", ["activations", "one", "zero"], "activations_q", {}),
        ("DequantizeLinear", ["activations_q", "one", "zero"], "activations_d", {}),
        ("DequantizeLinear", ["weights", "one", "weight_zero"], "weights_d", {}),
        ("MatMul", ["activations_d", "weights_d"], "sums", {}),
        ("QuantizeLinear", ["sums", "sum_scale", "sum_zero"], "sums_q", {}),
        ("DequantizeLinear", ["sums_q", "sum_scale", "sum_zero"], "sums_d", {}),
        ("Mul", ["sums_d", "logit_scale"], "logits", {}),
        ("Softmax", ["logits"], "probabilities", {"axis": 1}),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, ins, [out], **attributes) for kind, ins, out, attributes in layers],
        "overflow",
        [helper.make_tensor_value_info("faces", TensorProto.UINT8, ["N", 1, 48, 48])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(proto, {"mien.labels": ",".join(EMOTIONS_AND_CONTEMPT)})
    return proto


def test_a_model_that_int8_kernels_compute_wrongly_runs_in_float32(tmp_path):
    proto, path = overflowing_model(), tmp_path / "overflow.onnx"
    faces = np.zeros((2, 1, 48, 48), np.uint8)
    onnx.save(proto, path)
    assert Classifier(path)(faces)[0, HAPPY] == pytest.approx(0, abs=1e-3)
    quantization.add_self_test(proto)
    onnx.save(proto, path)
    with pytest.warns(UserWarning, match="overflow .* int8 .* float32"):
        classify = Classifier(path)
    assert classify(faces)[0, HAPPY] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "stored", ['{"probabilities": [[0, 0, 0, 0, 0, 0, 0, 1]]}', '{"other": []}', "[1", "3"]
)
def test_a_model_whose_outputs_differ_from_those_stored_is_an_error(tmp_path, stored):
    proto, path = overflowing_model(), tmp_path / "damaged.onnx"
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    helper.set_model_props(proto, metadata | {self_test.METADATA: stored})
    onnx.save(proto, path)
    with pytest.raises(UserError, match=r"damaged\.onnx is damaged"):
        Classifier(path)


@pytest.mark.parametrize("name", INT8_MODELS)
def test_packaged_int8_models_pass_their_self_test(name):
    session = open_session(str(weights.model(name).path))
    metadata = session.get_modelmeta().custom_metadata_map
    assert self_test.METADATA in metadata
    assert self_test.max_error(session, metadata) < self_test.TOLERANCE / 2


def with_8_bit_weights(path) -> onnx.ModelProto:
    """Load an int8 model with 7-bit weights; return it with the same weights in 8 bits."""
    proto = onnx.load(path)
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    arrays = {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays:
            weight, scale, _ = node.input
            if arrays[weight].dtype == np.int8:
                doubled = (2 * arrays[weight].astype(int)).clip(-128, 127).astype(np.int8)
                tensors[weight].CopyFrom(numpy_helper.from_array(doubled, weight))
                tensors[scale].CopyFrom(numpy_helper.from_array(arrays[scale] / 2, scale))
    return proto


@pytest.mark.slow
def test_saturation_of_16_bit_sums_fails_the_self_test(tmp_path):
    path, eight_bits = weights.model("default-int8").path, tmp_path / "8-bits.onnx"
    onnx.save(with_8_bit_weights(path), eight_bits)
    metadata = open_session(str(path)).get_modelmeta().custom_metadata_map
    expected = np.array(json.loads(metadata[self_test.METADATA])["probabilities"])
    exact, saturated = (
        saturation.evaluator(eight_bits, saturate=s).run(None, {"faces": self_test.inputs(1, 48)})
        for s in (False, True)
    )
    assert np.abs(exact[0] - expected).max() < self_test.TOLERANCE
    assert np.abs(saturated[0] - expected).max() > 2 * self_test.TOLERANCE


def test_inputs_never_change_and_those_of_larger_models_are_enlarged():
    gray, rgb = self_test.inputs(1, 48), self_test.inputs(3, 96)
    assert gray.shape == (4, 1, 48, 48)
    assert np.array_equal(rgb[:, 2, ::2, ::2], gray[:, 0])
    # Model files contain the outputs for these values.
    assert gray[:, 0, 0, 0].tolist() == [128, 114, 0, 0]
    assert set(np.unique(gray[2:])) == {0, 255}
