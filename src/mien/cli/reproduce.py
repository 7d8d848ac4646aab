"""`mien reproduce`: reproduce the paper's tables and figures."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab, terminal
from mien.cli._sections import TRAINING
from mien.cli._shared_options import DATA_OPTION, OUT_OPTION
from mien.cli._training_progress import training_progress

SECTION = TRAINING


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="TABLE_OR_FIGURE...")
@DATA_OPTION
@OUT_OPTION
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE",
              help="Change a field of every system's config; can be repeated.")  # fmt: skip
@click.option("--variant", default="common", show_default=True,
              help="Training settings: common (mostly the same for all systems), paper (those of "
              "the authors, as far as published) or slim (common, with small "
              "networks).")  # fmt: skip
@click.option("--related", is_flag=True,
              help="Also train the ten related systems of table5.")  # fmt: skip
def reproduce(
    names: tuple[str, ...],
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    variant: str,
    related: bool,
) -> None:
    """Reproduce tables and figures of the paper.

    The paper is Abdulkadir et al. 2025, "Evaluating Facial Emotional Proportion Based on Computer
    Vision Technique". The systems that it compares are trained; finished runs are reused.
    TABLE_OR_FIGURE is table1 to table5, fig1 to fig9, or all.

    \b
        mien reproduce fig1 --data fer2013/ --out runs/paper
        mien reproduce all --variant slim --data fer2013/ --out runs/paper
    """
    with training_progress() as start_progress:
        page = lab("reproduce").reproduce(
            names, data, out, start_progress, variant=variant, changes=changes, related=related
        )
    for block in page.blocks:
        if hasattr(block, "rows"):
            terminal().print_table(block.columns, block.rows, block.caption)
    click.echo(lab("page").write(page, out, "-".join(names)))
