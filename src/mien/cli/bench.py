"""`mien bench`: measure the speed of a model and a detector on this machine."""

from __future__ import annotations

import json
import os
import re

import click

from mien.cli._imports import terminal
from mien.cli._sections import ANALYSIS
from mien.cli._shared_options import DETECTOR_OPTION, MODEL_OPTION
from mien.errors import UserError

MAX_FRAME_SIDE = 8192
"""Maximum width and height of the test frame in pixels."""

SECTION = ANALYSIS


@click.command()
@MODEL_OPTION
@DETECTOR_OPTION
@click.option("--threads", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Number of threads; 0 uses all cores.")  # fmt: skip
@click.option("--size", default="640x480", show_default=True, metavar="WxH",
              help="Width and height of the test frame in pixels.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print one JSON record instead of a table.")  # fmt: skip
def bench(model: str, detector: str, threads: int, size: str, as_json: bool) -> None:
    """Measure the speed of a model and a detector on this machine.

    \b
        mien bench
        mien bench --model default-int8 --threads 1 --size 1280x720
    """
    from mien.cli import _stages

    stages = _stages.measure(model, detector, threads, _parse_size(size))
    if as_json:
        milliseconds = {stage.name: stage.milliseconds for stage in stages}
        record = {"model": model, "threads": threads, "milliseconds": milliseconds}
        click.echo(json.dumps(record))
        return
    loading, *timed = stages
    rows = [
        (loading.name, loading.milliseconds, None),
        *((stage.name, stage.milliseconds, round(stage.per_second)) for stage in timed),
    ]
    cores = f"{threads or 'all'} of {os.cpu_count()} cores"
    title = f"Times (medians, except for loading) of {model} on {cores}"
    terminal().print_table(("", "ms", "per second"), rows, title)


def _parse_size(size: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    width, height = map(int, match.groups()) if match else (0, 0)
    if not (0 < width <= MAX_FRAME_SIDE and 0 < height <= MAX_FRAME_SIDE):
        raise UserError(
            f"--size {size} is not valid; use WIDTHxHEIGHT, such as 640x480, with at most "
            f"{MAX_FRAME_SIDE} pixels each."
        )
    return width, height
