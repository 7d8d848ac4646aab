"""Write a CSV table with one row per face; a frame without faces has one row with empty columns.

The file is UTF-8 with LF line ends. If a text is not ASCII, the file begins with a byte order mark,
because Excel would otherwise use a regional encoding.
"""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from mien.io.partial_file import open_resumable
from mien.results import ResultWriter
from mien.writers._table import COLUMNS, TEXT_COLUMNS, rows

BLOCK_BYTES = 2**20
"""Size of the blocks that are moved to insert the byte order mark."""


def open_writer(path: Path, *, resume: bool = False) -> AbstractContextManager[ResultWriter]:
    """Open a writer for a `.csv` file with a header."""
    return open_resumable(path, resume, _convert)


def _convert(records: Iterator[dict], path: Path) -> None:
    is_ascii = True
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        for record in records:
            for row in rows(record):
                is_ascii = is_ascii and all(row.get(name, "").isascii() for name in TEXT_COLUMNS)
                table.writerow(row)
    if not is_ascii:
        _insert_byte_order_mark(path)


def _insert_byte_order_mark(path: Path) -> None:
    """Insert a byte order mark; the last block of the file is moved first, so none is lost."""
    with open(path, "rb+") as file:
        size = file.seek(0, 2)
        for start in reversed(range(0, size, BLOCK_BYTES)):
            file.seek(start)
            block = file.read(BLOCK_BYTES)
            file.seek(start + len(BOM_UTF8))
            file.write(block)
        file.seek(0)
        file.write(BOM_UTF8)
