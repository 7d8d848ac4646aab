"""Lists of labeled images for evaluation: a folder per emotion, or a CSV or Parquet table.

Unlike the datasets in `mien.lab.data`, which have face crops of 48 x 48 pixels, these are images in
which faces are detected, with labels of any name. Only paths and tables are read here; the images
are read by `evaluate_images`.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mien.errors import UserError, warn
from mien.io.file_kind import IMAGE_SUFFIXES
from mien.io.folder import read_folder
from mien.lab.data import VOTE_NAMES
from mien.lab.data._fer import read_table
from mien.lab.data.folder import SIDE, SPLIT_NAMES
from mien.labels import canonical_label

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")

PATH_COLUMNS = ("path", "file", "filename", "image")
"""Recognized names of the column with paths; the first that the table has is used.

The case of column names is ignored here and below."""

LABEL_COLUMNS = ("emotion", "label", "expression")
"""Recognized names of the column with labels; the first that the table has is used."""

GROUP_COLUMNS = ("age", "gender", "sex", "ethnicity", "race")
"""Recognized names of columns with groups; all that the table has are used."""

VOTE_SYNONYMS = {"nf": "not_a_face"}
"""Name of a vote column in FER+ -> name in `VOTE_NAMES`, besides the synonyms of emotions."""

MAX_VOTES = 1_000_000
"""Maximum number of votes of an image for one emotion, so that votes fit into integers."""

MAX_GROUPS = 10
"""Numbers, such as ages, are grouped by decades if a column has more different ones than this."""

NOT_STATED = "not stated"
"""The group of images with an empty cell."""


@dataclass(frozen=True, slots=True)
class LabeledImage:
    """An image with its label.

    Attributes:
        path: Path of the image.
        emotion: mien's label for the stated emotion; the stated name if mien has none.
        votes: Counts of raters in the order of `VOTE_NAMES`; all zero if there are none.
        groups: Column -> the group that the image belongs to.
    """

    path: Path
    emotion: str
    votes: tuple[int, ...] = (0,) * len(VOTE_NAMES)
    groups: Mapping[str, str] = field(default_factory=dict)


def can_load(root: Path) -> bool:
    """Whether `root` is a table of image files, or a folder with a subfolder per emotion.

    A folder in which the first image of every split has 48 x 48 pixels does not count: it is a
    dataset for `mien.lab.data`, with face crops in which no face can be detected.
    """
    if root.is_file() and root.suffix.lower() in TABLE_SUFFIXES:
        return "pixels" not in _read_header(root)  # a column that only fer2013.csv has
    class_folders = _class_folders(root).values() if root.is_dir() else ()
    first_images = map(_first_image, class_folders)
    return any(path and not _is_face_crop(path) for path in first_images)


def load(root: Path, groups: Sequence[str] = ()) -> dict[str, list[LabeledImage]]:
    """List labeled images by split.

    Args:
        root: A folder EMOTION/ or SPLIT/EMOTION/ with images at any depth, or a table.
        groups: Columns of a table to group by, besides `GROUP_COLUMNS`.

    Returns:
        Split ("train", "val" or "test") -> images. A table, or a folder without splits, is "val".

    Raises:
        UserError: `root` does not exist, cannot be read or has no images; the table lacks a column
            or has invalid votes; or `groups` are given for a folder.
    """
    if not root.exists():
        raise UserError(f"{root} does not exist. Name a folder or table with --data.")
    if root.is_file():
        return {"val": _from_table(root, groups)}
    if groups:
        raise UserError(f"--group needs a table with a column for the groups, but {root} is a "
                        "folder; give a CSV file with the columns path, emotion and "
                        f"{groups[0]}.")  # fmt: skip
    splits: dict[str, list[LabeledImage]] = {}
    for split, folders in _class_folders(root).items():
        images = [image for folder in folders for image in _images(folder)]
        if images:
            splits[split] = images
    if not splits:
        raise UserError(f"{root} has no images in subfolders named after emotions.")
    return splits


def group_order(group: str) -> tuple[float, str]:
    """Sort key of groups: by the number that they begin with, then by name; others are last."""
    number = re.match(r"\d+", group)
    return (float(number[0]) if number else math.inf, group)


def _class_folders(root: Path) -> dict[str, list[Path]]:
    """Return the subfolders of each split in which at least one is named after an emotion."""
    subfolders = _subfolders(root)
    if any(map(_has_emotion, subfolders)):
        return {"val": subfolders}
    splits: dict[str, list[Path]] = {}
    for folder in subfolders:
        split, classes = SPLIT_NAMES.get(folder.name.lower()), _subfolders(folder)
        if split and any(map(_has_emotion, classes)):
            splits.setdefault(split, []).extend(classes)
    return splits


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _first_image(folders: Sequence[Path]) -> Path | None:
    paths = (path for folder in folders for path in sorted(folder.rglob("*")))
    return next((path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES), None)


def _images(folder: Path) -> list[LabeledImage]:
    """Return the images of a folder, with its name as their label; warn about other files."""
    content = read_folder(str(folder))
    images = [path for path, kind in content.files if kind in ("image", "animation")]
    if content.unread_message:
        warn(UserError(f"{folder}: {content.unread_message}."))
    if videos := len(content.files) - len(images):
        warn(UserError(f"{folder}: {videos:,} videos are not evaluated; give single frames."))
    return [LabeledImage(Path(path), _emotion(folder.name)) for path in images]


def _emotion(name: str) -> str:
    """Return mien's label for the name of an emotion, or the name if mien has no such label."""
    stripped = _strip_number(name) or name.strip()
    try:
        return canonical_label(stripped)
    except UserError:
        return stripped.lower()


