"""Write a CSV table with one row per face.

A frame without faces has one row with empty face columns.

The file is UTF-8 with LF line ends. If a text is not ASCII, the file begins with a byte order mark,
because Excel would otherwise use a regional encoding. Texts that a spreadsheet would evaluate are
marked with an apostrophe.
"""

from __future__ import annotations

import csv
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

from mien.io.partial_file import open_resumable
from mien.results import ResultWriter
from mien.writers._table import COLUMNS, TEXT_COLUMNS, rows

FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
"""Matches texts that a spreadsheet may evaluate as formulas, such as `=1` (OWASP, "CSV Injection"),
and such texts after one or more apostrophes, such as `'=1`."""

BLOCK_BYTES = 2**20
"""Size of the blocks that are moved to insert the byte order mark."""


def open_writer(path: Path, *, resume: bool = False) -> AbstractContextManager[ResultWriter]:
    """Open a writer for a `.csv` file with a header."""
    return open_resumable(path, resume, _convert)


def mark_formula(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would evaluate as a formula.

    A text that begins with an apostrophe and a formula gets another one. The original texts can
    thus be restored by removing the first character of all that match `FORMULA`.
    """
    return f"'{text}" if FORMULA.match(text) else text


def _convert(records: Iterator[dict], path: Path) -> None:
    is_ascii = True
    with open(path, "w", newline="", encoding="utf-8") as file:

        def write_line(row: str) -> None:
            file.write(row.removesuffix("\r\n") + "\n")

        # Until 2024 (Python issue 67044), `csv` quoted a text that contains CR only if its line
        # terminator contains CR as well.
        table = csv.DictWriter(SimpleNamespace(write=write_line), COLUMNS, lineterminator="\r\n")
        table.writeheader()
        for record in records:
            for row in rows(record):
                texts = {name: mark_formula(row.get(name, "")) for name in TEXT_COLUMNS}
                is_ascii = is_ascii and all(map(str.isascii, texts.values()))
                table.writerow(row | texts)
    if not is_ascii:
        _insert_byte_order_mark(path)


def _insert_byte_order_mark(path: Path) -> None:
    """Insert a byte order mark; blocks are moved from the last to the first, so none is lost."""
    with open(path, "rb+") as file:
        size = file.seek(0, 2)
        for start in reversed(range(0, size, BLOCK_BYTES)):
            file.seek(start)
            block = file.read(BLOCK_BYTES)
            file.seek(start + len(BOM_UTF8))
            file.write(block)
        file.seek(0)
        file.write(BOM_UTF8)
