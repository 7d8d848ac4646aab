"""Modules that are imported on use, because importing them is slow or needs an extra.

An extra is a group of optional dependencies of mien, such as `lab`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from mien.errors import UserError


def terminal() -> ModuleType:
    """Import the module that prints tables; it needs rich, whose import takes 0.1 s."""
    return importlib.import_module("mien.visualization.terminal")


def lab(name: str, extra: str = "lab") -> ModuleType:
    """Import a module of `mien.lab`, the package for training and evaluation.

    Args:
        name: Name of the module.
        extra: The extra that contains its dependencies: "lab", or "report" if it needs no torch.

    Raises:
        UserError: A dependency is not installed.
    """
    with require_extra(extra):
        return importlib.import_module(f"mien.lab.{name}")


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Turn a missing library into a `UserError` that names the extra to install.

    Args:
        extra: Name of the extra, such as `"serve"`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("mien"):
            raise
        raise UserError(
            f"This command needs {error.name}; run in mien's repository: pip install '.[{extra}]'"
        ) from None
