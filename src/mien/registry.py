"""A folder is a registry: every module in it is one thing that a user can name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from mien.errors import UserError


def names(package: str) -> list[str]:
    """The names on a package, sorted: the public modules of the package `package`, none imported.

    `package` is a dotted package name, `"mien.writers"`. Modules that start with an underscore
    are the package's own business.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise LookupError(f"{package} is not a package")
    files = (path for place in spec.submodule_search_locations for path in Path(place).iterdir())
    return sorted(f.stem for f in files if f.suffix == ".py" and not f.stem.startswith("_"))


def load_module(package: str, name: str) -> ModuleType:
    """The module `name` of a package; a `UserError` that suggests the nearest name otherwise."""
    known = names(package)
    if name not in known:
        raise unknown_name_error(package.rsplit(".", 1)[-1].removesuffix("s"), name, known)
    return importlib.import_module(f"{package}.{name}")


def unknown_name_error(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that nobody knows: the nearest known one, then all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"No {kind} is called {name!r}.{guess} There are: {', '.join(known)}.")
