"""Analyze tables of images in Ray, Spark or Dask.

The engine provides machines, retries and storage; its workers call a `Faces` object.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
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
"""Schema of the result: the columns of mien's `.parquet` files, with one row per face, and `error`
for sources that cannot be read."""


@dataclass(frozen=True)
class Faces:
    """A callable that converts a table of images to a table of their faces.

    An image that cannot be read results in a row with its `error`; the others are still analyzed.
    The object is cheap to pickle, and each process loads the models once.

    Attributes:
        column: Name of the column with the images. A cell contains the path of an image or a video
            (a string or, in pandas, a `Path`), or the bytes of an image file.
        name_column: Name of the column that names the images given as bytes, by strings or
            numbers; empty if there is none. Without a name, the source of their rows is "bytes".
        model: As for `Analyzer`.
        detector: As for `Analyzer`.
        threads: As for `Analyzer`.
        contempt: As for `Analyzer`.

    Example:
        ```python
        import pyarrow
        from mien.distributed import SCHEMA, Faces

        faces = Faces("path")
        table = faces(pyarrow.table({"path": ["photo.jpg"]}))
        ```

        In the engines:

            from pyspark.sql.pandas.types import from_arrow_schema

            dataset.map_batches(faces, batch_format="pyarrow")                   # Ray
            frame.mapInArrow(faces.map_in_arrow, from_arrow_schema(SCHEMA))      # Spark
            frame.map_partitions(faces.map_pandas, meta=SCHEMA.empty_table().to_pandas())  # Dask
    """

    column: str = "path"
    name_column: str = ""
    model: str = "default"
    detector: str = "yunet"
    threads: int = 1
    contempt: bool = False

    def __call__(self, images: pa.Table | pa.RecordBatch) -> pa.Table:
        """Analyze one table.

        Args:
            images: A table with `column` and, if given, `name_column`.

        Returns:
            A table with the schema `SCHEMA`. Its rows are in the order of `images`, but rows with
            an `error` may come after those of later images.

        Raises:
            UserError: If the table lacks a column, or the model or the detector cannot be loaded.
        """
        self._check_columns(images.schema.names)
        cells = images.column(self.column).to_pylist()
        names = [""] * len(cells)
        if self.name_column:
            values = images.column(self.name_column).to_pylist()
            names = ["" if value is None else str(value) for value in values]
        return pa.Table.from_pylist(list(self._rows(cells, names)), SCHEMA)

    def map_in_arrow(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Analyze a stream of record batches, for Spark's `mapInArrow`.

        Args:
            batches: Batches with the columns that `__call__` needs.

        Yields:
            Batches with the schema `SCHEMA`.

        Raises:
            UserError: As for `__call__`.

        Example:
            ```python
            import pyarrow
            from mien.distributed import Faces

            table = pyarrow.table({"path": ["photo.jpg"]})
            batches = list(Faces("path").map_in_arrow(table.to_batches()))
            ```
        """
        for batch in batches:
            yield from self(batch).to_batches()

    def map_pandas(self, images):  # type: ignore[no-untyped-def]
        """Analyze a pandas data frame, for Dask's `map_partitions`.

        Args:
            images: A data frame with the columns that `__call__` needs.

        Returns:
            A data frame with the columns of `SCHEMA`, as for `__call__`.

        Raises:
            UserError: As for `__call__`.

        Example:
            ```python
            import pandas
            from mien.distributed import Faces

            faces = Faces("path").map_pandas(pandas.DataFrame({"path": ["photo.jpg"]}))
            ```
        """
        self._check_columns(images.columns)
        # Other columns are not converted: they may contain objects for which Arrow has no type.
        columns = {name: images[name] for name in self._input_columns}
        if columns[self.column].dtype == object:
            columns[self.column] = columns[self.column].map(_path_as_text)
        arrays = {name: pa.array(column, from_pandas=True) for name, column in columns.items()}
        return self(pa.table(arrays)).to_pandas()

    @property
    def _input_columns(self) -> list[str]:
        return [name for name in (self.column, self.name_column) if name]

    def _check_columns(self, names: Iterable[str]) -> None:
        for column in self._input_columns:
            if column not in names:
                columns = ", ".join(map(str, names))
                raise UserError(f"The table has no column {column!r}; its columns are {columns}.")

    def _rows(self, cells: list, names: list[str]) -> Iterator[dict]:
        """Yield the rows of consecutive images or videos, each group followed by its errors."""
        analyzer = _analyzer(self.model, self.detector, self.threads, self.contempt)
        errors: list[dict] = []
        inputs = _inputs(zip(cells, names, strict=True), errors)
        for is_video, group in groupby(inputs, attrgetter("is_video")):
            analyze = _video_results if is_video else _image_results
            for result in analyze(analyzer, group, errors):
                yield from rows(result.to_dict())
            yield from errors
            errors.clear()
        yield from errors  # if no cell is a valid input, there is no group


@dataclass(frozen=True)
class _Input:
    """An image or a video of a cell: a `Source`, or the bytes of an image with its name."""

    content: Any
    name: str = ""

    @property
    def is_video(self) -> bool:
        return isinstance(self.content, Source) and self.content.is_video

    @property
    def display_name(self) -> str:
        return self.name or getattr(self.content, "name", type(self.content).__name__)

    def frames(self) -> Iterator[Frame]:
        if isinstance(self.content, Source):
            return reader.frames(self.content)
        return iter([image.first_frame(self.content, self.name)])


def _inputs(cells: Iterable[tuple[object, str]], errors: list[dict]) -> Iterator[_Input]:
    """Yield the inputs of (cell, name) pairs; append the errors of invalid paths to `errors`."""
    for cell, name in cells:
        if not isinstance(cell, str):
            yield _Input(cell, name)
            continue
        sources: list[Source] = []
        with _errors_as_rows(errors, cell):
            sources = Source.expand(cell, partial(_add_error, errors, cell))
        yield from (_Input(source) for source in sources)


def _image_results(
    analyzer: Analyzer, inputs: Iterable[_Input], errors: list[dict]
) -> Iterator[Result]:
    """Yield the results of images, which are classified in shared batches."""

    def frames() -> Iterator[Frame]:
        for image_input in inputs:
            with _errors_as_rows(errors, image_input.display_name):
                yield from image_input.frames()

    return analyzer.analyze_frames(frames())


def _video_results(
    analyzer: Analyzer, inputs: Iterable[_Input], errors: list[dict]
) -> Iterator[Result]:
    """Yield the results of videos, one after the other."""
    for video_input in inputs:
        with _errors_as_rows(errors, video_input.display_name):
            yield from analyzer.session().stream(video_input.frames())


def _path_as_text(cell: object) -> object:
    return os.fspath(cell) if isinstance(cell, os.PathLike) else cell


@contextmanager
def _errors_as_rows(errors: list[dict], source: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        _add_error(errors, source, error)


def _add_error(errors: list[dict], source: str, error: UserError) -> None:
    errors.append({"source": source, "error": str(error)})


@lru_cache(maxsize=4)
def _analyzer(model: str, detector: str, threads: int, contempt: bool) -> Analyzer:
    """Return an analyzer with these options, which is created once per process."""
    return Analyzer(model, detector, threads, contempt)
