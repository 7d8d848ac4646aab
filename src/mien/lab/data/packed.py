"""FER2013 packed in strips of lossless WebP, with FER2013 labels and FER+ votes in one table.

A folder with `labels.csv` (row, usage, emotion, name, then the ten FER+ columns) and
`faces_00.webp`, ...: strips of faces, four abreast, 48 x 48 pixels each, row by row. A fifth of
the size of the official file, and read in a second.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.lab.data._fer import FERPLUS_COLUMNS, SPLITS, check_counts, counts, read_table
from mien.lab.data._samples import Samples

SIDE, ABREAST = 48, 4


def claims(root: Path) -> bool:
    """Whether `root` is a folder of packed strips."""
    return (root / "labels.csv").is_file() and any(root.glob("faces_*.webp"))


def load(root: Path) -> dict[str, Samples]:
    """The splits in the packed folder `root`; a `UserError` if strips and table do not match."""
    columns, table = read_table(root / "labels.csv")
    missing = {"row", "usage", "emotion", *FERPLUS_COLUMNS} - set(columns)
    if missing:
        raise UserError(f"{root / 'labels.csv'} lacks the columns {', '.join(sorted(missing))}.")
    place = {name: k for k, name in enumerate(columns)}
    faces = np.concatenate([_strip(path) for path in sorted(root.glob("faces_*.webp"))])
    if not 0 <= len(faces) - len(table) < ABREAST:
        raise UserError(f"{root} has {len(faces):,} faces but {len(table):,} rows of labels.")
    usage = np.array([line[place["usage"]] for line in table])
    try:
        rows = np.array([line[place["row"]] for line in table], np.int64)
        labels = np.array([line[place["emotion"]] for line in table], np.int64)
    except ValueError:
        raise UserError(f"{root / 'labels.csv'} has a row or emotion that is no number.") from None
    if not ((labels >= 0) & (labels < 7)).all():
        raise UserError(f"{root / 'labels.csv'} has an emotion that is not from 0 to 6.")
    votes = counts(root / "labels.csv", columns, table)
    everything = Samples(faces[: len(table)], labels, votes, rows)
    splits = {
        name: everything.take(usage == theirs)
        for theirs, name in SPLITS.items()
        if (usage == theirs).any()
    }
    check_counts(splits, root)
    return splits


def _strip(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            strip = np.asarray(image.convert("L"))
    except Exception as error:  # decoders raise what they like on damaged data
        raise UserError(f"{path} cannot be read as a picture: {error}.") from None
    wide = ABREAST * SIDE
    if strip.shape[1] != wide or strip.shape[0] % SIDE:
        raise UserError(f"{path} is {strip.shape[1]} x {strip.shape[0]}, not strips {wide} wide.")
    tiles = strip.reshape(-1, SIDE, ABREAST, SIDE).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles.reshape(-1, SIDE, SIDE))
