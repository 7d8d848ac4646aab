"""A name -> a model file on disk; nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mien.errors import UserError
from mien.registry import unknown_name_error

PACKAGED = Path(__file__).parent
BESIDE = Path(__file__).parents[3] / "models"
"""Larger models, which only the repository has; of an installed package there is no such folder."""


LABELS = "-labels"
"""Behind the name of a packaged model: its other head, which gives FER2013's own labels."""


class ModelFile(NamedTuple):
    """A model file, and which of its answers is wanted: the first, or that of a named head."""

    path: Path
    head: str = ""

    @property
    def name(self) -> str:
        """What records call it."""
        return f"{self.path.stem}-{self.head}" if self.head else self.path.stem


def models() -> dict[str, ModelFile]:
    """The emotion models that come with mien, by name, the default first; each with both heads."""
    found = sorted((path.stem != "default", path.stem, path) for path in _shelf())
    named: dict[str, ModelFile] = {}
    for _, name, path in found:
        named |= {name: ModelFile(path), name + LABELS: ModelFile(path, "labels")}
    return named


def _shelf() -> Iterator[Path]:
    for folder in (PACKAGED, BESIDE):
        yield from folder.glob("[!_]*.onnx")


def model(name: str) -> ModelFile:
    """The file that a name means.

    Args:
        name: of a packaged model (`"default"`, `"default-labels"`), or the path of an `.onnx` file;
            `my.onnx:labels` is its head for labels.

    Returns:
        The file, and the head.

    Raises:
        UserError: there is none.
    """
    known = models()
    if name in known:
        return known[name]
    text, colon, head = name.partition(".onnx:")
    text += ".onnx" * bool(colon)
    if not text.endswith(".onnx"):
        raise unknown_name_error("model", name, [*known, "or a path that ends in .onnx"])
    path = Path(text)
    try:
        is_there = path.is_file()
    except OSError as error:  # of a folder that may not be looked into, say
        raise UserError(f"{name} cannot be read: {error.strerror}.") from None
    if not is_there:
        raise UserError(f"There is no model file {text}.")
    return ModelFile(path, head)
