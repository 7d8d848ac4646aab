"""The datasets: one file per format, each with `claims(root)` and `load(root)`.

`load` gives what there is of `train`, `val` and `test` (FER2013's Training, PublicTest and
PrivateTest) as `Samples`, all in memory as uint8.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mien.errors import UserError
from mien.lab.data._fer import OFFICIAL_COUNTS, class_counts
from mien.lab.data._samples import (
    VOTE_NAMES,
    Samples,
    groups,
    majority,
    plurality,
    pooled,
    seven_shares,
    shares,
    together,
    twins,
)
from mien.registry import load_module, names

__all__ = [
    "VOTE_NAMES", "Samples", "describe", "groups", "load", "majority", "plurality", "pooled",
    "seven_shares", "shares", "split", "together", "twins",
]  # fmt: skip

REGISTRY = __name__


def load(root: Path | str) -> dict[str, Samples]:
    """The splits found at `root`, a file or a folder in any format on the shelf.

    Raises `UserError` if there is nothing there, or nothing that a format claims.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"There is no data at {root}.")
    for name in names(REGISTRY):
        module = load_module(REGISTRY, name)
        if module.claims(root):
            return module.load(root)
    raise UserError(
        f"{root} holds no dataset that mien knows: fer2013.csv, a folder of packed strips with "
        f"labels.csv, or one subfolder of images per emotion."
    )


def split(splits: dict[str, Samples], name: str) -> Samples:
    """One split of what `load` gave; a `UserError` that says which there are."""
    if name not in splits:
        hint = " Name the folder that is to judge val." * (name == "val")
        raise UserError(f"The data has no split {name!r}; it has {', '.join(splits)}.{hint}")
    return splits[name]


def describe(splits: dict[str, Samples]) -> dict:
    """What data this is: name, whether it is FER2013 as published, faces and sha256 by split."""
    official = all(class_counts(s) == OFFICIAL_COUNTS[name] for name, s in splits.items())
    voted = any(samples.voted for samples in splits.values())
    return {
        "name": ("FER2013" if official else "other faces") + (" with FER+ votes" if voted else ""),
        "official": official,
        "faces": {name: len(samples) for name, samples in splits.items()},
        "sha256": {name: _digest(samples) for name, samples in splits.items()},
    }


def _digest(samples: Samples) -> str:
    digest = hashlib.sha256()
    for array in (samples.faces, samples.labels.astype("<i8"), samples.votes):
        digest.update(array.tobytes())
    return digest.hexdigest()