def _has_emotion(folder: Path) -> bool:
    try:
        canonical_label(_strip_number(folder.name))
    except UserError:
        return False
    return True


def _strip_number(name: str) -> str:
    """Remove a number before the name of an emotion, as in "0_angry"."""
    return name.strip().lstrip("0123456789_- ")


def _is_face_crop(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.size == (SIDE, SIDE)
    except Exception:  # reported when the image is read
        return False


def _from_table(path: Path, groups: Sequence[str]) -> list[LabeledImage]:
    header, rows = _read_rows(path)
    files, labels = _column(header, PATH_COLUMNS), _column(header, LABEL_COLUMNS)
    if files is None or labels is None:
        raise UserError(f"{path} needs a column {' or '.join(PATH_COLUMNS)} and a column "
                        f"{' or '.join(LABEL_COLUMNS)}; it has {', '.join(header)}.")  # fmt: skip
    if not rows:
        raise UserError(f"{path} has no rows.")
    group_indices = {header[k]: k for k in _group_columns(path, header, groups)}
    grouped = {name: _groups([row[k] for row in rows]) for name, k in group_indices.items()}
    votes = _votes(path, header, rows)
    return [
        LabeledImage(
            path.parent / row[files],
            _emotion(row[labels]),
            votes[k],
            {name: values[k] for name, values in grouped.items()},
        )
        for k, row in enumerate(rows)
    ]


def _read_header(path: Path) -> list[str]:
    if path.suffix.lower() == ".parquet":
        return _read_rows(path)[0]
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return [name.strip().lower() for name in re.split("[,;\t]", file.readline())]
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header in lower case, and rows of text; empty cells are empty strings."""
    if path.suffix.lower() != ".parquet":
        header, rows = read_table(path, separators=",;\t")
        return [name.strip().lower() for name in header], rows
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise UserError(
            f"{path}: Parquet files need pyarrow; in the mien repository: pip install '.[scale]'"
        ) from None
    try:
        table = parquet.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are subclasses
        raise UserError(f"Cannot read {path} as Parquet: {error}.") from None
    columns = [["" if cell is None else str(cell) for cell in column.to_pylist()]
               for column in table.columns]  # fmt: skip
    rows = [list(row) for row in zip(*columns, strict=True)]
    return [name.strip().lower() for name in table.column_names], rows


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    """Index of the first of some names that is a column."""
    return next((header.index(name) for name in names if name in header), None)


def _group_columns(path: Path, header: Sequence[str], groups: Sequence[str]) -> list[int]:
    """Indices of the requested and the recognized group columns."""
    requested = [name.strip().lower() for name in groups]
    if missing := [name for name in requested if name not in header]:
        raise UserError(f"{path} has no column {missing[0]}; it has {', '.join(header)}.")
    names = dict.fromkeys([*requested, *(name for name in GROUP_COLUMNS if name in header)])
    return [header.index(name) for name in names]


def _groups(cells: Sequence[str]) -> list[str]:
    """The group of each cell: its text, or its decade in a column of many different numbers."""
    cells = [cell.strip() for cell in cells]
    stated = {cell for cell in cells if cell}
    try:
        decades = {cell: int(float(cell) // 10 * 10) for cell in stated}
    except (ValueError, OverflowError):
        decades = {}
    if len(stated) <= MAX_GROUPS or not decades:
        return [cell or NOT_STATED for cell in cells]
    return [f"{decades[cell]} to {decades[cell] + 9}" if cell else NOT_STATED for cell in cells]


def _votes(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple]:
    """The votes of each row, in the order of `VOTE_NAMES`; zeros without columns of votes."""
    names = [VOTE_SYNONYMS.get(column) or _emotion(column) for column in header]
    columns = {k: VOTE_NAMES.index(name) for k, name in enumerate(names) if name in VOTE_NAMES}
    votes = np.zeros((len(rows), len(VOTE_NAMES)))
    try:
        for k, vote in columns.items():
            votes[:, vote] += [float(row[k] or 0) for row in rows]
        is_valid = bool(((votes >= 0) & (votes <= MAX_VOTES) & (votes == np.rint(votes))).all())
    except ValueError:
        is_valid = False
    if not is_valid:
        raise UserError(f"{path} has invalid votes in the columns "
                        f"{', '.join(header[k] for k in columns)}; they must be whole numbers "
                        f"from 0 to {MAX_VOTES:,}.")  # fmt: skip
    return [tuple(row) for row in votes.astype(int).tolist()]
