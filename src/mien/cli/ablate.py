"""`mien ablate`: run an ablation study."""

from __future__ import annotations

from pathlib import Path

import click

from mien.cli._imports import lab, terminal
from mien.cli._sections import TRAINING
from mien.cli._shared_options import DATA_OPTION, OUT_OPTION, SET_OPTION
from mien.cli._training_progress import training_progress
from mien.errors import UserError

SECTION = TRAINING


@click.command()
@click.argument("recipe")
@DATA_OPTION
@OUT_OPTION
@SET_OPTION
@click.option("--change", "cases", multiple=True, metavar="'NAME: FIELD=VALUE ...'",
              help="A case to compare with the baseline; can be repeated (default: the standard "
              "ablations, such as no dropout, and those of the recipe's network).")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Number of seeds per case, starting with the recipe's.")  # fmt: skip
def ablate(
    recipe: str,
    data: Path,
    out: Path,
    changes: tuple[str, ...],
    cases: tuple[str, ...],
    seeds: int,
) -> None:
    """Run an ablation study of a recipe.

    A baseline and cases that differ from it are trained. The baseline is RECIPE with the changes
    of --set, and each case has further changes. The differences in accuracy between the cases and
    the baseline are printed. An interrupted study is resumed. Several processes can share the same
    --out.

    \b
        mien ablate hybrid --set model=hybrid-slim --data fer2013/ --out runs/ablation
        mien ablate default --change "no flip: flip=no" --data fer2013/ --out runs/flip
    """
    config = lab("config").parse(recipe, changes)
    ablation = lab("ablation")
    parsed_cases = [_parse_case(case) for case in cases]
    if len(dict(parsed_cases)) < len(parsed_cases):
        raise UserError("Two cases of --change have the same name. Rename one.")
    changes_by_case = dict(parsed_cases) or ablation.default_changes(config)
    all_seeds = range(config.seed, config.seed + seeds)
    with training_progress() as start_progress:
        result = ablation.ablate(config, data, out, changes_by_case, all_seeds, start_progress)
    rows = []
    for name, case in result["cases"].items():
        accuracy, difference = case["seed_statistics"]["accuracy"], case["difference_to_baseline"]
        rows.append(
            (
                name, case["parameters"], accuracy["mean"], accuracy["sd"], difference["value"],
                difference["low"], difference["high"],
            )
        )  # fmt: skip
    columns = ("case", "parameters", "accuracy", "sd", "difference", "low", "high")
    terminal().print_table(columns, rows, f"{recipe}: ablation")
    click.echo(out / "ablation.json")


def _parse_case(text: str) -> tuple[str, tuple[str, ...]]:
    name, colon, changes = text.partition(":")
    if not colon or not changes.split():
        raise UserError(f"{text!r} has no changes. Write 'NAME: FIELD=VALUE', such as "
                        "'no dropout: dropout=0'.")  # fmt: skip
    return name.strip(), tuple(changes.split())
