"""The output files of a command; if one cannot be written, the run continues with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

from mien.errors import UserError
from mien.results import Result, ResultWriter

MAX_FAILURES = 5
"""An output folder is given up after this many successive images that cannot be written."""

WriterContext = AbstractContextManager[ResultWriter]
"""A context manager that opens a writer."""


class Outputs:
    """Writes results to several outputs; the error of one is reported, and the others continue.

    The error is raised instead if no output remains and the outputs are not optional.

    Args:
        contexts: Path and writer context of each output.
        report_error: Called with the error of each output that cannot be written.
        continue_without_outputs: Whether the run continues if all outputs fail, because its results
            are also printed or summarized.
    """

    def __init__(
        self,
        contexts: Iterable[tuple[Path, WriterContext]],
        report_error: Callable[[UserError], None],
        *,
        continue_without_outputs: bool = False,
    ) -> None:
        self._outputs = [_Output(path, context) for path, context in contexts]
        self._report_error = report_error
        self._continue_without_outputs = continue_without_outputs
        self.interrupted = False
        """Whether an output failed after it was opened, so that it may be written in part."""

    @property
    def paths(self) -> list[Path]:
        """The paths of the outputs that did not fail."""
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
            except UserError as close_error:
                self.interrupted = True
                self._report_error(close_error)

    def _attempt(self, output: _Output, action: Callable[[], None]) -> None:
        try:
            action()
        except UserError as error:
            self.interrupted |= output.is_open
            output.failure_count += 1
            if output.may_continue:
                self._report_error(error)
                return
            output.fail(error)
            if not self.paths and not self._continue_without_outputs:
                raise
            self._report_error(error)


class _Output:
    """A writer that is open, closed or failed."""

    def __init__(self, path: Path, context: WriterContext) -> None:
        self.path, self.failed = path, False
        self._context, self.failure_count = context, 0
        self._write: ResultWriter | None = None

    @property
    def is_open(self) -> bool:
        return self._write is not None

    def open(self) -> None:
        self._write = self._context.__enter__()

    def write(self, result: Result) -> None:
        assert self._write is not None
        self._write(result)
        self.failure_count = 0

    @property
    def may_continue(self) -> bool:
        """Whether to write the next result after a failure: a folder has one file per image."""
        return self.is_open and self.path.is_dir() and self.failure_count < MAX_FAILURES

    def fail(self, error: UserError) -> None:
        """Close the writer after an error."""
        self.failed = True
        with suppress(UserError):
            self.close(type(error), error, error.__traceback__)

    def close(self, *error: object) -> None:
        if self.is_open:
            self._write = None
            try:
                self._context.__exit__(*error)  # type: ignore[arg-type]
            except UserError:
                self.failed = True
                raise
