"""What a dataset hides."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY, terminal
from mien.cli._lab import lab
from mien.errors import UserError

SECTION = LABORATORY


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Write audit.json and sheets of examples.")  # fmt: skip
@click.option("--clean", type=click.Path(path_type=Path), metavar="FILE.csv",
              help="List what a clean evaluation leaves out, and why.")  # fmt: skip
@click.option("--quick", is_flag=True, help="Leave out near twins, which take a minute.")
def audit(data: Path, out: Path | None, clean: Path | None, quick: bool) -> None:
    """Show what a dataset hides: twins, labels in doubt, faces that are none.

    DATA is fer2013.csv, its folder, or a folder with train/EMOTION/, val/EMOTION/.

    \b
        mien audit fer2013/
        mien audit fer2013/ --out audit/ --clean clean.csv
    """
    auditor, datasets, runs = lab("audit"), lab("data"), lab("runs")
    splits = datasets.load(data)
    if clean and set(splits) == {"train"}:
        raise UserError(f"{data} has only a train split; --clean is for val and test.")
    with terminal().progress("comparing faces", None) as bar:
        (task,) = bar.task_ids

        def watch(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        found = auditor.audit(splits, quick=quick, watch=watch)
    result = {"data": datasets.describe(splits), "measured": runs.about()} | auditor.summary(found)
    click.echo(f"{data}: {result['data']['name']}")
    for title, columns, rows in auditor.tables(result):
        click.echo()
        terminal().table(columns, rows, title)
    if clean:
        auditor.write_clean(clean, found)
        counts = ", ".join(f"{k} {len(faces)}" for k, faces in auditor.left_out(found).items())
        click.echo(f"{clean}: {counts}" + (" (near twins were not looked for)" if quick else ""))
    if out:
        runs.write_json(out / "audit.json", result)
        for path in (out / "audit.json", *lab("contact_sheets").write(out, found)):
            click.echo(path)
