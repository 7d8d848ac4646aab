"""What a model file says of itself, and how a face is cut out for it.

The contract travels inside the `.onnx` file as metadata. A model from elsewhere may bring it in a
TOML file of the same name beside it.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.io import resize
from mien.labels import EMOTIONS, canonical
from mien.results import Box

INPUT, OUTPUT = "faces", "probabilities"
"""The names of the input and the output of a model file."""

LABELS_OUTPUT = "labels"
"""The second output of a network with two heads: (N, 7), the chance of each FER2013 label."""


@dataclass(frozen=True)
class ModelSpec:
    """What a model expects of faces and what it answers.

    labels: the emotions, in the order of its output. side: pixels of its square input.
    channels: 1 (grey) or 3 (RGB). margin: how much larger than a FER2013 crop its faces are cut,
    as a share of the side (0.1: 10 % more on the whole). card: data, recipe, seed, metrics.

    The rest is for models from elsewhere, which may want other pixels and give no probabilities:
    `input` and `output` are the names in the graph, layout is "NCHW" or "NHWC", a pixel p arrives
    as (p - mean) / spread, a value per channel, and `softmax` says that the answers still need one.
    """

    labels: tuple[str, ...]
    side: int
    channels: int = 1
    margin: float = 0.0
    card: Mapping[str, object] = field(default_factory=dict)
    input: str = INPUT
    output: str = OUTPUT
    dtype: str = "uint8"
    layout: str = "NCHW"
    mean: tuple[float, ...] = (0.0,)
    spread: tuple[float, ...] = (1.0,)
    softmax: bool = False

    def to_metadata(self, version: str) -> dict[str, str]:
        """The contract of a model that mien exports, as ONNX metadata."""
        return {
            "mien.labels": ",".join(self.labels),
            "mien.margin": repr(self.margin),
            "mien.version": version,
            "mien.card": json.dumps(self.card),
        }


def from_metadata(metadata: Mapping[str, str], shape: list, head: str = "") -> ModelSpec:
    """The contract inside a model file.

    Args:
        metadata: of the file.
        shape: of its input: (N, C, side, side).
        head: which of its answers is wanted, `"labels"` say; the first by default.

    Returns:
        The contract of that head; the card is that of the file with what it says of this head.

    Raises:
        UserError: it makes no sense, or there is no such head.
    """
    try:
        labels = tuple(canonical(name) for name in metadata["mien.labels"].split(","))
        card = json.loads(metadata.get("mien.card", "{}"))
        heads = card.pop("heads", {})
        margin = float(metadata.get("mien.margin", 0))
        _, channels, side, _ = (n if isinstance(n, int) else 0 for n in shape)
    except (KeyError, ValueError, AttributeError) as error:
        raise UserError(f"The contract in the model's metadata is damaged: {error}.") from None
    if head and head not in heads:
        there = ", ".join(heads) or "one without a name"
        raise UserError(f"The model has no head {head}; it has {there}.")
    first = next(iter(heads), "")
    head = head or first
    is_second = head != first
    contract = ModelSpec(
        EMOTIONS if is_second else labels,
        side=side,
        channels=channels,
        margin=margin,
        card=card | ({"head": head, "heads": list(heads)} | heads[head] if heads else {}),
        output=LABELS_OUTPUT if is_second else OUTPUT,
    )
    if wrong := _wrong(contract):
        raise UserError(f"The contract in the model's metadata is damaged: {wrong}.")
    return contract


def from_sidecar(path: Path) -> ModelSpec:
    """The contract in a TOML file; a `UserError` that names the field if one is wrong.

    ```toml
    labels = ["neutral", "happiness", "surprise"]   # in the order of the output
    side = 64
    channels = 1            # or 3: RGB
    input = "input_1"       # names in the graph
    output = "dense"
    dtype = "float32"       # or "uint8"
    layout = "NHWC"         # or "NCHW"
    mean = [127.5]          # (pixel - mean) / spread, one value or one per channel
    spread = [127.5]
    softmax = true          # when the graph ends with logits
    margin = 0.0
    ```
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML: {error}.") from None
    known = {f: v for f, v in ModelSpec.__dataclass_fields__.items() if f != "card"}
    if strange := sorted(set(said) - set(known)):
        raise UserError(
            f"{path} has unknown fields: {', '.join(strange)}. There are: {', '.join(known)}."
        )
    if lacking := sorted({"labels", "side"} - set(said)):
        raise UserError(f"{path} lacks {', '.join(lacking)}.")
    for name in ("labels", "mean", "spread"):
        if name in said and not isinstance(said[name], list):
            raise UserError(f"{path}: {name} is a list, as in {name} = [...].")
    contract = ModelSpec(
        **{
            **said,
            "labels": tuple(canonical(str(name)) for name in said["labels"]),
            "mean": tuple(said.get("mean", (0.0,))),
            "spread": tuple(said.get("spread", (1.0,))),
        }
    )
    if wrong := _wrong(contract):
        raise UserError(f"{path}: {wrong}.")
    return contract


