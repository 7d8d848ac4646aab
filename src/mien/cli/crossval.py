"""`mien crossval`: cross-validate a recipe."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab, terminal
from mien.cli._messages import print_message
from mien.cli._sections import TRAINING
from mien.cli._shared_options import DATA_OPTION, OUT_OPTION, SET_OPTION
from mien.cli._training_progress import training_progress

SECTION = TRAINING


@click.command()
@click.argument("recipe")
@DATA_OPTION
@OUT_OPTION
@SET_OPTION
@click.option("--protocol",
              help="kfold (default), which keeps duplicates in one fold; kfold-ungrouped, which "
              "does not; or leaky-kfold, which trains one network on all folds in turn and thus "
              "also on its evaluation faces.")  # fmt: skip
@click.option("--folds", type=int, help="Number of folds (default: that of the recipe, usually 5).")
def crossval(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    protocol: str | None,
    folds: int | None,
) -> None:
    """Cross-validate a recipe: train and evaluate once per fold.

    The scores of all folds are printed. An interrupted cross-validation is resumed. Several
    processes can share the same --out.

    \b
        mien crossval hybrid --set model=hybrid-slim --data fer2013/ --out runs/crossval
    """
    # No named recipe has a protocol with folds, so kfold is the default; it also replaces the
    # protocol of a config.json. --set and --protocol come after it and thus take precedence.
    options = {"protocol": protocol, "folds": folds}
    option_changes = [f"{name}={value}" for name, value in options.items() if value is not None]
    config = lab("config").parse(recipe, ("protocol=kfold", *changes, *option_changes))
    if warning := lab("protocols").warning(config.protocol):
        print_message(warning)
    with training_progress() as start_progress:
        result = lab("crossval").crossval(config, data, out, start_progress)
    statistics = result["fold_statistics"]
    metrics = list(statistics)
    rows = [(fold, *(scores[m] for m in metrics)) for fold, scores in result["folds"].items()]
    rows += [(name, *(statistics[m][name] for m in metrics)) for name in ("mean", "sd")]
    terminal().print_table(("fold", *metrics), rows, f"{recipe}, {config.protocol}")
    pooled = result["pooled"]["accuracy"]
    click.echo(
        f"accuracy on the held-out faces of all folds: {pooled['value']:.3f} "
        f"(95 % interval over faces: {pooled['low']:.3f} to {pooled['high']:.3f})"
    )
    click.echo(out / "crossval.json")
