"""Faces live."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import click

from mien import writers as sinks
from mien.analyzer import Analyzer
from mien.cli._common import complain, terminal
from mien.cli._wishes import smoothing
from mien.errors import UserError
from mien.io.camera import frames
from mien.io.source import Source
from mien.tracking.smoothing import TIME_CONSTANT
from mien.tracking.summaries import Summaries
from mien.visualization import window


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
    live = _live(source)
    if in_window is not False and window.is_possible():
        watching = window.watching
    elif in_window:
        raise UserError("There is no display for a window, or no tkinter; --no-window needs none.")
    else:
        watching = terminal().watching
    if not seconds > 0:
        raise UserError(f"--seconds {seconds:g} means nothing; write a number above 0.")
    smooth = smoothing(smooth)
    analyzer, summaries = Analyzer(model, detector), Summaries()
    began = time.monotonic()
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        writers = [stack.enter_context(sinks.to(path)) for path in to]
        show = stack.enter_context(watching())
        newest = frames(live, complain, began=began, until=seconds)
        for result in analyzer.session(smooth).stream(newest):
            now = result.frame.seconds
            show(result, time.monotonic() - began - now)
            summaries.add(now, result)
            for write in writers:
                write(result)
            if now >= seconds:
                break
    terminal().showed(live.name, summaries.records(at_least=1.0))


def _live(text: str) -> Source:
    """The camera or stream that a string means."""
    try:
        source = Source.parse(text)
    except UserError:
        source = None
    if source is None or not source.is_live:
        raise UserError(f"{text} is no camera or stream; for a file, mien analyze {text}.")
    return source
