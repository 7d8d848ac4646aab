"""`mien leaderboard`: compare systems by accuracy and cost."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab, require_extra, terminal
from mien.cli._sections import TRAINING

SECTION = TRAINING


@click.command()
@click.argument("results", default="results/leaderboard", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Write leaderboard.html, leaderboard.md and figures to this "
              "folder.")  # fmt: skip
def leaderboard(results: Path, out: Path | None) -> None:
    """Compare systems by claimed and measured accuracy, and cost.

    RESULTS is a folder of result files from mien evaluate --out (default: results/leaderboard), all
    for the same data, split, protocol and test-time augmentation. pip install '.[report]' is
    enough, unless a result names a network without its variant, such as vgg19 for vgg19-bn.

    \b
        mien leaderboard
        mien leaderboard my-results/ --out compared/
    """
    leaderboards = lab("leaderboard", "report")
    # Only a result that names a network without its variant, such as "vgg19", needs torch.
    with require_extra("lab"):
        rows = leaderboards.read_rows(results)
    columns = (
        "model",
        "claimed",
        "measured",
        "low",
        "high",
        "FER+",
        "MMAC",
        "epochs",
        "ms per face",
    )
    full_table = leaderboards.table(rows)
    indices = [full_table.columns.index(column) for column in columns]
    terminal().print_table(columns, [[row[k] for k in indices] for row in full_table.rows])
    click.echo(leaderboards.summary(rows))
    if out:
        click.echo(lab("page", "report").write(leaderboards.build_page(rows), out, "leaderboard"))
