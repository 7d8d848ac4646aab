"""The outputs of a command; if one cannot be written, the run continues with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path

from mien.errors import ErrorCallback, UserError
from mien.results import Result, ResultWriter

MAX_CONSECUTIVE_FAILURES = 5
"""After this many consecutive images that cannot be written, an output folder has failed."""

WriterContext = AbstractContextManager[ResultWriter]
"""A context manager that opens and closes a writer."""


class Outputs:
    """Writes results to several outputs.

    If an output fails, its error is reported, and the others are still written. If none remains,
    the error is raised instead, except with `continue_without_outputs`.

    Args:
        contexts: Path and writer context of each output.
        report_error: Called with the error of each output that cannot be written.
        continue_without_outputs: Whether the run continues if all outputs fail, because its results
            are also printed or summarized.

    Attributes:
        interrupted: Whether an output failed after it was opened and may have a partial file.
    """

    def __init__(
        self,
        contexts: Iterable[tuple[Path, WriterContext]],
        report_error: ErrorCallback,
        *,
        continue_without_outputs: bool = False,
    ) -> None:
        self._outputs = [_Output(path, context) for path, context in contexts]
        self._report_error = report_error
        self._continue_without_outputs = continue_without_outputs
        self.interrupted = False

    @property
    def paths(self) -> list[Path]:
        """The paths of the outputs that have not failed."""
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
        """Write a result to all outputs that have not failed."""
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
        """Run an action of an output; report its error, or raise it if the run cannot continue."""
        try:
            action()
        except UserError as error:
            self.interrupted |= output.is_open
            output.consecutive_failures += 1
            if output.accepts_more:
                self._report_error(error)
                return
            output.fail(error)
            if not self.paths and not self._continue_without_outputs:
                raise
            self._report_error(error)


class _Output:
    """An output path with its writer, which is open, closed or failed."""

    def __init__(self, path: Path, context: WriterContext) -> None:
        self.path, self.failed, self.consecutive_failures = path, False, 0
        self._context = context
        self._write: ResultWriter | None = None

    @property
    def is_open(self) -> bool:
        return self._write is not None

    def open(self) -> None:
        self._write = self._context.__enter__()

    def write(self, result: Result) -> None:
        assert self._write is not None
        self._write(result)
        self.consecutive_failures = 0

    @property
    def accepts_more(self) -> bool:
        """Whether results are still written after a failure: in a folder, each has its own file."""
        return (
            self.is_open
            and self.path.is_dir()
            and self.consecutive_failures < MAX_CONSECUTIVE_FAILURES
        )

    def fail(self, error: UserError) -> None:
        """Close the writer because of an error, and mark the output as failed."""
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
