"""Write the table of `csv.py` with typed columns as Parquet, for pandas, Polars and DuckDB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import UserError
from mien.io.partial_file import open_resumable
from mien.results import ResultWriter
from mien.writers._table import COLUMNS, INTEGER_COLUMNS, TEXT_COLUMNS, rows

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 4096
"""Number of table rows that are held in memory and written together, as one row group."""


def open_writer(path: Path, *, resume: bool = False) -> AbstractContextManager[ResultWriter]:
    """Open a writer for a `.parquet` file.

    Args:
        path: The output.
        resume: Whether to continue the partial file of an interrupted run.

    Raises:
        UserError: pyarrow, which the extra `scale` includes, is not installed. The context manager
            raises the errors of `open_resumable`.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UserError(
            "Cannot write Parquet: pyarrow is not installed. In the mien repository, run "
            "pip install '.[scale]'."
        ) from None
    return open_resumable(path, resume, _convert)


def schema() -> pyarrow.Schema:
    """Return the Arrow schema with the names and types of the columns."""
    import pyarrow as pa

    types = {name: pa.float64() for name in COLUMNS}
    types |= dict.fromkeys(TEXT_COLUMNS, pa.string()) | dict.fromkeys(INTEGER_COLUMNS, pa.int64())
    return pa.schema(types.items())


def _convert(records: Iterator[dict], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = schema()
    with pq.ParquetWriter(path, columns) as file:
        for batch in _batched(chain.from_iterable(map(rows, records))):
            file.write_table(pa.Table.from_pylist(batch, columns))


def _batched(table_rows: Iterable[dict]) -> Iterator[list[dict]]:
    batch: list[dict] = []
    for row in table_rows:
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
