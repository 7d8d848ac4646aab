"""A page of runs."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY
from mien.cli._lab import lab
from mien.errors import UserError

SECTION = LABORATORY


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="By default, in the run's folder.")
@click.option("--data", type=click.Path(path_type=Path),
              help="Also show faces: the worst mistakes, and where the network looks.")  # fmt: skip
def report(folders: tuple[Path, ...], out: Path | None, data: Path | None) -> None:
    """Make a page of tables and figures of one run, or of several side by side.

    FOLDERS are measured runs (mien evaluate). Only --data needs torch: without it, the extra
    "report" is enough.

    \b
        mien report runs/default --data fer2013/
        mien report runs/vgg19 runs/sequential --out compared
    """
    reporter, page, runs = (lab(name, "report") for name in ("report", "page", "runs"))
    several = [runs.open_run(folder) for folder in folders]
    if len(several) == 1:
        made = reporter.of_run(several[0])
        if data:
            made.add("# Faces", *lab("report_faces").faces(several[0], data))
    else:
        made = reporter.of_runs(several)
        if out is None:
            raise UserError("Say where the comparison goes: --out FOLDER.")
    click.echo(page.write(made, out or folders[0]))
