"""The specification of a model file, and cropping faces to a model's input size.

The specification is stored as metadata in the `.onnx` file. For models that mien did not export, it
can be given in a TOML file of the same name in the same folder.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.io import resize
from mien.labels import EMOTIONS, canonical_label
from mien.results import Box

INPUT, OUTPUT = "faces", "probabilities"
"""Names of the input and of the first output in models that mien exports."""

LABELS_OUTPUT = "labels"
"""Name of the second output of models with two heads: (N, 7) probabilities of FER2013 labels."""

MAX_SIDE = 1024
"""Maximum side of a model's input in pixels."""

MAX_MARGIN = 10.0
"""Maximum margin; a larger crop would need too much memory."""

MAX_PIXEL_SCALE = 1e6
"""Maximum absolute value of `mean` and `std`. That of `std` must be at least the reciprocal of this
maximum."""

MAX_REASON_LENGTH = 200
"""Maximum number of characters that a message quotes from a file or from a library's error."""

MAX_SPEC_LENGTH = 2**20
"""Maximum size of a TOML file in bytes, or of a model card in characters."""


@dataclass(frozen=True)
class ModelSpec:
    """The labels, input size and preprocessing of a model.

    Models that mien exports take uint8 NCHW pixels and return probabilities: they keep the defaults
    of the fields from `input` on, except for the `output` of a second head.

    Attributes:
        labels: The emotions, in the order of the output.
        side: Side of the square input in pixels.
        channels: 1 (gray) or 3 (RGB).
        margin: Fraction by which the side of a face's crop is longer than in FER2013; 0.1 is 10 %
            longer.
        card: The model card: data, config, seed, metrics; empty if there is none.
        input: Name of the graph's input.
        output: Name of the graph's output.
        dtype: "uint8" or "float32".
        layout: "NCHW" or "NHWC".
        mean: Value that is subtracted from the pixels (0 to 255) if `dtype` is "float32"; one
            value, or one per channel.
        std: Value by which the pixels are then divided; one value, or one per channel.
        softmax: Whether to apply softmax to the outputs, because the graph ends with logits.
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
    std: tuple[float, ...] = (1.0,)
    softmax: bool = False

    def to_metadata(self, version: str) -> dict[str, str]:
        """Return the specification as ONNX metadata, for models that mien exports.

        Args:
            version: mien's version.
        """
        return {
            "mien.labels": ",".join(self.labels),
            "mien.margin": repr(self.margin),
            "mien.version": version,
            "mien.card": json.dumps(self.card),
        }


def from_metadata(metadata: Mapping[str, str], shape: list, head: str = "") -> ModelSpec:
    """Read the specification from a model's ONNX metadata.

    Args:
        metadata: The custom metadata of the model.
        shape: The shape of the model's input, (N, C, side, side); a dimension without a fixed size
            is a string or None.
        head: The head to use, such as `"labels"`; empty for the first.

    Returns:
        The specification of that head; its card combines the cards of the file and of the head.

    Raises:
        UserError: The metadata is invalid, or the model has no such head.
    """
    try:
        labels = tuple(canonical_label(name) for name in metadata["mien.labels"].split(","))
        card, heads = _card_and_heads(metadata.get("mien.card", "{}"))
        margin = float(metadata.get("mien.margin", 0))
        _, channels, side, _ = (n if isinstance(n, int) else 0 for n in shape)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"The model's metadata is damaged ({str(error)[:MAX_REASON_LENGTH]}); export the model "
            "again."
        ) from None
    if head and head not in heads:
        available = f"its heads are {', '.join(heads)}" if heads else "it has one unnamed head"
        raise UserError(f"The model has no head {head!r}; {available}.")
    first = next(iter(heads), "")
    head = head or first
    is_second = head != first
    spec = ModelSpec(
        EMOTIONS if is_second else labels,
        side=side,
        channels=channels,
        margin=margin,
        card=card | ({"head": head, "heads": list(heads)} | heads[head] if heads else {}),
        output=LABELS_OUTPUT if is_second else OUTPUT,
    )
    if problem := _first_problem(spec):
        raise UserError(f"The model's metadata is damaged ({problem}); export the model again.")
    return spec


def _card_and_heads(text: str) -> tuple[dict, dict[str, dict]]:
    """Return a model card without its heads, and the card of each head by name.

    Raise a `ValueError` if one of them is not a JSON object.
    """
    if len(text) > MAX_SPEC_LENGTH:
        raise ValueError("the model card is too large")
    try:
        card = json.loads(text)
    except RecursionError:
        raise ValueError("the model card is nested too deeply") from None
    heads = card.pop("heads", {}) if isinstance(card, dict) else None
    if not isinstance(heads, dict) or not all(isinstance(value, dict) for value in heads.values()):
        raise ValueError("the model card or its heads are not JSON objects")
    return card, heads


def from_sidecar(path: Path) -> ModelSpec:
    """Read the specification from a TOML file.

    ```toml
    labels = ["neutral", "happiness", "surprise"]   # in the order of the output
    side = 64
    channels = 1            # or 3: RGB
    input = "input_1"       # names in the graph
    output = "dense"
    dtype = "float32"       # or "uint8"
    layout = "NHWC"         # or "NCHW"
    mean = [127.5]          # (pixel - mean) / std; one value, or one per channel
    std = [127.5]
    softmax = true          # if the graph ends with logits
    margin = 0.0
    ```

    Args:
        path: The TOML file; only `labels` and `side` are required.

    Raises:
        UserError: A field is missing, unknown or invalid; the message names the field.
    """
    fields = _read_toml(path)
    allowed = [name for name in ModelSpec.__dataclass_fields__ if name != "card"]
    if unknown := sorted(set(fields) - set(allowed)):
        raise UserError(
            f"{path} has unknown fields: {', '.join(unknown)[:MAX_REASON_LENGTH]}. Use only "
            f"{', '.join(allowed)}."
        )
    if missing := sorted({"labels", "side"} - set(fields)):
        raise UserError(f"{path} must set {' and '.join(missing)}.")
    for name in ("labels", "mean", "std"):
        if name in fields and not isinstance(fields[name], list):
            raise UserError(f"{path}: {name} must be a list, as in {name} = [...].")
    spec = ModelSpec(
        **{
            **fields,
            "labels": tuple(canonical_label(str(name)) for name in fields["labels"]),
            "mean": tuple(fields.get("mean", (0.0,))),
            "std": tuple(fields.get("std", (1.0,))),
        }
    )
    if problem := _first_problem(spec):
        raise UserError(f"{path}: {problem}.")
    return spec


def _read_toml(path: Path) -> dict:
    if not path.is_file():  # reading a named pipe would wait
        raise UserError(
            f"{path} is not a regular file; replace it with a TOML file that specifies the model."
        )
    if path.stat().st_size > MAX_SPEC_LENGTH:
        raise UserError(f"{path} is too large for the specification of a model.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # invalid TOML or UTF-8, or a huge number
        reason = str(error)[:MAX_REASON_LENGTH].rstrip(".")
        raise UserError(f"{path} is not valid TOML: {reason}.") from None


def _first_problem(spec: ModelSpec) -> str:
    """Describe the first invalid field of a specification; return "" if all are valid."""
    choices = {
        "channels": (1, 3),
        "dtype": ("uint8", "float32"),
        "layout": ("NCHW", "NHWC"),
        "softmax": (True, False),
    }
    for name, allowed in choices.items():
        value = getattr(spec, name)
        # The type is compared too, because True == 1 and 1.0 == 1.
        if type(value) is not type(allowed[0]) or value not in allowed:
            return f"{name} must be {' or '.join(map(str, allowed))}"
    if len(set(spec.labels)) != len(spec.labels) or not spec.labels:
        return "labels must be one or more different emotions"
    if type(spec.side) is not int or not 1 <= spec.side <= MAX_SIDE:
        return f"side must be a whole number of pixels, 1 to {MAX_SIDE}"
    if not _are_numbers(spec.margin) or not -1 < spec.margin <= MAX_MARGIN:
        return (
            f"margin must be a fraction of the side, such as 0.1, above -1 and at most "
            f"{MAX_MARGIN:g}"
        )
    for name in ("input", "output"):
        if not isinstance(getattr(spec, name), str):
            return f"{name} must be a name in quotes"
    for name in ("mean", "std"):
        values = getattr(spec, name)
        if not _are_numbers(*values) or len(values) not in (1, spec.channels):
            return f"{name} must be one number, or one per channel"
        if max(map(abs, values)) > MAX_PIXEL_SCALE:
            return f"{name} must be between -{MAX_PIXEL_SCALE:,.0f} and {MAX_PIXEL_SCALE:,.0f}"
    if min(map(abs, spec.std)) < 1 / MAX_PIXEL_SCALE:
        return f"the absolute value of std must be at least {1 / MAX_PIXEL_SCALE:g}"
    return ""


def _are_numbers(*values: object) -> bool:
    """Return whether all values are finite numbers that fit into a float."""
    return all(
        type(v) in (int, float) and -sys.float_info.max <= v <= sys.float_info.max  # type: ignore[operator]
        for v in values
    )


@dataclass(frozen=True)
class CropGeometry:
    """How a detector's boxes relate to the square crops of FER2013; measured for each detector.

    Attributes:
        size: Side of the crop, divided by the square root of the box's area.
        right: Offset of the crop's center to the right, as a fraction of the box's width.
        down: Offset of the crop's center downwards, as a fraction of the box's height.

    Example:
        ```python
        geometry = mien.CropGeometry(size=1.11, right=0.01, down=-0.02)
        x, y, side, _ = geometry.square((100.0, 80.0, 60.0, 75.0))
        ```
    """

    size: float = 1.0
    right: float = 0.0
    down: float = 0.0

    def square(self, box: Box, margin: float = 0.0) -> Box:
        """Return the square to crop for a box; it may extend beyond the image.

        Args:
            box: x, y, width and height in pixels.
            margin: Fraction by which the side is extended, as in `ModelSpec`.

        Returns:
            x, y, side and side in pixels.

        Example:
            ```python
            x, y, side, _ = mien.CropGeometry().square((100.0, 80.0, 60.0, 60.0), margin=0.1)
            ```
        """
        x, y, width, height = box
        side = self.size * (width * height) ** 0.5 * (1 + margin)
        center_x, center_y = x + width * (0.5 + self.right), y + height * (0.5 + self.down)
        return center_x - side / 2, center_y - side / 2, side, side


def crop(pixels: np.ndarray, square: Box, side: int, channels: int) -> np.ndarray:
    """Crop a square and resize it.

    Pixels outside the image repeat those at its edge. Large squares are downscaled by averaging,
    small squares are interpolated, and a square of `side` pixels is not resized.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        square: x, y, width and height in pixels; its edges are rounded to whole pixels.
        side: Side of the returned crop in pixels.
        channels: 1 (gray) or 3 (RGB).

    Returns:
        (channels, side, side) uint8; may be a view of `pixels`.
    """
    x, y, width, height = square
    left, top = round(x), round(y)
    right, bottom = max(round(x + width), left + 1), max(round(y + height), top + 1)
    columns = np.arange(left, right).clip(0, pixels.shape[1] - 1)
    rows = np.arange(top, bottom).clip(0, pixels.shape[0] - 1)
    # A slice is not copied; only a square that crosses the edge is gathered pixel by pixel.
    is_inside = left >= 0 and right <= pixels.shape[1] and top >= 0 and bottom <= pixels.shape[0]
    region = pixels[top:bottom, left:right] if is_inside else pixels[rows[:, None], columns]
    if channels == 1:
        region = resize.to_gray(region)
    if region.shape[:2] != (side, side):
        resample = resize.area if region.shape[0] > side else resize.linear
        region = resample(region, (side, side))
    return region[None] if channels == 1 else region.transpose(2, 0, 1)
