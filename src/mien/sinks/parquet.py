"""The table of `csv` with types, compressed; for pandas, Polars and DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien import atomic
from mien.errors import UserError
from mien.faces import Face, Frame
from mien.sinks import Write
from mien.sinks._table import COLUMNS, rows

ROWS_AT_ONCE = 4096

_TEXT = ("source", "model", "detector", "dominant_emotion", "flags")
_WHOLE = ("frame", "width", "height", "face_id")


@contextmanager
def to(path: Path) -> Iterator[Write]:
    """Write a `.parquet` file; a `UserError` without pyarrow, which the extra `scale` brings.

    Without frames, as in the other tables, there is no file.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install 'mien[scale]'.") from None
    kinds = {name: pa.float64() for name in COLUMNS}
    kinds |= dict.fromkeys(_TEXT, pa.string()) | dict.fromkeys(_WHOLE, pa.int64())
    schema = pa.schema(kinds.items())
    waiting: list[dict] = []
    empty = True
    with atomic.writing(path) as temporary:
        with pq.ParquetWriter(temporary, schema) as table:

            def flush() -> None:
                table.write_table(pa.Table.from_pylist(waiting, schema))
                waiting.clear()

            def write(frame: Frame, faces: list[Face]) -> None:
                nonlocal empty
                empty = False
                waiting.extend(rows(frame, faces))
                if len(waiting) >= ROWS_AT_ONCE:
                    flush()

            yield write
            flush()
        if empty:
            temporary.unlink()
