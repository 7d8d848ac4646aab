"""The paper's tables and figures again."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY, terminal
from mien.cli._lab import CHANGES, DATA, OUT, lab, watching

SECTION = LABORATORY


@click.command()
@click.argument("exhibits", nargs=-1, required=True)
@DATA
@OUT
@CHANGES
@click.option("--variant", default="common", show_default=True,
              help="common (mien's recipe), paper (the authors' settings, as far as known) or "
              "slim (small networks, for CPUs).")  # fmt: skip
@click.option("--rivals", is_flag=True,
              help="Train the ten related systems, too, for table5 to measure.")  # fmt: skip
def reproduce(
    exhibits: tuple[str, ...],
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    variant: str,
    rivals: bool,
) -> None:
    """Make the paper's tables and figures again, from real trainings.

    EXHIBITS are table1 to table5, fig1 to fig9, or all. What is trained already is used again.

    \b
        mien reproduce fig1 --data fer2013/ --out runs/paper
        mien reproduce all --variant slim --data fer2013/ --out runs/paper
    """
    with watching() as watch:
        made = lab("reproduce").reproduce(
            exhibits, data, out, watch, variant=variant, changes=changes, rivals=rivals
        )
    for block in made.blocks:
        if hasattr(block, "rows"):
            terminal().table(block.columns, block.rows, block.caption)
    click.echo(lab("page").write(made, out, "-".join(exhibits)))
