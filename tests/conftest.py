"""Shared fixtures: a photograph, small models and the command line."""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

LAB_FOLDERS = ("lab", "benchmarks")
"""Folders with tests that require torch; all other tests only need `.[dev]`."""

collect_ignore = [] if find_spec("torch") else LAB_FOLDERS

# The small networks of the tests are slower on several threads, even more on a busy machine. This
# must be set before torch is imported, and applies to processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests must not fail because the machine is busy.
settings.register_profile("mien", deadline=None)
settings.load_profile("mien")

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
"""Labels of the models that the fixtures write."""

FOREIGN_SIDECAR = """labels = ["neutral", "happiness", "surprise"]
side = 8
channels = 1
input = "image"
output = "scores"
dtype = "float32"
layout = "NHWC"
mean = [10.0]
std = [255.0]
softmax = true
margin = 0.1
"""
"""The TOML file of a model that `build_model` writes with three labels and `foreign=True`."""


def pytest_configure(config):
    # Background processes ignore Ctrl-C, and processes that tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in LAB_FOLDERS:
            item.add_marker("lab")


@pytest.fixture(scope="session")
def yunet_file(tmp_path_factory):
    """YuNet for OpenCV: undoes `hatch_build.prepare_graph`, except for declared output shapes."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from mien.detection import yunet

    model = onnx.load(yunet.FILE)
    graph = model.graph
    first = graph.node[3]  # `prepare_graph` has inserted three nodes before it
    del graph.node[:3]
    weight = next(w for w in graph.initializer if w.name == first.input[1])
    flipped = numpy_helper.to_array(weight)[:, ::-1].copy()
    weight.CopyFrom(numpy_helper.from_array(flipped, weight.name))
    del graph.input[:]
    del model.metadata_props[:]
    shape = (1, 3, 640, 640)
    graph.input.append(helper.make_tensor_value_info(first.input[0], TensorProto.FLOAT, shape))
    path = tmp_path_factory.mktemp("yunet") / "yunet.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def astronaut():
    """A photograph with one smiling face: (512, 512, 3) uint8 RGB, read-only."""
    from skimage.data import astronaut

    pixels = astronaut()
    pixels.flags.writeable = False
    return pixels


@pytest.fixture(scope="session")
def photo(astronaut, tmp_path_factory):
    """The photograph as a file."""
    from PIL import Image

    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    Image.fromarray(astronaut).save(path)
    return path


def build_model(
    path,
    labels=LABELS,
    side=8,
    channels=1,
    *,
    batch="N",
    foreign=False,
    metadata=None,
    outputs=None,
    seed=0,
):
    """Write an untrained one-layer network in mien's format or a foreign one, and return its path.

    Args:
        path: The file.
        labels: The labels of the outputs.
        side: Width and height of the input in pixels.
        channels: 1 or 3.
        batch: Size of the batch dimension, or its name if any size is allowed.
        foreign: Write float32 NHWC pixels named `image`, and logits named `scores`, instead of
            uint8 NCHW pixels named `faces`, and probabilities named `probabilities`.
        metadata: Metadata of the file; by default that of mien, or none if `foreign`.
        outputs: Number of outputs; by default the number of labels.
        seed: Seed of the weights.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    count, size = outputs or len(labels), channels * side * side
    # Small weights, so that no probability is close to 0 or 1.
    weights = np.random.default_rng(seed).normal(0, 0.05 / size, (size, count)).astype(np.float32)
    if foreign:
        weights = weights * 255  # FOREIGN_SIDECAR divides the pixels by 255
        pixels = ("image", TensorProto.FLOAT, [batch, side, side, channels])
        logits = result = "scores"
    else:
        pixels = ("faces", TensorProto.UINT8, [batch, channels, side, side])
        logits, result = "logits", "probabilities"
    nodes = [
        helper.make_node("Cast", [pixels[0]], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], [logits]),
    ]
    if not foreign:
        nodes.append(helper.make_node("Softmax", [logits], [result], axis=1))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*pixels)],
        [helper.make_tensor_value_info(result, TensorProto.FLOAT, [batch, count])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if metadata is None and not foreign:
        metadata = {"mien.labels": ",".join(labels), "mien.margin": "0.0", "mien.version": "0"}
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return Path(path)


@pytest.fixture
def make_model(tmp_path):
    """`build_model` with a path in the folder of the test."""
    return lambda name="tiny.onnx", **arguments: build_model(tmp_path / name, **arguments)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """An untrained model of eight emotions that runs in microseconds."""
    return build_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
def mien(monkeypatch, capsys):
    """Run the command line in this process: `mien("analyze", path)` -> exit code, out, err."""

    def run(*arguments):
        from mien import cli

        monkeypatch.setattr(sys, "argv", ["mien", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as raised:
            cli.main()
        captured = capsys.readouterr()
        return raised.value.code or 0, captured.out, captured.err

    return run
