"""A folder of pictures: one subfolder per split, in it one per emotion; or emotions alone.

Reads the popular re-packings of FER2013: `train/` and `test/` (Kaggle's "FER-2013", where test is
PublicTest and PrivateTest together), `train/val/test`, `Training/PublicTest/PrivateTest`, with the
emotions in any of their usual spellings. Pictures of another size are resampled to 48 pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.io.source import IMAGE_SUFFIXES
from mien.lab.data._samples import VOTE_NAMES, Samples
from mien.labels import EMOTIONS, canonical

SIDE = 48

SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "publictest": "val", "dev": "val",
    "test": "test", "testing": "test", "privatetest": "test",
}  # fmt: skip


def claims(root: Path) -> bool:
    """Whether some subfolder of `root`, or of a split in it, is named after an emotion."""
    return root.is_dir() and any(True for _ in _classes(root))


def load(root: Path) -> dict[str, Samples]:
    """The splits found; a folder of emotions without splits is all `val`, for nothing trains on it.

    Contempt and other emotions that FER2013 does not know are left out. Raises `UserError` for a
    picture that cannot be read.
    """
    found: dict[str, list[tuple[str, int]]] = {}
    for split, label, folder in _classes(root):
        files = sorted(str(f) for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
        found.setdefault(split, []).extend((file, label) for file in files)
    splits: dict[str, Samples] = {}
    for split, pairs in found.items():
        if not pairs:
            continue
        first = sum(map(len, splits.values()))
        faces = np.stack([_face(file) for file, _ in pairs])
        labels = np.array([label for _, label in pairs])
        votes = np.zeros((len(pairs), len(VOTE_NAMES)), np.uint8)
        splits[split] = Samples(faces, labels, votes, first + np.arange(len(pairs)))
    if not splits:
        raise UserError(f"{root} has folders for emotions, but no picture in them.")
    return splits


def _classes(root: Path) -> Iterator[tuple[str, int, Path]]:
    """Split, label and folder of each class folder, in a settled order."""
    for first in sorted(p for p in root.iterdir() if p.is_dir()):
        if (label := _label(first.name)) is not None:
            yield "val", label, first
        elif split := SPLIT_NAMES.get(first.name.lower()):
            for second in sorted(p for p in first.iterdir() if p.is_dir()):
                if (label := _label(second.name)) is not None:
                    yield split, label, second
                else:
                    warnings.warn(
                        f"{second} is none of the seven emotions; its pictures are left out.",
                        stacklevel=2,
                    )


def _label(name: str) -> int | None:
    """0 to 6 for an emotion's name, also with FER2013's digit before it ("0_angry"), else None."""
    try:
        label = canonical(name.lstrip("0123456789_- "))
    except UserError:
        return None
    return EMOTIONS.index(label) if label in EMOTIONS else None


def _face(path: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            grey = image.convert("L")
            if grey.size != (SIDE, SIDE):
                grey = grey.resize((SIDE, SIDE), Image.Resampling.BOX if grey.width > SIDE
                                   else Image.Resampling.BILINEAR)  # fmt: skip
            return np.asarray(grey)
    except Exception as error:  # decoders raise what they like on damaged data
        raise UserError(f"{path} cannot be read as a picture: {error}.") from None
