"""Command: compare systems."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import TRAINING, require_extra, terminal
from mien.cli._lab import lab

SECTION = TRAINING


@click.command()
@click.argument("results", default="results/leaderboard", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Write leaderboard.html, leaderboard.md and the figures.")  # fmt: skip
def leaderboard(results: Path, out: Path | None) -> None:
    """Compare systems: claimed accuracy, measured accuracy and cost.

    RESULTS is a folder of files from mien evaluate --out, all with the same protocol and split.
    The extra "report" is enough; torch is not needed.

    \b
        mien leaderboard
        mien leaderboard my-results/ --out compared/
    """
    board = lab("leaderboard", "report")
    with require_extra("lab"):  # a result may name its network by the family alone
        rows = board.read_rows(results)
    shown = ("model", "claimed", "measured", "low", "high", "FER+", "MMAC", "epochs", "ms per face")
    full = board.table(rows)
    columns = [full.columns.index(column) for column in shown]
    terminal().table(shown, [[row[k] for k in columns] for row in full.rows])
    click.echo(board.summary(rows))
    if out:
        click.echo(lab("page", "report").write(board.build_page(rows), out, "leaderboard"))