def _wrong(contract: ModelSpec) -> str:
    """What is wrong with a contract's first wrong field; empty if nothing is."""
    choices = {
        "channels": (1, 3),
        "dtype": ("uint8", "float32"),
        "layout": ("NCHW", "NHWC"),
        "softmax": (True, False),
    }
    for name, allowed in choices.items():
        if getattr(contract, name) not in allowed:
            return f"{name} can be {' or '.join(map(str, allowed))}"
    if len(set(contract.labels)) != len(contract.labels) or not contract.labels:
        return "labels must be different emotions, one or more"
    if type(contract.side) is not int or contract.side < 1:
        return "side is a number of pixels, 1 or more"
    if not _numbers(contract.margin) or contract.margin <= -1:
        return "margin is a share of the side, as in 0.1"
    for name in ("mean", "spread"):
        values = getattr(contract, name)
        if not _numbers(*values) or len(values) not in (1, contract.channels):
            return f"{name} is one number, or one per channel"
    if 0 in contract.spread:
        return "spread cannot be 0"
    return ""


def _numbers(*values: object) -> bool:
    return all(type(v) in (int, float) and math.isfinite(v) for v in values)  # type: ignore[arg-type]


@dataclass(frozen=True)
class CropGeometry:
    """From a detector's box to the square that FER2013 would have cut, measured per detector.

    size: side of the square as a share of the square root of the box's area. right, down: how
    far its centre lies from the box's, as shares of the box's width and height.
    """

    size: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def square(self, box: Box, margin: float = 0.0) -> Box:
        """The square to cut for a box, in pixels; it may reach beyond the picture."""
        x, y, width, height = box
        side = self.size * (width * height) ** 0.5 * (1 + margin)
        centre_x, centre_y = x + width * (0.5 + self.right), y + height * (0.5 + self.down)
        return centre_x - side / 2, centre_y - side / 2, side, side


def crop(pixels: np.ndarray, square: Box, side: int, channels: int) -> np.ndarray:
    """One face as its model wants it: (H, W, 3) uint8 RGB -> (channels, side, side) uint8.

    What lies beyond the picture's edge is filled with the edge's pixels. Large faces are averaged
    down and small ones interpolated; a square that already has `side` pixels is taken as it is.
    """
    x, y, width, height = square
    left, top = round(x), round(y)
    right, bottom = max(round(x + width), left + 1), max(round(y + height), top + 1)
    columns = np.arange(left, right).clip(0, pixels.shape[1] - 1)
    rows = np.arange(top, bottom).clip(0, pixels.shape[0] - 1)
    # Two slices are a view and cost nothing; only a face at the edge needs its pixels gathered.
    inside = left >= 0 and right <= pixels.shape[1] and top >= 0 and bottom <= pixels.shape[0]
    cut = pixels[top:bottom, left:right] if inside else pixels[rows[:, None], columns]
    if channels == 1:
        cut = resize.to_gray(cut)
    if cut.shape[:2] != (side, side):
        change = resize.area if cut.shape[0] > side else resize.linear
        cut = change(cut, (side, side))
    return cut[None] if channels == 1 else cut.transpose(2, 0, 1)
