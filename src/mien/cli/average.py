"""`mien average`: average the weights of two runs."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab
from mien.cli._sections import TRAINING

SECTION = TRAINING


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option(
    "--weight",
    default=0.5,
    show_default=True,
    help="Weight of SECOND, 0 to 1; the rest is the weight of FIRST.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the new run."
)
def average(first: Path, second: Path, weight: float, out: Path) -> None:
    """Average the weights of two runs of the same network.

    FIRST and SECOND are run folders. If SECOND was fine-tuned from FIRST on another dataset, the
    average is often nearly as accurate on each dataset as the better of the two networks.

    \b
        mien average runs/default runs/fine-tuned --weight 0.5 --out runs/mean
    """
    averaging, runs = lab("averaging"), lab("runs")
    click.echo(averaging.average(runs.open_run(first), runs.open_run(second), weight, out).folder)
