"""Tables, bars and live views for a person at a terminal, by rich."""

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
from mien.visualization.text import BAR, Pace

WIDE = 1000
"""Columns of what no terminal shows: nothing is cut."""

MAX_FACES = 20
"""So many faces of a video are listed; the summary file has all."""

# Without markup: a file may be called [1].jpg.
out = Console(highlight=False, soft_wrap=True, markup=False)
err = Console(highlight=False, soft_wrap=True, markup=False, stderr=True)


def _lines(emotions: Mapping[str, float]) -> Iterator[Text]:
    dominant = max(emotions, key=emotions.__getitem__)
    for emotion, share in emotions.items():
        bold = "bold " if emotion == dominant else ""
        line = Text("  ").append(f"{emotion:<9}", style=bold).append(f"{share:>6.1%} ", style=bold)
        yield line.append("█" * round(share * BAR), style=COLORS[emotion])


def print_summaries(source: str, summaries: list[dict]) -> None:
    """Print what each face of a video showed over its time, longest on screen first."""
    rows = []
    for one in summaries[:MAX_FACES]:
        most = sorted(one["emotions"].items(), key=lambda pair: -pair[1])[:3]
        mostly = ", ".join(f"{name} {share:.0%}" for name, share in most)
        times = (f"{one[key]:.1f} s" for key in ("first", "last", "on_screen"))
        rows.append((one["face_id"], *times, mostly, one["changes"]))
    count = f"{len(summaries)} face" + "s" * (len(summaries) != 1)
    table(("face", "first", "last", "on screen", "mostly", "changes"), rows, f"{source}: {count}")
    if len(summaries) > MAX_FACES:
        out.print(f"and {len(summaries) - MAX_FACES} more, seen for less time")


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str = "") -> None:
    """Print rows under a header; numbers to the right, nothing where there is none."""
    lines = [["" if cell is None else cell for cell in row] for row in rows]
    made = Table(title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for k, name in enumerate(columns):
        numeric = all(isinstance(row[k], int | float) or row[k] == "" for row in lines)
        made.add_column(name, justify="right" if numeric else "left")
    for row in lines:
        made.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))
    if not out.is_terminal:
        out.width = WIDE
    out.print(made)


@contextmanager
def live_view() -> Iterator[Callable[[Result, float], None]]:
    """A view that is drawn again with each frame: told the result and seconds of delay."""
    pace = Pace()
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as view:

        def show(result: Result, delay: float) -> None:
            head = Text(result.frame.source, style="bold").append(
                f"  {pace(result.frame.seconds, delay)}"
            )
            lines = [head.append("; Ctrl-C ends it", style="not bold dim")]
            for face in result:
                note = ", ".join(face.flags)
                lines.append(Text(f"\nface {face.face_id}  {note}", style="bold"))
                lines.extend(_lines(face.smoothed or face.emotions))
            view.update(Text("\n").join(lines), refresh=True)

        yield show


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Progress]:
    """A bar with the time left, on standard error, and only if that is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        bar.add_task(what, total=total)
        yield bar
