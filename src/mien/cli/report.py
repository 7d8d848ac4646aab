"""`mien report`: write an HTML report about runs."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab
from mien.cli._sections import TRAINING
from mien.errors import UserError

SECTION = TRAINING


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Folder for the report (default: the run folder; required for several "
              "runs).")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path),
              help="Dataset; adds the most confident errors and saliency maps to the report about "
              "one run.")  # fmt: skip
def report(runs: tuple[Path, ...], out: Path | None, data: Path | None) -> None:
    """Write an HTML report about a run, or compare several.

    RUNS are run folders with results of mien evaluate. Only --data needs torch; without --data,
    pip install '.[report]' is enough.

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
            raise UserError(
                "A comparison of runs needs a folder for its report; give --out FOLDER."
            )
    click.echo(page.write(content, out or runs[0]))
