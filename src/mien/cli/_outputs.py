"""The output files of a command: one that cannot be written does not end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

from mien.errors import UserError
from mien.results import Result, ResultWriter

MAX_FAILURES = 5
"""A folder is given up after this many images in a row that cannot be written."""

Opening = AbstractContextManager[ResultWriter]


class Outputs:
    """Several writers as one; the error of a writer is reported, and the others go on.

    The error is raised instead if it leaves nothing to write.

    Args:
        openings: path and unopened writer of each output.
        report: called with the error of each output that cannot be written.
        others: whether the results are used otherwise, printed for example, so that the run goes on
            without any file.
    """

    def __init__(
        self,
        openings: Iterable[tuple[Path, Opening]],
        report: Callable[[UserError], None],
        *,
        others: bool = False,
    ) -> None:
        self._outputs = [_Output(path, opening) for path, opening in openings]
        self._report, self._others = report, others
        self.interrupted = False
        """Whether an output failed after it was opened, so that a part of it may exist."""

    @property
    def paths(self) -> list[Path]:
        """The outputs that did not fail."""
        return [output.path for output in self._outputs if not output.failed]

    def __enter__(self) -> Outputs:
        try:
            for output in self._outputs:
                self._attempt(output, output.open)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __call__(self, result: Result) -> None:
        """Write a result to all outputs that are open."""
        for output in self._outputs:
            if not output.failed:
                self._attempt(output, partial(output.write, result))

    def __exit__(self, *error: object) -> None:
        for output in self._outputs:
            try:
                output.close(*error)
            except UserError as own:
                self.interrupted = True
                self._report(own)

    def _attempt(self, output: _Output, action: Callable[[], None]) -> None:
        try:
            action()
        except UserError as error:
            self.interrupted |= output.is_open
            if output.may_continue():
                self._report(error)
                return
            output.fail(error)
            if not self.paths and not self._others:
                raise
            self._report(error)


class _Output:
    """A writer that is open, closed or failed."""

    def __init__(self, path: Path, opening: Opening) -> None:
        self.path, self.failed = path, False
        self._opening, self._failures = opening, 0
        self._write: ResultWriter | None = None

    @property
    def is_open(self) -> bool:
        return self._write is not None

    def open(self) -> None:
        self._write = self._opening.__enter__()

    def write(self, result: Result) -> None:
        assert self._write is not None
        self._write(result)
        self._failures = 0

    def may_continue(self) -> bool:
        """Count a failure; whether more can be written, as each image of a folder is a file."""
        self._failures += 1
        return self.is_open and self.path.is_dir() and self._failures < MAX_FAILURES

    def fail(self, error: UserError) -> None:
        """Close the writer as after an error."""
        self.failed = True
        with suppress(UserError):
            self.close(type(error), error, error.__traceback__)

    def close(self, *error: object) -> None:
        if self.is_open:
            self._write = None
            try:
                self._opening.__exit__(*error)  # type: ignore[arg-type]
            except UserError:
                self.failed = True
                raise
