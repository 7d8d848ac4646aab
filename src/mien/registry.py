"""Registries: packages such as `mien.writers`, whose modules users select by name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from mien.errors import UserError


def names(package: str) -> list[str]:
    """List the public modules of a package, sorted, without importing them.

    Args:
        package: Dotted name of the package, such as `"mien.writers"`.

    Returns:
        The module names, without those that begin with an underscore.

    Raises:
        ModuleNotFoundError: The package, or one that contains it, does not exist.

    Example:
        >>> names("mien.detection")
        ['whole', 'yunet']
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"{package} is not a package")
    files = (file for folder in spec.submodule_search_locations for file in Path(folder).iterdir())
    return sorted(f.stem for f in files if f.suffix == ".py" and not f.stem.startswith("_"))


def load_module(package: str, name: str) -> ModuleType:
    """Import a module of a registry by its name.

    Args:
        package: Dotted name of the package.
        name: Name of the module in it.

    Raises:
        UserError: If the module does not exist; the message lists all names.
    """
    available = names(package)
    if name not in available:
        kind = package.rsplit(".", 1)[-1].removesuffix("s")
        raise unknown_name_error(kind, name, available)
    return importlib.import_module(f"{package}.{name}")


def unknown_name_error(kind: str, name: str, available: Iterable[str]) -> UserError:
    """Create the error for an unknown name; it lists all names, and suggests a similar one if any.

    Args:
        kind: What the name refers to, such as `"model"`; its plural must end in "s".
        name: The unknown name.
        available: All names that exist.

    Example:
        >>> print(unknown_name_error("model", "vgv", ["resnet", "vgg"]))
        Unknown model 'vgv'. Did you mean 'vgg'? Known models: resnet, vgg.
    """
    available = list(available)
    similar = difflib.get_close_matches(name, available, n=1)
    suggestion = f" Did you mean {similar[0]!r}?" if similar else ""
    plural = kind.replace(" or ", "s or ") + "s"  # "tables or figures"
    return UserError(
        f"Unknown {kind} {name!r}.{suggestion} Known {plural}: {', '.join(available)}."
    )
