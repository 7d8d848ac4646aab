"""Write a table with one row per face; a frame without faces has one row with empty columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from mien.io.partial_file import open_resumable
from mien.results import Write
from mien.writers._table import COLUMNS, rows


def open_writer(path: Path, *, resume: bool = False) -> AbstractContextManager[Write]:
    """Write frame records to a `.csv` file with a header."""
    return open_resumable(path, resume, _convert)


def _convert(records: Iterator[dict], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for record in records:
            table.writerows(rows(record))
