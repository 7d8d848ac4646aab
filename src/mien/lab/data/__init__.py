"""The datasets: one file per format, each with `claims(root)` and `load(root)`.

`load` gives what there is of `train`, `val` and `test` (FER2013's Training, PublicTest and
PrivateTest) as `Samples`, all in memory as uint8.
"""

from __future__ import annotations

from pathlib import Path

from mien.errors import UserError
from mien.lab.data._samples import Samples, majority, plurality, shares, twins
from mien.shelf import names, take

__all__ = ["Samples", "load", "majority", "plurality", "shares", "split", "twins"]

SHELF = __name__


def load(root: Path | str) -> dict[str, Samples]:
    """The splits found at `root`, a file or a folder in any format on the shelf.

    Raises `UserError` if there is nothing there, or nothing that a format claims.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"There is no data at {root}.")
    for name in names(SHELF):
        module = take(SHELF, name)
        if module.claims(root):
            return module.load(root)
    raise UserError(
        f"{root} holds no dataset that mien knows: fer2013.csv, a folder of packed strips with "
        f"labels.csv, or one subfolder of images per emotion."
    )


def split(splits: dict[str, Samples], name: str) -> Samples:
    """One split of what `load` gave; a `UserError` that says which there are."""
    if name not in splits:
        raise UserError(f"The data has no split {name!r}; it has {', '.join(splits)}.")
    return splits[name]
