"""A table: one row per face, and one with empty face columns for a frame without faces."""

from __future__ import annotations

import csv
import io
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
    with written(path) as add:
        header = True

        def write(frame: Frame, faces: list[Face]) -> None:
            nonlocal header
            text = io.StringIO()
            table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
            # Not before there is a row: a job that fails at once must not replace a table.
            if header:
                table.writeheader()
            table.writerows(rows(frame, faces))
            add(text.getvalue())
            header = False

        yield write
