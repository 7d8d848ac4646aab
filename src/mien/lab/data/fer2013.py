"""FER2013's official file, with FER+ votes if their file is in the same folder.

`fer2013.csv` (emotion, pixels, Usage; Goodfellow et al. 2013, https://arxiv.org/abs/1307.0414) and
`fer2013new.csv` (ten votes per face, in the same order; Barsoum et al. 2016,
https://arxiv.org/abs/1608.01041). Parsing 300 MB of decimal digits is slow, so the arrays are
cached in the same folder, in a file named after the size and modification time of the original.
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

FILE, VOTES_FILE = "fer2013.csv", "fer2013new.csv"
SIDE = 48


def can_load(root: Path) -> bool:
    """Whether `root` is a CSV file, or a folder with `fer2013.csv`."""
    return root.suffix.lower() == ".csv" or (root / FILE).is_file()


def load(root: Path) -> dict[str, Samples]:
    """Load the splits; PrivateTest and the votes may be missing.

    Raises:
        UserError: Not this format, an invalid row, or votes that do not match the faces.
    """
    path = root if root.is_file() else root / FILE
    faces, labels, usage = _faces(path)
    rows = np.arange(len(faces))
    votes = np.zeros((len(faces), len(VOTE_NAMES)), np.uint8)
    if (votes_path := path.with_name(VOTES_FILE)).exists():
        votes = _votes(votes_path, usage)
    everything = Samples(faces, labels, votes, rows)
    splits = {
        name: everything.select(usage == number)
        for number, name in enumerate(SPLITS.values())
        if (usage == number).any()
    }
    check_counts(splits, path)
    return splits


def _faces(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces (N, 48, 48) uint8, labels (N,), and the index of each face's split in `SPLITS` (N,)."""
    info = path.stat()
    cache = path.with_name(f".{path.stem}.{info.st_size}.{info.st_mtime_ns}.npz")
    if cache.exists():
        try:
            with open(cache, "rb") as file, np.load(file) as saved:
                return saved["faces"], saved["labels"], saved["usage"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # a damaged cache is rewritten
    parsed = _parse(path)
    try:
        with atomic_file.atomic_write(cache) as temporary:
            np.savez(temporary, faces=parsed[0], labels=parsed[1], usage=parsed[2])
    except UserError:
        pass  # a read-only folder can still be read
    return parsed


def _parse(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = list(SPLITS)
    faces, labels, usage = [], [], []
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
            emotion, pixels, used = map(header.index, ("emotion", "pixels", "usage"))
            for row in table:
                line = table.line_num
                faces.append(np.array(row[pixels].split(), np.uint8))
                labels.append(int(row[emotion]))
                usage.append(names.index(row[used]))
                if len(faces[-1]) != SIDE * SIDE or not 0 <= labels[-1] < 7:
                    raise ValueError
    except (ValueError, IndexError, OverflowError, csv.Error):
        raise UserError(
            f"{path}, line {line}, is not a valid row of FER2013. It must have an emotion "
            "from 0 to 6, 2,304 pixels, and the usage Training, PublicTest or PrivateTest."
        ) from None
    if not faces:
        raise UserError(f"{path} has no faces.")
    return np.stack(faces).reshape(-1, SIDE, SIDE), np.array(labels), np.array(usage)


def _votes(path: Path, usage: np.ndarray) -> np.ndarray:
    header, table = read_table(path)
    position = {name.strip(): k for k, name in enumerate(header)}
    if missing := [name for name in ("Usage", *FERPLUS_COLUMNS) if name not in position]:
        raise UserError(f"{path} is not fer2013new.csv: it lacks the columns {', '.join(missing)}.")
    number = {name: k for k, name in enumerate(SPLITS)}
    usage_of_votes = [number.get(row[position["Usage"]], -1) for row in table]
    if not np.array_equal(usage_of_votes, usage):
        raise UserError(f"{path} does not have the same rows as {FILE}. Use the original files.")
    return vote_counts(path, header, table)
