"""How fast mien is here."""

from __future__ import annotations

import json
import os
import re

import click

from mien.cli._common import USING, terminal
from mien.errors import UserError

LARGEST = 8192

SECTION = USING


@click.command()
@click.option("--model", default="default", show_default=True,
              help="A name from `mien models`, or the path of an .onnx file.")  # fmt: skip
@click.option("--detector", default="yunet", show_default=True, help="yunet or whole.")
@click.option("--threads", type=click.IntRange(0), default=0,
              help="For one picture; all cores by default.")  # fmt: skip
@click.option("--size", default="640x480", show_default=True, metavar="WxH",
              help="Pixels of the frame.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record.")
def bench(model: str, detector: str, threads: int, size: str, as_json: bool) -> None:
    """Measure how fast a model and a detector are on this machine.

    \b
        mien bench
        mien bench --model default-int8 --threads 1 --size 1280x720
    """
    from mien.cli import _stages as measuring

    stages = measuring.measure(model, detector, threads, _pixels(size))
    if as_json:
        found = {stage.name: stage.milliseconds for stage in stages}
        record = {"model": model, "threads": threads, "milliseconds": found}
        click.echo(json.dumps(record))
        return
    rows = [
        (stage.name, stage.milliseconds, round(stage.a_second) if number else None)
        for number, stage in enumerate(stages)
    ]
    caption = f"{model}, {threads or 'all'} of {os.cpu_count()} cores, medians"
    terminal().table(("", "ms", "a second"), rows, caption)


def _pixels(size: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size)
    wide, high = map(int, found.groups()) if found else (0, 0)
    if not (0 < wide <= LARGEST and 0 < high <= LARGEST):
        raise UserError(f"--size {size} is no size up to {LARGEST} pixels; write it as 640x480.")
    return wide, high
