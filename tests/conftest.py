"""What several test files need: a photograph, small models, the command line."""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

LAB = ("lab", "benchmarks")
"""The folders whose tests need torch: `.[dev]` is enough for all others."""

collect_ignore = [] if find_spec("torch") else LAB

# Networks as small as those of the tests are slower on two threads, and far slower on busy ones.
# Before torch is imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

EIGHT = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")


# A machine that is busy with other work is no reason to fail.
settings.register_profile("mien", deadline=None)
settings.load_profile("mien")


def pytest_configure(config):
    # Who is started in the background is told to ignore Ctrl-C, and so would be what tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in LAB:
            item.add_marker("lab")


@pytest.fixture(scope="session")
def yunet_file(tmp_path_factory):
    """YuNet as OpenCV reads it: what `hatch_build.prepared` did, undone."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from mien.detection import yunet

    model = onnx.load(yunet.FILE)
    graph = model.graph
    first = graph.node[3]
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
    labels=EIGHT,
    side=8,
    channels=1,
    *,
    batch="N",
    foreign=False,
    metadata=None,
    answers=None,
    seed=0,
):
    """Write a one-layer network as mien exports them, or as somebody else would; its path.

    foreign: float32 NHWC pixels named `image`, logits named `scores`, no metadata.
    answers: how many it gives, when that is not how many labels it names.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    count, size = answers or len(labels), channels * side * side
    weights = np.random.default_rng(seed).normal(0, 0.05 / size, (size, count)).astype(np.float32)
    kind, name, shape = TensorProto.UINT8, "faces", [batch, channels, side, side]
    last = "probabilities"
    if foreign:
        kind, name, shape, last = (
            TensorProto.FLOAT,
            "image",
            [batch, side, side, channels],
            "scores",
        )
        weights = weights * 255
    nodes = [
        helper.make_node("Cast", [name], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores" if foreign else "logits"]),
    ]
    if not foreign:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [batch, count])],
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
    """`build_model` with a path in the test's own folder."""
    return lambda name="tiny.onnx", **wanted: build_model(tmp_path / name, **wanted)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A model of eight emotions that answers in microseconds and knows nothing."""
    return build_model(tmp_path_factory.mktemp("models") / "tiny.onnx")


@pytest.fixture
def mien(monkeypatch, capsys):
    """Run the command line in this process: `mien("analyze", path)` -> exit code, out, err."""

    def run(*words):
        from mien import cli

        monkeypatch.setattr(sys, "argv", ["mien", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        return stopped.value.code or 0, said.out, said.err

    return run
