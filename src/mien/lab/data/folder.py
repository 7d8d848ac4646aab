"""A folder of images: SPLIT/EMOTION/ or EMOTION/.

This is the format of popular copies of FER2013. Their splits are `train` and `test` (Kaggle's
"FER-2013", where `test` joins PublicTest and PrivateTest), `train`, `val` and `test`, or
`Training`, `PublicTest` and `PrivateTest`. The usual spellings of the emotions are recognized.
Images are decoded as for analysis (upright, transparent pixels blended with white), converted to
gray, and resized to 48 x 48 pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.io.file_kind import IMAGE_SUFFIXES
from mien.io.image import first_frame
from mien.lab.data._samples import VOTE_NAMES, Samples
from mien.labels import EMOTIONS, canonical_label

SIDE = 48
"""Width and height in pixels to which images are resized."""

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "publictest": "val", "dev": "val",
    "test": "test", "testing": "test", "privatetest": "test",
}  # fmt: skip
"""Name of a split's folder, in lower case -> mien's name of the split."""


def can_load(root: Path) -> bool:
    """Whether a subfolder of `root`, or of a split in it, is named after an emotion of FER2013."""
    return root.is_dir() and next(_classes(root), None) is not None


def load(root: Path) -> dict[str, Samples]:
    """Load the splits; a folder of emotions without splits is `val`.

    Folders with other names than the seven emotions, such as contempt, are ignored; those in a
    split give a warning. The faces of all splits are numbered in the order in which they are read
    (`Samples.rows`).

    Raises:
        UserError: An image cannot be read, or there is no image.
    """
    files_by_split: dict[str, list[tuple[str, int]]] = {}
    for split, label, folder in _classes(root):
        files = sorted(str(f) for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
        files_by_split.setdefault(split, []).extend((file, label) for file in files)
    splits: dict[str, Samples] = {}
    for split, pairs in files_by_split.items():
        if not pairs:
            continue
        first_number = sum(map(len, splits.values()))
        faces = np.stack([_face(file) for file, _ in pairs])
        labels = np.array([label for _, label in pairs])
        votes = np.zeros((len(pairs), len(VOTE_NAMES)), np.uint8)
        splits[split] = Samples(faces, labels, votes, first_number + np.arange(len(pairs)))
    if not splits:
        raise UserError(f"{root} has folders of emotions, but no images in them.")
    return splits


def _classes(root: Path) -> Iterator[tuple[str, int, Path]]:
    """Yield the split, label and folder of each class, sorted by folder name."""
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        if (label := _label(folder.name)) is not None:
            yield "val", label, folder
        elif split := SPLIT_NAMES.get(folder.name.lower()):
            for subfolder in sorted(p for p in folder.iterdir() if p.is_dir()):
                if (label := _label(subfolder.name)) is not None:
                    yield split, label, subfolder
                else:
                    warnings.warn(
                        f"{subfolder} is named after none of the seven emotions; its images are "
                        "ignored.",
                        stacklevel=2,
                    )


def _label(name: str) -> int | None:
    """0 to 6 for one of the seven emotions, perhaps after a number ("0_angry"); otherwise None."""
    try:
        label = canonical_label(name.lstrip("0123456789_- "))
    except UserError:
        return None
    return EMOTIONS.index(label) if label in EMOTIONS else None


def _face(path: str) -> np.ndarray:
    gray = Image.fromarray(first_frame(path).pixels).convert("L")
    if gray.size != (SIDE, SIDE):
        # A mean over pixels to shrink an image, interpolation to enlarge it.
        is_larger = gray.width > SIDE
        resample = Image.Resampling.BOX if is_larger else Image.Resampling.BILINEAR
        gray = gray.resize((SIDE, SIDE), resample)
    return np.asarray(gray)
