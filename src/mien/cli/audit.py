"""`mien audit`: check a dataset."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab, terminal
from mien.cli._sections import TRAINING
from mien.errors import UserError

SECTION = TRAINING


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Write audit.json and contact sheets of examples to this folder.")  # fmt: skip
@click.option("--exclusions", type=click.Path(path_type=Path), metavar="FILE.csv",
              help="Write a list of the faces that an evaluation should exclude, for "
              "mien evaluate --exclude.")  # fmt: skip
@click.option(
    "--quick", is_flag=True, help="Skip the search for near duplicates, which takes a minute."
)
def audit(data: Path, out: Path | None, exclusions: Path | None, quick: bool) -> None:
    """Find duplicates, doubtful labels and non-faces in a dataset.

    DATA is fer2013.csv, its folder, or a folder with subfolders train/EMOTION/ and val/EMOTION/.

    \b
        mien audit fer2013/
        mien audit fer2013/ --out audit/ --exclusions exclude.csv
    """
    auditor, datasets, runs = lab("audit"), lab("data"), lab("runs")
    splits = datasets.load(data)
    if exclusions and set(splits) == {"train"}:
        raise UserError(f"{data} has only a train split; --exclusions needs val or test.")
    with terminal().progress("comparing faces", None) as bar:
        (task,) = bar.task_ids

        def on_progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        findings = auditor.audit_dataset(splits, quick=quick, on_progress=on_progress)
    provenance = {"data": datasets.describe(splits), "environment": runs.environment()}
    result = provenance | auditor.summary(findings)
    click.echo(f"{data}: {result['data']['name']}")
    for title, columns, rows in auditor.tables(result):
        click.echo()
        terminal().print_table(columns, rows, title)
    if exclusions:
        auditor.write_exclusions(exclusions, findings)
        excluded = auditor.exclusions(findings)
        counts = ", ".join(f"{reason} {len(indices)}" for reason, indices in excluded.items())
        click.echo(f"{exclusions}: {counts}" + (" (near duplicates skipped)" if quick else ""))
    if out:
        runs.write_json(out / "audit.json", result)
        for path in (out / "audit.json", *lab("contact_sheets").write(out, findings)):
            click.echo(path)
