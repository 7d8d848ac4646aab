"""Train once per fold."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._common import LABORATORY, print_error, terminal
from mien.cli._lab import CHANGES, DATA, OUT, lab, watching

SECTION = LABORATORY


@click.command()
@click.argument("recipe")
@DATA
@OUT
@CHANGES
@click.option("--protocol",
              help="kfold (the default), kfold-ungrouped, or leaky-kfold, a mistake.")  # fmt: skip
@click.option("--folds", type=int, help="Their number; the recipe's, 5, by default.")
def crossval(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    protocol: str | None,
    folds: int | None,
) -> None:
    """Train once per fold; print mean, spread and all held-out answers.

    Goes on where it was stopped; several may work on the same --out.

    \b
        mien crossval hybrid --set model=hybrid-slim --data fer2013/ --out runs/crossval
    """
    # What was typed goes before what recipes have, of which none is divided into folds.
    options = {"protocol": protocol, "folds": folds}
    typed = [f"{name}={value}" for name, value in options.items() if value is not None]
    wanted = lab("config").parse(recipe, ("protocol=kfold", *changes, *typed))
    if caution := lab("protocols").caution(wanted.protocol):
        print_error(caution)
    with watching() as watch:
        result = lab("trials").crossval(wanted, data, out, watch)
    rows = [(name, *numbers.values()) for name, numbers in result["folds"].items()]
    over = result["fold_statistics"]
    rows += [(row, *(number[row] for number in over.values())) for row in ("mean", "sd")]
    terminal().table(("fold", *over), rows, f"{recipe}, {wanted.protocol}")
    pooled = result["pooled"]["accuracy"]
    click.echo(
        f"all held-out answers: accuracy {pooled['value']:.3f} "
        f"({pooled['low']:.3f} to {pooled['high']:.3f})"
    )
    click.echo(out / "crossval.json")
