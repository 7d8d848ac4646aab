"""FER2013's official file, with FER+ votes if their file is in the same folder.

`fer2013.csv` has the columns emotion, pixels and Usage (Goodfellow et al. 2013,
https://arxiv.org/abs/1307.0414), and `fer2013new.csv` ten votes per face, in the same order
(Barsoum et al. 2016, https://arxiv.org/abs/1608.01041). Parsing 300 MB of decimal digits is slow,
so the result is cached in the same folder, in a file named after the size and modification time of
the original.
"""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab.data._fer import FERPLUS_COLUMNS, SPLITS, check_counts, read_table, vote_counts
from mien.lab.data._samples import VOTE_NAMES, Samples

FILE = "fer2013.csv"
VOTES_FILE = "fer2013new.csv"

SIDE = 48
"""Width and height of a face in pixels."""


def can_load(root: Path) -> bool:
    """Whether `root` is a CSV file, or a folder with `fer2013.csv`."""
    is_csv = root.suffix.lower() == ".csv" and root.is_file()
    return is_csv or (root / FILE).is_file()


def load(root: Path) -> dict[str, Samples]:
    """Load the splits that the file has, with votes if their file exists.

    Raises:
        UserError: One of the two files cannot be read, has another format or an invalid row, or
            the votes do not match the faces.
    """
    path = root if root.is_file() else root / FILE
    faces, labels, split_indices = _load_faces(path)
    rows = np.arange(len(faces))
    votes = np.zeros((len(faces), len(VOTE_NAMES)), np.uint8)
    votes_path = path.with_name(VOTES_FILE)
    if votes_path.exists():
        votes = _load_votes(votes_path, split_indices)
    samples = Samples(faces, labels, votes, rows)
    splits = {
        name: samples.select(split_indices == k)
        for k, name in enumerate(SPLITS.values())
        if (split_indices == k).any()
    }
    check_counts(splits, path)
    return splits


def _load_faces(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces (N, 48, 48) uint8, labels (N,), and the index of each face's split in `SPLITS` (N,).

    They are read from the cache if it is intact; otherwise the cache is written if possible.
    """
    info = path.stat()
    cache = path.with_name(f".{path.stem}.{info.st_size}.{info.st_mtime_ns}.npz")
    if cache.exists():
        try:
            with open(cache, "rb") as file, np.load(file) as saved:
                return saved["faces"], saved["labels"], saved["usage"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # a damaged cache is written again
    parsed = _parse(path)
    try:
        with atomic_file.atomic_write(cache) as temporary:
            np.savez(temporary, faces=parsed[0], labels=parsed[1], usage=parsed[2])
    except UserError:
        pass  # the folder is read-only, or the disk is full
    return parsed


def _parse(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = list(SPLITS)
    faces, labels, split_indices = [], [], []
    line = 1
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file)
            header = [name.strip().lower() for name in next(table, [])]
            if sorted(header) != ["emotion", "pixels", "usage"]:
                raise UserError(
                    f"{path} is not fer2013.csv: its header is {','.join(header)[:80]!r}, "
                    "expected emotion,pixels,Usage."
                )
            emotion, pixels, usage = map(header.index, ("emotion", "pixels", "usage"))
            for row in table:
                line = table.line_num
                faces.append(np.array(row[pixels].split(), np.uint8))
                labels.append(int(row[emotion]))
                split_indices.append(names.index(row[usage]))
                if len(faces[-1]) != SIDE * SIDE or not 0 <= labels[-1] < 7:
                    raise ValueError
    except (ValueError, IndexError, OverflowError, csv.Error):
        raise UserError(
            f"{path}, line {line}, is not a valid row of FER2013. It must have an emotion "
            "from 0 to 6, 2,304 pixels from 0 to 255, and the usage Training, PublicTest or "
            "PrivateTest."
        ) from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from None
    if not faces:
        raise UserError(f"{path} has no faces.")
    return np.stack(faces).reshape(-1, SIDE, SIDE), np.array(labels), np.array(split_indices)


def _load_votes(path: Path, split_indices: np.ndarray) -> np.ndarray:
    """The votes of a file whose rows must have the given splits: (N, 10) uint8."""
    header, table = read_table(path)
    position = {name.strip(): k for k, name in enumerate(header)}
    missing = [name for name in ("Usage", *FERPLUS_COLUMNS) if name not in position]
    if missing:
        raise UserError(f"{path} is not fer2013new.csv: it lacks the columns {', '.join(missing)}.")
    names = list(SPLITS)
    usages = [row[position["Usage"]] for row in table]
    actual = [names.index(usage) if usage in names else -1 for usage in usages]
    if not np.array_equal(actual, split_indices):
        raise UserError(f"{path} does not have the same rows as {FILE}. Use the original files.")
    return vote_counts(path, header, table)
