"""What the two formats of FER2013, `fer2013` and `packed`, have in common."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.lab.data._samples import Samples

SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""FER2013's name of each split -> mien's name."""

FERPLUS_COLUMNS = (
    "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt",
    "unknown", "NF",
)  # fmt: skip
"""FER+'s names of the columns with votes, in the order of `VOTE_NAMES`."""

OFFICIAL_COUNTS = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "val": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
"""Faces per emotion (angry ... neutral) in each split of FER2013 as published."""


def vote_counts(path: Path, header: list[str], table: list[list[str]]) -> np.ndarray:
    """The votes of a table with all `FERPLUS_COLUMNS`: (N, 10) uint8, ordered like `VOTE_NAMES`."""
    positions = {name.strip(): k for k, name in enumerate(header)}
    columns = [positions[name] for name in FERPLUS_COLUMNS]
    try:
        return np.array([[row[k] for k in columns] for row in table], np.uint8)
    except (ValueError, OverflowError):
        raise UserError(
            f"{path} has invalid votes. They must be whole numbers from 0 to 255."
        ) from None


def class_counts(samples: Samples) -> tuple[int, ...]:
    """Faces per emotion, from angry to neutral."""
    return tuple(np.bincount(samples.labels[samples.labels >= 0], minlength=7).tolist())


def check_counts(splits: dict[str, Samples], source: Path) -> None:
    """Warn if the numbers of faces per emotion are not those of FER2013 as published."""
    for name, samples in splits.items():
        actual, expected = class_counts(samples), OFFICIAL_COUNTS[name]
        if actual != expected:
            warnings.warn(
                f"{source}: {name} is not FER2013 as published: "
                f"{actual} faces per emotion, expected {expected}.",
                stacklevel=3,
            )


def read_table(path: Path, separators: str = ",") -> tuple[list[str], list[list[str]]]:
    """Read a CSV file.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.
        separators: Possible column separators; the one that is most frequent in the header is used.

    Returns:
        The header, and the rows except empty lines.

    Raises:
        UserError: The file cannot be read, or a row does not have as many columns as the header.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            separator = max(separators, key=file.readline().count)
            file.seek(0)
            header, *rows = csv.reader(file, delimiter=separator)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, csv.Error):  # `ValueError` if the file is empty or is not UTF-8
        raise UserError(f"{path} is not a CSV file with a header line.") from None
    for number, row in enumerate(rows, 2):
        if row and len(row) != len(header):
            raise UserError(
                f"{path}, line {number}, has {len(row)} columns, expected {len(header)}."
            )
    return header, [row for row in rows if row]
