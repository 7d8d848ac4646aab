"""Tables, bars and live views in a terminal, with rich."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mien.labels import COLORS
from mien.results import Result
from mien.visualization.percent import percent
from mien.visualization.text import BAR_LENGTH, LiveStatus

NO_TERMINAL_WIDTH = 1000
"""Columns of output that does not go to a terminal, so that nothing is cut."""

MAX_FACES = 20
"""Faces of a video that are listed; the summary file has all."""

# Without markup: a file may be named [1].jpg.
out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(highlight=False, soft_wrap=True, markup=False, stderr=True)


def _bars(emotions: Mapping[str, float]) -> Iterator[Text]:
    dominant = max(emotions, key=emotions.__getitem__)
    for emotion, share in emotions.items():
        style = "bold " if emotion == dominant else ""
        line = Text("  ").append(f"{emotion:<9}{percent(share, 1):>7} ", style=style)
        yield line.append("█" * round(share * BAR_LENGTH), style=COLORS[emotion])


def print_summaries(source: str, summaries: list[dict]) -> None:
    """Print a table of the faces of a video.

    Args:
        source: Name of the video.
        summaries: Records of `Summaries.records`, longest on screen first.
    """
    rows = []
    for summary in summaries[:MAX_FACES]:
        top = sorted(summary["emotions"].items(), key=lambda pair: -pair[1])[:3]
        top_emotions = ", ".join(f"{name} {percent(share)}" for name, share in top)
        times = (f"{summary[key]:.1f} s" for key in ("first", "last", "on_screen"))
        rows.append((summary["face_id"], *times, top_emotions, summary["changes"]))
    count = f"{len(summaries)} face" + "s" * (len(summaries) != 1)
    columns = ("face", "first", "last", "on screen", "top emotions", "changes")
    table(columns, rows, f"{source}: {count}")
    if len(summaries) > MAX_FACES:
        out.print(f"and {len(summaries) - MAX_FACES} more, shorter on screen")


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> None:
    """Print a table; columns of numbers are right-aligned, None is an empty cell."""
    cells = [["" if cell is None else cell for cell in row] for row in rows]
    grid = Table(title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for k, name in enumerate(columns):
        numeric = all(isinstance(row[k], int | float) or row[k] == "" for row in cells)
        grid.add_column(name, justify="right" if numeric else "left")
    for row in cells:
        grid.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
    if not out.is_terminal:
        out.width = NO_TERMINAL_WIDTH
    out.print(grid)


@contextmanager
def live_view() -> Iterator[Callable[[Result, float], None]]:
    """Open a live view; yields a function that shows a result and its delay in seconds."""
    status = LiveStatus()
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as view:

        def show(result: Result, delay: float) -> None:
            header = Text(result.frame.source, style="bold").append(
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
    """A progress bar with the remaining time on standard error, if that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        bar.add_task(description, total=total)
        yield bar
