"""Print tables, bars and live views in a terminal with rich."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mien.labels import COLORS
from mien.printable import printable
from mien.results import Result
from mien.visualization.percent import percent
from mien.visualization.text import BAR_LENGTH, LiveStatus, unlisted_faces_note
from mien.visualization.time_format import format_duration, format_time

NO_TERMINAL_WIDTH = 1000
"""Width in columns of output that does not go to a terminal, so that nothing is truncated."""

MAX_LISTED_FACES = 20
"""Maximum number of faces listed for a video; the summary file contains all."""

# Standard output and standard error. Rich's markup is off, because file names may contain brackets,
# such as [1].jpg.
out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(highlight=False, soft_wrap=True, markup=False, stderr=True)


def print_summaries(source: str, summaries: list[dict]) -> None:
    """Print a table of the faces of a video.

    Args:
        source: Name of the video.
        summaries: Records of `Summaries.records`, longest on screen first.
    """
    rows = [
        (
            summary["face_id"],
            format_time(summary["first"]),
            format_time(summary["last"]),
            format_duration(summary["on_screen"]),
            _largest_shares(summary["mean_shares"]),
            summary["changes"],
        )
        for summary in summaries[:MAX_LISTED_FACES]
    ]
    count = "1 face" if len(summaries) == 1 else f"{len(summaries)} faces"
    columns = ("face", "first", "last", "on screen", "mean shares", "changes")
    print_table(columns, rows, f"{source}: {count}")
    if len(summaries) > MAX_LISTED_FACES:
        out.print(unlisted_faces_note(len(summaries) - MAX_LISTED_FACES))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> None:
    """Print a table.

    In a narrow terminal, text and lists are wrapped. If the table is still too wide, each cell is
    printed on its own line, as `column: cell`.

    Args:
        columns: Headers; columns of numbers are right-aligned.
        rows: Rows of cells; a cell is a string, a number, a list of strings, or None if empty.
        title: Title printed above the table.
    """
    headers, cells = list(columns), [list(row) for row in rows]
    if title:
        out.print(printable(title), style="italic")
    if not out.is_terminal and not os.environ.get("COLUMNS"):
        out.width = NO_TERMINAL_WIDTH
    grid = _grid(headers, cells, ", ")
    if _measure(grid).maximum > out.width:
        grid = _grid(headers, cells, "\n")
    if _measure(grid).minimum <= out.width:
        out.print(grid)
        return
    for row in cells:
        for name, cell in zip(headers, row, strict=True):
            out.print(f"{name}: {_text(cell)}" if name else _text(cell))
        out.print()


@contextmanager
def live_view() -> Iterator[Callable[[Result, float], None]]:
    """Open a live view; yield a function that shows a result and its delay in seconds."""
    status = LiveStatus()
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as view:

        def show(result: Result, delay: float) -> None:
            header = Text(printable(result.frame.source), style="bold").append(
                f"  {status(result.frame.seconds, delay)}"
            )
            lines = [header.append("; press Ctrl-C to quit", style="not bold dim")]
            for face in result:
                flags = ", ".join(face.flags)
                lines.append(Text(f"\nface {face.face_id}  {flags}", style="bold"))
                lines.extend(_bars(face.smoothed or face.emotions))
            view.update(Text("\n").join(lines), refresh=True)

        yield show


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Progress]:
    """Show a progress bar with the remaining time on standard error, if that is a terminal.

    Args:
        description: Text beside the bar.
        total: Number of steps; None if it is not known yet.

    Yields:
        The bar, with one task.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        bar.add_task(description, total=total)
        yield bar


def _grid(headers: list[str], rows: list[list[object]], separator: str) -> Table:
    """Create a table; `separator` joins the items of list cells."""
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for k, name in enumerate(headers):
        is_numeric = all(row[k] is None or isinstance(row[k], int | float) for row in rows)
        can_wrap = any(" " in _text(row[k], separator) for row in rows)
        grid.add_column(name, justify="right" if is_numeric else "left", no_wrap=not can_wrap)
    for row in rows:
        grid.add_row(*(_text(cell, separator) for cell in row))
    return grid


def _text(cell: object, separator: str = ", ") -> str:
    if isinstance(cell, list):
        return separator.join(map(printable, cell))
    if isinstance(cell, float):
        return f"{cell:.3f}"
    return "" if cell is None else printable(cell)


def _measure(grid: Table) -> Measurement:
    """Measure the width of a table in characters: unwrapped (maximum), fully wrapped (minimum)."""
    return Measurement.get(out, out.options.update(width=NO_TERMINAL_WIDTH), grid)


def _bars(emotions: Mapping[str, float]) -> Iterator[Text]:
    """Yield a line with a bar for each emotion."""
    dominant = max(emotions, key=emotions.__getitem__)
    for emotion, share in emotions.items():
        style = "bold " if emotion == dominant else ""
        line = Text("  ").append(f"{emotion:<9}{percent(share, 1):>7} ", style=style)
        yield line.append("█" * round(share * BAR_LENGTH), style=COLORS[emotion])


def _largest_shares(shares: Mapping[str, float]) -> list[str]:
    """Format the three largest shares, except those that round to 0 %."""
    largest = sorted(shares.items(), key=lambda pair: -pair[1])[:3]
    return [f"{name} {percent(share)}" for name, share in largest if share > 0.005]
