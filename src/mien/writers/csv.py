"""A table: one row per face, and one with empty face columns for a frame without faces."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from mien.io.partial_file import open_resumable
from mien.results import Write
from mien.writers._table import COLUMNS, rows


def open_writer(path: Path, *, resume: bool = False) -> AbstractContextManager[Write]:
    """Write a `.csv` file with a header."""
    return open_resumable(path, resume, _finish)


def _finish(records: Iterator[dict], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for record in records:
            table.writerows(rows(record))
