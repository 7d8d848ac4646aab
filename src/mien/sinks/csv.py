"""A table: one row per face, and one with empty face columns for a frame without faces."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.faces import Face, Frame
from mien.sinks import Write
from mien.sinks._lines import written
from mien.sinks._table import COLUMNS, rows


@contextmanager
def to(path: Path) -> Iterator[Write]:
    """Write a `.csv` file with a header."""
    with written(path) as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")

        def write(frame: Frame, faces: list[Face]) -> None:
            # Not before there is a row: a job that fails at once must not replace a table.
            if not file.tell():
                table.writeheader()
            table.writerows(rows(frame, faces))

        yield write
