"""Tables of pictures -> tables of faces, for engines that deal work out: Ray, Spark, Dask.

They bring the machines, the retries and the storage; this is what each of their workers calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any

import pyarrow as pa

from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import image, reader
from mien.io.source import Source
from mien.results import Frame, Result
from mien.writers import parquet
from mien.writers._table import rows

SCHEMA = parquet.schema().append(pa.field("error", pa.string()))
"""The columns of `.parquet` files, a row per face, and what is wrong with a source, if anything."""

Found = Iterator[Result]


@dataclass(frozen=True)
class Faces:
    """A function from a table of pictures to the table of their faces; small enough to be sent.

    column: where the pictures are, as paths (of videos, too) or as bytes. names: the column that
    says what bytes are called. The others are as for `Analyzer`, which each process makes once. A
    picture that cannot be read does not end the work: it becomes a row with its `error`.

        faces = Faces("path")
        dataset.map_batches(faces, batch_format="pyarrow")              # Ray
        frame.mapInArrow(faces.each, from_arrow_schema(SCHEMA))         # Spark
        frame.map_partitions(faces.pandas, meta=SCHEMA.empty_table().to_pandas())  # Dask
    """

    column: str = "path"
    names: str = ""
    model: str = "default"
    detector: str = "yunet"
    threads: int = 1
    contempt: bool = False

    def __call__(self, pictures: pa.Table | pa.RecordBatch) -> pa.Table:
        """One table of pictures; an error for a column that is not there."""
        for column in filter(None, (self.column, self.names)):
            if column not in pictures.schema.names:
                known = ", ".join(pictures.schema.names)
                raise UserError(f"The table has no column {column!r}; it has {known}.")
        what = pictures.column(self.column).to_pylist()
        names = pictures.column(self.names).to_pylist() if self.names else [""] * len(what)
        return pa.Table.from_pylist(list(self._rows(what, names)), SCHEMA)

    def each(self, tables: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """A stream of tables, as Spark's `mapInArrow` gives it."""
        for table in tables:
            yield from self(table).to_batches()

    def pandas(self, pictures):  # type: ignore[no-untyped-def]
        """The same from a pandas data frame to another, for Dask's `map_partitions`."""
        return self(pa.Table.from_pandas(pictures, preserve_index=False)).to_pandas()

    def _rows(self, what: list, names: list[str]) -> Iterator[dict]:
        analyzer = _analyzer(self.model, self.detector, self.threads, self.contempt)
        bad: list[dict] = []
        inputs = _inputs(zip(what, names, strict=True), bad)
        for is_video, some in groupby(inputs, attrgetter("is_video")):
            look = _at_videos if is_video else _at_stills
            for result in look(analyzer, some, bad):
                yield from rows(result.to_dict())
            yield from bad
            bad.clear()
        yield from bad


@dataclass(frozen=True)
class _Input:
    """A source, or the bytes of a picture, and what a row calls it."""

    content: Any
    name: str

    @property
    def is_video(self) -> bool:
        return isinstance(self.content, Source) and self.content.is_video

    def frames(self) -> Iterator[Frame]:
        if isinstance(self.content, Source):
            return reader.frames(self.content)
        return iter([image.first_frame(self.content, self.name)])


def _inputs(cells: Iterable[tuple[object, str]], bad: list[dict]) -> Iterator[_Input]:
    """What the cells of a table mean; a path that means nothing is put to the bad."""
    for cell, name in cells:
        found: list[object] = [cell]
        if isinstance(cell, str):
            found = []
            with _noting(bad, name or cell):
                found += Source.expand(cell)
        yield from (_Input(one, name) for one in found)


def _at_stills(analyzer: Analyzer, some: Iterable[_Input], bad: list[dict]) -> Found:
    """Pictures and their faces, classified together; what cannot be read is put to the bad."""

    def frames() -> Iterator[Frame]:
        for one in some:
            with _noting(bad, _called(one)):
                yield from one.frames()

    return analyzer.analyze_frames(frames())


def _at_videos(analyzer: Analyzer, some: Iterable[_Input], bad: list[dict]) -> Found:
    """The frames of videos and their faces, one video after the other."""
    for one in some:
        with _noting(bad, _called(one)):
            yield from analyzer.session().stream(one.frames())


def _called(one: _Input) -> str:
    return one.name or getattr(one.content, "name", type(one.content).__name__)


@contextmanager
def _noting(bad: list[dict], source: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        bad.append({"source": source, "error": str(error)})


@lru_cache(maxsize=4)
def _analyzer(model: str, detector: str, threads: int, contempt: bool) -> Analyzer:
    """One for all tables that this process gets."""
    return Analyzer(model, detector, threads, contempt)
