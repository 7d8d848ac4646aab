"""Command: write a page about runs."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import TRAINING
from mien.cli._lab import lab
from mien.errors import UserError

SECTION = TRAINING


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder of the page; by default the run's.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path),
              help="Also show the most confident errors and saliency maps.")  # fmt: skip
def report(runs: tuple[Path, ...], out: Path | None, data: Path | None) -> None:
    """Write a page of tables and figures for one run, or a comparison of several.

    RUNS are evaluated run folders (mien evaluate). Only --data needs torch; otherwise the extra
    "report" is enough.

    \b
        mien report runs/default --data fer2013/
        mien report runs/vgg19 runs/sequential --out compared
    """
    reporter, page, run_folders = (lab(name, "report") for name in ("report", "page", "runs"))
    opened = [run_folders.open_run(folder) for folder in runs]
    if len(opened) == 1:
        content = reporter.run_page(opened[0])
        if data:
            content.add("# Faces", *lab("report_faces").face_figures(opened[0], data))
    else:
        content = reporter.comparison_page(opened)
        if out is None:
            raise UserError("A comparison needs a folder for its page: --out FOLDER.")
    click.echo(page.write(content, out or runs[0]))
