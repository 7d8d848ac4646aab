"""Faces live."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import click

from mien import writers
from mien.analyzer import Analyzer
from mien.cli._common import USING, print_error, terminal
from mien.cli._options import smoothing
from mien.errors import UserError
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.pipeline import Callbacks, Options, run
from mien.results import Result
from mien.tracking.smoothing import TIME_CONSTANT
from mien.tracking.summaries import Summaries
from mien.visualization import window

SECTION = USING

View = Callable[[Result, float], None]
"""Shows a result, which is so many seconds old."""


@click.command()
@click.argument("source", default="camera:0")
@click.option("--to", type=click.Path(path_type=Path), multiple=True, metavar="PATH",
              help="Also write .jsonl, .csv, .mp4, .html ...; several times.")  # fmt: skip
@click.option("--model", default="default", show_default=True)
@click.option("--detector", default="yunet", show_default=True)
@click.option("--smooth", default=TIME_CONSTANT, show_default=True, metavar="SECONDS")
@click.option("--seconds", default=math.inf, help="Stop by itself after so long.")
@click.option("--window/--no-window", "in_window", default=None,
              help="In a window, the default where it can be, or in the terminal.")  # fmt: skip
def camera(
    source: str,
    to: tuple[Path, ...],
    model: str,
    detector: str,
    smooth: float,
    seconds: float,
    in_window: bool | None,
) -> None:
    """Watch the faces before a camera, in a window or the terminal; Ctrl-C ends it.

    SOURCE is camera:0, camera:1, ..., or the address of a stream. A camera needs OpenCV: in mien's
    folder, pip install '.[camera]'.

    \b
        mien camera
        mien camera rtsp://192.168.1.9/live --to today.jsonl
    """
    live, show = _live(source), _view(in_window)
    if not seconds > 0:
        raise UserError(f"--seconds {seconds:g} means nothing; write a number above 0.")
    smooth = smoothing(smooth)
    analyzer, summaries = Analyzer(model, detector), Summaries()
    began = time.monotonic()
    options = Options(selection=FrameSelection(end=seconds), smoothing=smooth, started=began)
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        outputs = [stack.enter_context(writers.open_writer(path)) for path in to]
        view = stack.enter_context(show())
        steps = [
            lambda result: view(result, time.monotonic() - began - result.frame.seconds),
            lambda result: summaries.add(result.frame.seconds, result),
            *outputs,
        ]
        run([live], analyzer, steps, options, Callbacks(on_warning=print_error))
    terminal().print_summaries(live.name, summaries.records(at_least=1.0))


def _view(in_window: bool | None) -> Callable[[], AbstractContextManager[View]]:
    """What shows the faces: a window where there can be one, or the terminal."""
    if in_window is not False and window.is_available():
        return window.live_view
    if in_window:
        raise UserError("There is no display for a window, or no tkinter; --no-window needs none.")
    return terminal().live_view


def _live(text: str) -> Source:
    """The camera or stream that a string means."""
    try:
        source = Source.parse(text)
    except UserError:
        source = None
    if source is None or not source.is_live:
        raise UserError(f"{text} is no camera or stream; for a file, mien analyze {text}.")
    return source
