"""Tables of pictures -> tables of faces, for engines that deal work out: Ray, Spark, Dask.

They bring the machines, the retries and the storage; this is what each of their workers calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import pyarrow as pa

from mien.analyzer import Analyzer
from mien.errors import UserError
from mien.io import image, video
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
        for moving, some in groupby(zip(what, names, strict=True), lambda one: _is_video(one[0])):
            bad: list[dict] = []
            look = _at_videos if moving else _at_stills
            for result in look(analyzer, some, bad):
                yield from rows(result.to_dict())
            yield from bad


def _at_stills(analyzer: Analyzer, some: Iterable[tuple], bad: list[dict]) -> Found:
    """Pictures and their faces, classified together; what cannot be read is put to the bad."""

    def frames() -> Iterator[Frame]:
        for picture, name in some:
            with _noting(bad, picture, name):
                is_path = isinstance(picture, str)
                yield from image.frames(picture) if is_path else [image.picture(picture, name)]

    return analyzer.frames(frames())


def _at_videos(analyzer: Analyzer, some: Iterable[tuple], bad: list[dict]) -> Found:
    """The frames of videos and their faces, one video after the other."""
    for place, name in some:
        with _noting(bad, place, name):
            yield from analyzer.stream(place)


@contextmanager
def _noting(bad: list[dict], picture: object, name: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        source = name or (picture if isinstance(picture, str) else type(picture).__name__)
        bad.append({"source": source, "error": str(error)})


def _is_video(picture: object) -> bool:
    return isinstance(picture, str) and video.is_video(picture)


@lru_cache(maxsize=4)
def _analyzer(model: str, detector: str, threads: int, contempt: bool) -> Analyzer:
    """One for all tables that this process gets."""
    return Analyzer(model, detector, threads, contempt)
