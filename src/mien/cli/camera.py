"""`mien camera`: show the emotion shares of faces in a camera or network stream, live."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import click

from mien import writers
from mien.analyzer import Analyzer
from mien.cli._analyze_options import check_distinct, check_smoothing
from mien.cli._imports import terminal
from mien.cli._messages import EXIT_USER_ERROR, ErrorReporter, print_message
from mien.cli._outputs import Outputs
from mien.cli._sections import ANALYSIS
from mien.cli._shared_options import DETECTOR_OPTION, MODEL_OPTION
from mien.errors import UserError
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.pipeline import Callbacks, Options, run
from mien.results import Result, ResultWriter
from mien.tracking.smoothing import TIME_CONSTANT
from mien.tracking.summaries import Summaries
from mien.visualization import window

SECTION = ANALYSIS

MIN_LISTED_SECONDS = 1.0
"""Minimum time on screen of a face in the list at the end."""

View = Callable[[Result, float], None]
"""A function that shows a result; its second argument is the delay in seconds."""


@click.command()
@click.argument("source", default="camera:0")
@click.option("--to", "output_paths", type=click.Path(path_type=Path), multiple=True,
              metavar="PATH",
              help="Also write to this file, such as .jsonl, .csv, .mp4 or .html. "
              "Can be repeated.")  # fmt: skip
@MODEL_OPTION
@DETECTOR_OPTION
@click.option("--smooth", default=TIME_CONSTANT, show_default=True, metavar="SECONDS",
              help="Time constant with which shares are smoothed; 0 disables "
              "smoothing.")  # fmt: skip
@click.option("--seconds", default=math.inf,
              help="Stop after this many seconds; by default, run until Ctrl-C.")  # fmt: skip
@click.option("--window/--no-window", "in_window", default=None,
              help="Show the faces in a window or in the terminal; by default in a window if "
              "there is a display.")  # fmt: skip
def camera(
    source: str,
    output_paths: tuple[Path, ...],
    model: str,
    detector: str,
    smooth: float,
    seconds: float,
    in_window: bool | None,
) -> None:
    """Show the emotions of faces in front of a camera, live.

    The faces are shown in a window or in the terminal. Ctrl-C, or Esc in the window, quits. Faces
    that were on screen for at least a second are then listed.

    SOURCE is camera:0, camera:1, ..., or the address of a network stream. A local camera needs
    OpenCV. To install it, run this in the mien repository:

    \b
        pip install '.[camera]'

    \b
    Examples:
        mien camera
        mien camera rtsp://192.168.1.9/live --to today.jsonl
    """
    live_source, open_view = _parse_live_source(source), _choose_view(in_window)
    if not seconds > 0:
        raise UserError(f"--seconds {seconds:g} is not valid; use a number above 0.")
    smooth = check_smoothing(smooth)
    check_distinct(output_paths)
    analyzer, summaries = Analyzer(model, detector), Summaries()
    started = time.monotonic()
    options = Options(selection=FrameSelection(end=seconds), smoothing=smooth, started=started)
    report_error = ErrorReporter()
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        contexts = [(path, writers.open_writer(path)) for path in output_paths]
        outputs = stack.enter_context(Outputs(contexts, report_error))
        view = stack.enter_context(open_view())
        result_writers: list[ResultWriter] = [
            lambda result: view(result, time.monotonic() - started - result.frame.seconds),
            lambda result: summaries.add(result.frame.seconds, result),
            outputs,
        ]
        run([live_source], analyzer, result_writers, options, Callbacks(on_warning=print_message))
    terminal().print_summaries(live_source.name, summaries.records(MIN_LISTED_SECONDS))
    if report_error.count:
        sys.exit(EXIT_USER_ERROR)


def _choose_view(in_window: bool | None) -> Callable[[], AbstractContextManager[View]]:
    """Choose where to show the faces: in a window if there is a display, or in the terminal."""
    if in_window is not False and window.is_available():
        return window.live_view
    if in_window:
        raise UserError("--window needs a display and tkinter; use --no-window.")
    return terminal().live_view


def _parse_live_source(text: str) -> Source:
    """Parse a camera or network stream."""
    source = Source.parse(text)
    if not source.is_live:
        raise UserError(
            f"{text} is not a camera or network stream; for a file, use mien analyze {text}."
        )
    return source
