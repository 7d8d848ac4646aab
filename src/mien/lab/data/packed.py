"""FER2013 packed as lossless WebP images, with labels and FER+ votes in one table.

The folder has `labels.csv` (columns row, usage, emotion, name, and the ten of FER+) and
`faces_00.webp`, `faces_01.webp`, ..., which are grids of faces of 48 x 48 pixels, four per row, in
the order of the table. This format has a fifth of the size of the official file and loads in a
second.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mien.errors import UserError
from mien.lab.data._fer import FERPLUS_COLUMNS, SPLITS, check_counts, read_table, vote_counts
from mien.lab.data._samples import Samples

SIDE = 48
"""Width and height of a face in pixels."""

GRID_COLUMNS = 4
"""Number of faces per row of a grid."""


def can_load(root: Path) -> bool:
    """Whether `root` is a folder with `labels.csv` and grids of faces."""
    return (root / "labels.csv").is_file() and any(root.glob("faces_*.webp"))


def load(root: Path) -> dict[str, Samples]:
    """Load the splits; raise a `UserError` if a file is invalid or does not match the others."""
    labels_file = root / "labels.csv"
    header, table = read_table(labels_file)
    missing = {"row", "usage", "emotion", *FERPLUS_COLUMNS} - set(header)
    if missing:
        raise UserError(f"{labels_file} lacks the columns {', '.join(sorted(missing))}.")
    position = {name: k for k, name in enumerate(header)}
    faces = np.concatenate([_faces_of_grid(path) for path in sorted(root.glob("faces_*.webp"))])
    # The last row of the last grid may have empty places.
    if not 0 <= len(faces) - len(table) < GRID_COLUMNS:
        raise UserError(f"{root} has {len(faces):,} faces but {len(table):,} rows of labels.")
    usages = np.array([line[position["usage"]] for line in table])
    if not np.isin(usages, list(SPLITS)).all():
        raise UserError(f"{labels_file} has a usage that is not one of {', '.join(SPLITS)}.")
    try:
        rows = np.array([line[position["row"]] for line in table], np.int64)
        labels = np.array([line[position["emotion"]] for line in table], np.int64)
    except ValueError:
        raise UserError(f"{labels_file} has a row or emotion that is not a number.") from None
    if not ((labels >= 0) & (labels < 7)).all():
        raise UserError(f"{labels_file} has an emotion that is not from 0 to 6.")
    votes = vote_counts(labels_file, header, table)
    samples = Samples(faces[: len(table)], labels, votes, rows)
    splits = {
        name: samples.select(usages == usage)
        for usage, name in SPLITS.items()
        if (usages == usage).any()
    }
    check_counts(splits, root)
    return splits


def _faces_of_grid(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            grid = np.asarray(image.convert("L"))
    except Exception as error:  # decoders raise many types on damaged data
        raise UserError(f"Cannot read {path} as an image: {error}.") from None
    width = GRID_COLUMNS * SIDE
    if grid.shape[1] != width or grid.shape[0] % SIDE:
        raise UserError(
            f"{path} is {grid.shape[1]} x {grid.shape[0]} pixels, expected a width of {width} "
            f"and a height that is a multiple of {SIDE}."
        )
    tiles = grid.reshape(-1, SIDE, GRID_COLUMNS, SIDE).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(tiles.reshape(-1, SIDE, SIDE))
