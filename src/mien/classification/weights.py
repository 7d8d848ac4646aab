"""Find model files by name or path; models are never downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mien.errors import UserError
from mien.registry import unknown_name_error

PACKAGE_FOLDER = Path(__file__).parent
REPOSITORY_FOLDER = Path(__file__).parents[3] / "models"
"""Folders of model files. The second contains larger models and exists only in the repository, not
in an installed package."""

LABELS_SUFFIX = "-labels"
"""Suffix of a model's name that selects its second head, which predicts FER2013 labels."""


class ModelFile(NamedTuple):
    """A model file and the head to use.

    Attributes:
        path: The `.onnx` file.
        head: Name of the head; empty for the first.
    """

    path: Path
    head: str = ""

    @property
    def name(self) -> str:
        """The model's name, as stored in results."""
        return f"{self.path.stem}-{self.head}" if self.head else self.path.stem


def models() -> dict[str, ModelFile]:
    """Return the available models by name, the default first.

    Each file is listed twice, with its first head and, under a name with `LABELS_SUFFIX`, with the
    head `labels`; the files are not opened.
    """
    files = sorted((path.stem != "default", path.stem, path) for path in _model_files())
    by_name: dict[str, ModelFile] = {}
    for _, name, path in files:
        by_name |= {name: ModelFile(path), name + LABELS_SUFFIX: ModelFile(path, "labels")}
    return by_name


def _model_files() -> Iterator[Path]:
    """Yield the model files, without those whose names begin with an underscore."""
    for folder in (PACKAGE_FOLDER, REPOSITORY_FOLDER):
        yield from folder.glob("[!_]*.onnx")


def model(name: str) -> ModelFile:
    """Find a model file.

    Args:
        name: A name from `models()`, such as `"default"` or `"default-labels"`, or the path of an
            `.onnx` file; `my.onnx:labels` selects the head `labels` of that file.

    Returns:
        The file and the head.

    Raises:
        UserError: The name is unknown, or the file is not found or cannot be accessed.
    """
    available = models()
    if name in available:
        return available[name]
    text, colon, head = name.partition(".onnx:")
    if colon:
        text += ".onnx"
    if not text.endswith(".onnx"):
        raise unknown_name_error("model", name, [*available, "or a path that ends in .onnx"])
    path = Path(text)
    try:
        exists = path.is_file()
    except OSError as error:  # a folder without permission to read it, for example
        raise UserError(f"Cannot read {name}: {error.strerror}.") from None
    if not exists:
        raise UserError(f"Model file not found: {text}. Check the path.")
    return ModelFile(path, head)
