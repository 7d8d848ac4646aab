"""Datasets: one module per format, each with `can_load(root)` and `load(root)`.

`load` returns a dataset's splits as `Samples`: `train`, `val` and `test`, of which some may be
missing. In FER2013 they are Training, PublicTest and PrivateTest.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from mien.errors import UserError
from mien.lab.data._fer import OFFICIAL_COUNTS, class_counts
from mien.lab.data._samples import (
    VOTE_NAMES,
    Samples,
    concatenate,
    duplicate_groups,
    has_duplicate,
    majority,
    plurality,
    pooled_votes,
    seven_shares,
    shares,
)
from mien.registry import load_module, names

__all__ = [
    "VOTE_NAMES", "Samples", "concatenate", "describe", "duplicate_groups", "has_duplicate",
    "load", "majority", "plurality", "pooled_votes", "seven_shares", "shares", "split",
]  # fmt: skip

REGISTRY = __name__


def load(root: Path | str) -> dict[str, Samples]:
    """Load a dataset.

    Args:
        root: A file or folder in one of the supported formats.

    Returns:
        Split name ("train", "val", "test") -> samples.

    Raises:
        UserError: `root` does not exist, has no supported format, or cannot be read.

    Example:
        ```python
        val = load("fer2013/")["val"]
        ```
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"{root} does not exist. Give the path of a dataset.")
    for name in names(REGISTRY):
        module = load_module(REGISTRY, name)
        if module.can_load(root):
            return module.load(root)
    raise UserError(
        f"{root} is not a supported dataset. Use fer2013.csv, a folder with labels.csv and "
        "faces_*.webp, or a folder with one subfolder of images per emotion, in splits or not."
    )


T = TypeVar("T")


def split(splits: dict[str, T], name: str) -> T:
    """Return one split of a dataset; raise a `UserError` if it does not exist."""
    if name not in splits:
        hint = " In a folder of images, it is the subfolder val." if name == "val" else ""
        raise UserError(f"The data has no split {name!r}; it has {', '.join(splits)}.{hint}")
    return splits[name]


def describe(splits: dict[str, Samples]) -> dict:
    """Describe a dataset for results.

    Args:
        splits: Split name -> samples.

    Returns:
        `name`: "FER2013" or "other faces", followed by "with FER+ votes" if any face has votes.
        `official`: whether the numbers of faces per emotion in all given splits are those of
        FER2013 as published. `faces` and `sha256`: split name -> the number of its faces, and the
        digest of their pixels, labels and votes.
    """
    official = all(class_counts(s) == OFFICIAL_COUNTS[name] for name, s in splits.items())
    has_votes = any(samples.has_votes for samples in splits.values())
    return {
        "name": ("FER2013" if official else "other faces")
        + (" with FER+ votes" if has_votes else ""),
        "official": official,
        "faces": {name: len(samples) for name, samples in splits.items()},
        "sha256": {name: _digest(samples) for name, samples in splits.items()},
    }


def _digest(samples: Samples) -> str:
    digest = hashlib.sha256()
    for array in (samples.faces, samples.labels.astype("<i8"), samples.votes):
        digest.update(array.tobytes())
    return digest.hexdigest()
