"""Average the weights of two runs."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import TRAINING
from mien.cli._lab import lab

SECTION = TRAINING


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--share", default=0.5, show_default=True, help="Weight of the second run, 0 to 1.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The new run folder.")
def average(first: Path, second: Path, share: float, out: Path) -> None:
    """Average the weights of two runs of the same network.

    After fine-tuning on other faces, the average is often nearly as good as the first run on the
    old faces and as the second on the new ones.

    \b
        mien average runs/default runs/fine-tuned --share 0.5 --out runs/mean
    """
    averaging, runs = lab("averaging"), lab("runs")
    click.echo(averaging.average(runs.open_run(first), runs.open_run(second), share, out).folder)
