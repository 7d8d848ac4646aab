"""A name -> a model file on disk; nothing is ever downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mien.errors import UserError
from mien.registry import unknown

PACKAGED = Path(__file__).parent
BESIDE = Path(__file__).parents[3] / "models"
"""Larger models, which only the repository has; of an installed package there is no such folder."""


def models() -> dict[str, Path]:
    """The emotion models that come with mien, by name, the default first."""
    found = sorted((path.stem != "default", path.stem, path) for path in _shelf())
    return {name: path for _, name, path in found}


def _shelf() -> Iterator[Path]:
    for folder in (PACKAGED, BESIDE):
        yield from folder.glob("[!_]*.onnx")


def model(name: str) -> Path:
    """The file of a packaged model, or of anybody's `.onnx`; a `UserError` if there is none."""
    known = models()
    if name in known:
        return known[name]
    if not name.endswith(".onnx"):
        raise unknown("model", name, [*known, "or a path that ends in .onnx"])
    path = Path(name)
    try:
        is_there = path.is_file()
    except OSError as error:  # of a folder that may not be looked into, say
        raise UserError(f"{name} cannot be read: {error.strerror}.") from None
    if not is_there:
        raise UserError(f"There is no model file {name}.")
    return path
