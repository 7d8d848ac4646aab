"""The table of `csv` with types, compressed; for pandas, Polars and DuckDB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import UserError
from mien.io.partial_file import open_resumable
from mien.results import Write
from mien.writers._table import COLUMNS, TEXT, WHOLE, rows

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_ONCE = 4096


def open_writer(path: Path, *, resume: bool = False) -> AbstractContextManager[Write]:
    """Write a `.parquet` file; a `UserError` without pyarrow, which the extra `scale` brings."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError(
            "Parquet needs pyarrow: in mien's folder, pip install '.[scale]'."
        ) from None
    return open_resumable(path, resume, _finish)


def schema() -> pyarrow.Schema:
    """The columns and their types."""
    import pyarrow as pa

    kinds = {name: pa.float64() for name in COLUMNS}
    kinds |= dict.fromkeys(TEXT, pa.string()) | dict.fromkeys(WHOLE, pa.int64())
    return pa.schema(kinds.items())


def _finish(records: Iterator[dict], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = schema()
    with pq.ParquetWriter(path, kinds) as table:
        for some in _batched(chain.from_iterable(map(rows, records))):
            table.write_table(pa.Table.from_pylist(some, kinds))


def _batched(found: Iterable[dict]) -> Iterator[list[dict]]:
    waiting: list[dict] = []
    for row in found:
        waiting.append(row)
        if len(waiting) == ROWS_AT_ONCE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting
